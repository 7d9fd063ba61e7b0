//! Reads zones: which there are, which one a name lies in, and what stands in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use aws_sdk_route53::{Client, types::ResourceRecordSet};
use tokio::sync::{Mutex, OnceCell};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, Owner, Ownership};

use super::record::{Key, RecordSetSpec, owner_key, owner_name, plain_name, read_name, whose};
use crate::{error, pages::Pages};

/// Zones that hold more names of a batch than this are read whole.
const NAMES_ONE_BY_ONE: usize = 4;

/// A hosted zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    pub id: String,
    pub name: String,
    pub private: bool,
}

/// What stands in a zone, as far as it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents(pub BTreeMap<Key, ResourceRecordSet>);

impl Contents {
    /// Reads whose a record set is: by the record beside it.
    pub(crate) fn whose(&self, key: &Key, owner: &Owner) -> Ownership {
        // external-dns before 0.12 wrote its record at the name itself.
        let plain = Key { name: key.name.clone(), ..owner_key(key) };
        match self.marked(&owner_key(key), owner) {
            Ownership::None if key.r#type != "TXT" => self.marked(&plain, owner),
            seen => seen,
        }
    }

    /// Reads an owner's record. One that names several owners is that of the others: each of them believes that it is its own.
    pub(crate) fn marked(&self, key: &Key, owner: &Owner) -> Ownership {
        let rank = |mark: &Ownership| match mark {
            Ownership::Other(_) => 0,
            Ownership::Ours => 1,
            Ownership::None => 2,
        };
        self.values(key).map(|value| whose(Some(value), owner)).min_by_key(rank).unwrap_or(Ownership::None)
    }

    /// Visits the values of a record set.
    pub(crate) fn values(&self, key: &Key) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flat_map(|set| set.resource_records()).map(|record| record.value())
    }
}

/// The zones of an account.
pub(crate) struct Zones {
    pub client: Client,
    /// Ids and names of the zones that the connection lists; all if it lists none.
    listed: Option<Vec<String>>,
    known: OnceCell<Vec<Zone>>,
    pace: Duration,
    next: Mutex<Instant>,
}

impl Zones {
    pub(crate) fn new(client: Client, pace: Duration, listed: Option<Vec<String>>) -> Self {
        Self { client, listed, known: OnceCell::new(), pace, next: Mutex::new(Instant::now()) }
    }

    /// Keeps requests apart.
    pub(crate) async fn pace(&self) {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until((*next).into()).await;
        *next = Instant::now() + self.pace;
    }

    /// Lists the zones, once.
    pub(crate) async fn all(&self) -> Result<&[Zone], CapabilityError> {
        self.known.get_or_try_init(|| self.list()).await.map(Vec::as_slice)
    }

    async fn list(&self) -> Result<Vec<Zone>, CapabilityError> {
        let mut zones = Vec::new();
        let mut pages = self.client.list_hosted_zones().into_paginator().send();
        self.pace().await;
        let mut budget = Pages::of("listing hosted zones");
        while let Some(page) = pages.next().await {
            budget.next()?;
            let page = page.map_err(|error| error::of("listing hosted zones", &error))?;
            zones.extend(page.hosted_zones().iter().map(|zone| Zone {
                id: zone.id().trim_start_matches("/hostedzone/").to_owned(),
                name: read_name(zone.name()),
                private: zone.config().is_some_and(|config| config.private_zone()),
            }));
        }
        zones.retain(|zone| self.lists(zone));
        Ok(zones)
    }

    /// Returns whether the account has a zone, whether the connection lists it or not.
    pub(crate) async fn exists(&self, id: &str) -> Result<bool, CapabilityError> {
        self.pace().await;
        match self.client.get_hosted_zone().id(id).send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_hosted_zone()) => Ok(false),
            Err(error) => Err(error::of("looking for a hosted zone", &error)),
        }
    }

    /// Returns whether the connection may write to a zone.
    fn lists(&self, zone: &Zone) -> bool {
        let Some(listed) = &self.listed else { return true };
        listed.iter().any(|listed| listed.trim_start_matches("/hostedzone/") == zone.id || plain_name(listed) == zone.name)
    }

    /// Finds the zone of a record set: by its id, or the longest name that it lies in.
    pub(crate) async fn zone_of(&self, spec: &RecordSetSpec) -> Result<Zone, CapabilityError> {
        let zones = self.all().await?;
        let name = plain_name(&spec.name);
        if let Some(id) = &spec.zone_id {
            let id = id.trim_start_matches("/hostedzone/");
            return zones.iter().find(|zone| zone.id == id).cloned().ok_or_else(|| {
                CapabilityError::new(Kind::Invalid, format!("the connection has no hosted zone `{id}`"))
                    .hint("the zone must be in the account, and among `zones` of the connection if it lists any")
            });
        }
        let private = spec.private_zone.unwrap_or_default();
        let lies_in = |zone: &&Zone| zone.private == private && (name == zone.name || name.ends_with(&format!(".{}", zone.name)));
        let mut fitting: Vec<&Zone> = zones.iter().filter(lies_in).collect();
        fitting.sort_by_key(|zone| std::cmp::Reverse(zone.name.len()));
        match fitting.as_slice() {
            [first, second, ..] if first.name == second.name => Err(CapabilityError::new(
                Kind::Invalid,
                format!("several hosted zones are called `{}`: {} and {}", first.name, first.id, second.id),
            )
            .hint("say which one with `zoneId`")),
            [first, ..] => Ok((*first).clone()),
            [] => Err(CapabilityError::new(Kind::Invalid, format!("no hosted zone of the connection holds `{name}`"))
                .hint("make one, add it to `zones` of the connection, or use another connection")),
        }
    }

    /// Reads names of a zone: each by itself where they are few, else the whole zone.
    async fn contents(&self, zone: &str, names: &BTreeSet<String>) -> Result<Contents, CapabilityError> {
        if names.len() > NAMES_ONE_BY_ONE {
            return self.whole(zone).await;
        }
        let mut contents = Contents::default();
        for name in names {
            self.pace().await;
            let page =
                self.client.list_resource_record_sets().hosted_zone_id(zone).start_record_name(name).send().await.map_err(listing)?;
            let same = page.resource_record_sets().iter().filter(|set| read_name(set.name()) == *name);
            contents.0.extend(same.map(|set| (Key::of(set), set.clone())));
        }
        Ok(contents)
    }

    /// Reads all of a zone, page by page.
    pub(crate) async fn whole(&self, zone: &str) -> Result<Contents, CapabilityError> {
        let mut contents = Contents::default();
        let (mut name, mut kind, mut set) = (None, None, None);
        let mut pages = Pages::of("listing record sets");
        loop {
            self.pace().await;
            pages.next_at(format!("{name:?} {kind:?} {set:?}"))?;
            let page = self
                .client
                .list_resource_record_sets()
                .hosted_zone_id(zone)
                .set_start_record_name(name)
                .set_start_record_type(kind)
                .set_start_record_identifier(set)
                .send()
                .await
                .map_err(listing)?;
            contents.0.extend(page.resource_record_sets().iter().map(|set| (Key::of(set), set.clone())));
            if !page.is_truncated() {
                return Ok(contents);
            }
            name = page.next_record_name().map(str::to_owned);
            kind = page.next_record_type().cloned();
            set = page.next_record_identifier().map(str::to_owned);
        }
    }

    /// Reads what several record sets need, zone by zone.
    pub(crate) async fn look(&self, wanted: &[(Zone, Key)]) -> Result<BTreeMap<String, Contents>, CapabilityError> {
        let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (zone, key) in wanted {
            let of_zone = names.entry(zone.id.clone()).or_default();
            of_zone.insert(key.name.clone());
            of_zone.insert(owner_name(key));
        }
        let mut out = BTreeMap::new();
        for (zone, names) in names {
            let contents = self.contents(&zone, &names).await?;
            out.insert(zone, contents);
        }
        Ok(out)
    }
}

fn listing<R: std::fmt::Debug>(
    error: aws_smithy_runtime_api::client::result::SdkError<
        aws_sdk_route53::operation::list_resource_record_sets::ListResourceRecordSetsError,
        R,
    >,
) -> CapabilityError {
    error::of("listing record sets", &error)
}
