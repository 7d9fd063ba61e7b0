//! Changes: which ones make a record set so or take it away, and batches of them that the API takes.

use aws_sdk_route53::{
    error::BuildError,
    types::{Change, ChangeAction, ResourceRecordSet},
};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, Insistence, Owner, Ownership};

use super::{
    record::{Exact, Key, owner_key, owner_record},
    zones::Contents,
};

/// Records of one request; those of an UPSERT count twice.
const RECORDS_MAX: usize = 1_000;
/// Characters of values in one request; those of an UPSERT count twice.
const CHARACTERS_MAX: usize = 32_000;

/// The changes of one action: they stay together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Which action, by its place in the batch.
    pub index: usize,
    pub changes: Vec<Change>,
}

pub(crate) fn built(error: BuildError) -> CapabilityError {
    CapabilityError::new(Kind::Invalid, error.to_string())
}

pub(crate) fn change(action: ChangeAction, set: ResourceRecordSet) -> Result<Change, CapabilityError> {
    Change::builder().action(action).resource_record_set(set).build().map_err(built)
}

/// Names a record set for people.
fn named(key: &Key) -> String {
    format!("the record `{}` {}", key.name, key.r#type)
}

const CNAME: &str = "CNAME";
/// Types that tell clients where a host is: one that comes beside another takes a part of its traffic.
const ADDRESSES: [&str; 5] = ["A", "AAAA", CNAME, "HTTPS", "SVCB"];

/// Returns the record sets that a name can't have beside this one: a CNAME stands alone, and a record set without a routing policy is the
/// only one of its type.
fn excluded<'c>(key: &'c Key, contents: &'c Contents) -> impl Iterator<Item = &'c Key> {
    let is_excluded = |other: &Key| match other.r#type == key.r#type {
        true => other.set != key.set && (other.set.is_none() || key.set.is_none()),
        false => other.r#type == CNAME || key.r#type == CNAME,
    };
    contents.0.keys().filter(move |other| other.name == key.name && is_excluded(other))
}

/// Refuses a record set that is somebody else's, one whose owner's record is, and one that would share a name's traffic with such a one.
pub(crate) fn admitted(key: &Key, contents: &Contents, owner: &Owner, insistence: Insistence) -> Result<(), CapabilityError> {
    let is_address = |key: &Key| ADDRESSES.contains(&key.r#type.as_str());
    let beside = contents.0.keys().filter(|other| *other != key && other.name == key.name && is_address(other));
    for other in beside.filter(|_| is_address(key)) {
        contents.whose(other, owner).admit(&named(other), insistence)?;
    }
    for other in excluded(key, contents) {
        contents.whose(other, owner).admit(&named(other), insistence)?;
    }
    if contents.0.contains_key(key) {
        return contents.whose(key, owner).admit(&named(key), insistence);
    }
    let beside = owner_key(key);
    if contents.0.contains_key(&beside) { contents.marked(&beside, owner).admit(&named(&beside), insistence) } else { Ok(()) }
}

/// Decides what makes a record set and its owner's record so; nothing if they are.
pub(crate) fn group(
    index: usize,
    set: &ResourceRecordSet,
    contents: &Contents,
    owner: &Owner,
    insistence: Insistence,
) -> Result<Option<Group>, CapabilityError> {
    let key = Key::of(set);
    let beside = owner_record(set, owner).map_err(built)?;
    let mut changes = Vec::new();
    admitted(&key, contents, owner, insistence)?;
    // What is taken over and can't stand beside it goes in the same batch.
    for other in excluded(&key, contents).filter(|_| insistence == Insistence::TakeOver) {
        let known = contents.0.get(other).into_iter().chain(contents.0.get(&owner_key(other)));
        changes.extend(known.map(|known| change(ChangeAction::Delete, known.clone())).collect::<Result<Vec<_>, _>>()?);
    }
    match contents.0.get(&key) {
        Some(known) if Exact::of(known) == Exact::of(set) => {}
        Some(_) => changes.push(change(ChangeAction::Upsert, set.clone())?),
        None => changes.push(change(ChangeAction::Create, set.clone())?),
    }
    match contents.0.get(&Key::of(&beside)) {
        Some(known) if Exact::of(known) == Exact::of(&beside) => {}
        // A record of ours whose name stands beside nothing is what a cut-off deletion left.
        Some(_) => changes.push(change(ChangeAction::Upsert, beside)?),
        None => changes.push(change(ChangeAction::Create, beside)?),
    }
    Ok((!changes.is_empty()).then_some(Group { index, changes }))
}

/// Decides what takes a record set and its owner's record away: exactly what stands there, if it is what we made.
pub(crate) fn removal(key: &Key, contents: &Contents, owner: &Owner, exact: Option<&Exact>) -> Result<Vec<Change>, CapabilityError> {
    let mut changes = Vec::new();
    if let Some(known) = contents.0.get(key) {
        contents.whose(key, owner).admit_removal(&named(key))?;
        if exact.is_some_and(|exact| *exact != Exact::of(known)) {
            return Err(CapabilityError::new(Kind::Conflict, format!("{} is not what was made: somebody changed it", named(key))));
        }
        changes.push(change(ChangeAction::Delete, known.clone())?);
    }
    let beside = owner_key(key);
    if let Some(known) = contents.0.get(&beside)
        && contents.marked(&beside, owner) == Ownership::Ours
    {
        changes.push(change(ChangeAction::Delete, known.clone())?);
    }
    Ok(changes)
}

/// What a change counts.
fn weight(change: &Change) -> (usize, usize) {
    let Some(set) = change.resource_record_set() else { return (0, 0) };
    let times = if *change.action() == ChangeAction::Upsert { 2 } else { 1 };
    (records(set).max(1) * times, characters(set) * times)
}

fn records(set: &ResourceRecordSet) -> usize {
    set.resource_records().len()
}

fn characters(set: &ResourceRecordSet) -> usize {
    set.resource_records().iter().map(|record| record.value().chars().count()).sum()
}

/// Puts groups together as far as the API lets them.
pub(crate) fn batches(groups: Vec<Group>) -> Vec<Vec<Group>> {
    let mut out: Vec<Vec<Group>> = Vec::new();
    let mut filled = (0, 0);
    for group in groups {
        let (records, characters) =
            group.changes.iter().map(weight).fold((0, 0), |(records, characters), (more, text)| (records + more, characters + text));
        let fits = filled.0 + records <= RECORDS_MAX && filled.1 + characters <= CHARACTERS_MAX;
        match out.last_mut() {
            Some(batch) if fits => {
                batch.push(group);
                filled = (filled.0 + records, filled.1 + characters);
            }
            _ => {
                out.push(vec![group]);
                filled = (records, characters);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aws_sdk_route53::types::{ResourceRecord, RrType};
    use serde_json::json;
    use windlass_engine::spec;

    use super::{
        super::record::{RecordSetSpec, owner_value},
        *,
    };

    fn group(index: usize, action: ChangeAction, value: &str) -> Group {
        let record = ResourceRecord::builder().value(value).build().unwrap();
        let set =
            ResourceRecordSet::builder().name(format!("n{index}.example.com")).r#type(RrType::A).resource_records(record).build().unwrap();
        Group { index, changes: vec![Change::builder().action(action).resource_record_set(set).build().unwrap()] }
    }

    #[test]
    fn batches_keep_within_the_limits() {
        let sizes = |groups: Vec<Group>| batches(groups).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes((0..1_500).map(|index| group(index, ChangeAction::Create, "192.0.2.1")).collect()), [1_000, 500]);
        assert_eq!(sizes((0..1_500).map(|index| group(index, ChangeAction::Upsert, "192.0.2.1")).collect()), [500, 500, 500]);
        assert_eq!(sizes((0..5).map(|index| group(index, ChangeAction::Create, &"x".repeat(15_000))).collect()), [2, 2, 1]);
        assert!(batches(Vec::new()).is_empty());
    }

    fn owner() -> Owner {
        let environment =
            windlass_model::state::EnvironmentKey { application: "shop".parse().unwrap(), environment: "dev".parse().unwrap() };
        Owner { installation: "11111111-2222-3333-4444-555555555555".into(), environment }
    }

    fn text(name: &str, value: &str) -> ResourceRecordSet {
        let record = ResourceRecord::builder().value(value).build().unwrap();
        ResourceRecordSet::builder().name(name).r#type("TXT".into()).ttl(300).resource_records(record).build().unwrap()
    }

    fn wish() -> ResourceRecordSet {
        let spec = json!({ "name": "shop.example.com", "type": "A", "values": ["192.0.2.1"] });
        spec::read::<RecordSetSpec>(&spec).unwrap().build().unwrap()
    }

    fn holding(set: ResourceRecordSet) -> Contents {
        Contents(BTreeMap::from_iter([(Key::of(&set), set)]))
    }

    #[test]
    fn what_says_whose_a_record_is_may_be_somebody_s_own() {
        for value in ["\"heritage=external-dns,external-dns/owner=default\"", "\"google-site-verification=x\""] {
            let refused = super::group(0, &wish(), &holding(text("a-shop.example.com", value)), &owner(), Insistence::Refuse);
            assert!(refused.err().unwrap().message.contains("`a-shop.example.com` TXT"), "{value}");
        }
        let other = ResourceRecord::builder().value("\"heritage=windlass,windlass/owner=other/shop/prod\"").build().unwrap();
        for order in [[true, false], [false, true]] {
            let ours = ResourceRecord::builder().value(owner_value(&owner())).build().unwrap();
            let values = order.map(|is_ours| if is_ours { ours.clone() } else { other.clone() }).to_vec();
            let mut shared = text("a-shop.example.com", "x");
            shared.resource_records = Some(values);
            let refused = super::group(0, &wish(), &holding(shared), &owner(), Insistence::Refuse);
            assert!(refused.err().unwrap().message.contains("other/shop/prod"), "a record that names two owners is no one's");
        }
        let left = holding(text("a-shop.example.com", &owner_value(&owner())));
        let made = super::group(0, &wish(), &left, &owner(), Insistence::Refuse).unwrap().unwrap();
        assert_eq!(made.changes.len(), 1, "what a cut-off deletion left is used again");
    }
}
