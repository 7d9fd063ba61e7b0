//! Changes, cut into batches that the API takes.

use aws_sdk_route53::types::{Change, ChangeAction, ResourceRecordSet};

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
    use aws_sdk_route53::types::{ResourceRecord, RrType};

    use super::*;

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
}
