//! Where objects are, and what is there: one list for each kind and namespace, in the version that the server serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use serde_json::Value;
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind};

use super::{ClusterSession, METADATA_LIST, PAGE, each, lock};
use crate::{
    list::Pages,
    resource::{Place, Resource, Whereabouts, moved, unknown, unserved},
    seen::Names,
};

/// Why there is no list.
#[derive(Clone, Debug)]
pub(super) enum Unlisted {
    /// The server does not serve this version of the kind, which says nothing about its objects.
    Unserved,
    /// Anything else.
    Refused(CapabilityError),
}

/// What is listed together and could not be, with the reason.
type Refused = BTreeMap<(Resource, String), Unlisted>;

/// Whether namespaces are there, by name.
pub(super) type Namespaces = BTreeMap<String, Result<bool, CapabilityError>>;

fn bucket(place: &Place) -> (Resource, String) {
    (place.resource.clone(), place.around().to_owned())
}

impl ClusterSession {
    /// Finds the place of a spec; the record knows it also where the kind is no longer served.
    async fn place(&self, spec: &Value, handle: &Value, until: Instant) -> Result<Place, CapabilityError> {
        match recorded_place(handle) {
            Some(place) => Ok(place),
            None => self.discovery.place(&self.api, spec, until).await,
        }
    }

    /// Finds the places of specs and lists what is around them; a list that is refused is the answer for all in it. What was made in a
    /// version that is served no longer is found in another one.
    pub(super) async fn places(&self, specs: &[(&Value, &Value)], until: Instant) -> Vec<Result<Place, CapabilityError>> {
        let mut places = Vec::with_capacity(specs.len());
        // One after the other: the server is asked about few kinds, and about each group once.
        for (spec, handle) in specs {
            places.push(self.place(spec, handle, until).await);
        }
        let refused = self.survey(places.iter().flatten(), until).await;
        if refused.is_empty() {
            return places;
        }

        let mut whereabouts = BTreeMap::new();
        let unserved = refused.iter().filter(|(_, why)| matches!(why, Unlisted::Unserved)).map(|((resource, _), _)| resource);
        for resource in unserved.collect::<BTreeSet<_>>() {
            whereabouts.insert(resource.clone(), self.discovery.whereabouts(&self.api, resource, until).await);
        }
        let found = places.into_iter().zip(specs).map(|(place, (_, handle))| {
            let place = place?;
            match refused.get(&bucket(&place)) {
                None => Ok(place),
                Some(Unlisted::Refused(error)) => Err(error.clone()),
                Some(Unlisted::Unserved) => self.relocated(place, recorded_place(handle).is_some(), &whereabouts),
            }
        });
        let places: Vec<Result<Place, CapabilityError>> = found.collect();
        let refused = self.survey(places.iter().flatten(), until).await;
        let answer = |place: Result<Place, CapabilityError>| {
            let place = place?;
            refused.get(&bucket(&place)).cloned().map_or(Ok(place.clone()), |why| Err(why.of(&place.resource)))
        };
        places.into_iter().map(answer).collect()
    }

    /// Says where an object is whose kind is not served where it was. Only what is recorded is looked for elsewhere: what is to be made
    /// is written in the version that its spec names.
    fn relocated(
        &self,
        place: Place,
        is_recorded: bool,
        whereabouts: &BTreeMap<Resource, Result<Whereabouts, CapabilityError>>,
    ) -> Result<Place, CapabilityError> {
        match whereabouts.get(&place.resource) {
            Some(Ok(Whereabouts::Served(served))) if is_recorded => Ok(Place { resource: served.clone(), ..place }),
            Some(Ok(Whereabouts::Served(served))) => Err(moved(&place.resource, served)),
            Some(Ok(Whereabouts::Gone)) if is_recorded => {
                let (resource, around) = bucket(&place);
                self.listed.insert(resource, around, Names::new());
                Ok(place)
            }
            Some(Ok(Whereabouts::Gone)) => Err(unknown(&place.resource.api_version, &place.resource.kind)),
            Some(Ok(Whereabouts::Unserved)) | None => Err(unserved(&place.resource)),
            Some(Err(error)) => Err(error.clone()),
        }
    }

    /// Makes sure that everything around these places is listed: one list for each kind and namespace.
    async fn survey(&self, places: impl Iterator<Item = &Place>, until: Instant) -> Refused {
        // Thousands of places have few surroundings.
        let all: BTreeSet<(&Resource, &str)> = places.map(|place| (&place.resource, place.around())).collect();
        let mut wanted: Vec<(Resource, String)> = all.into_iter().map(|(resource, around)| (resource.clone(), around.to_owned())).collect();
        wanted.retain(|(resource, around)| !self.listed.knows(resource, around));
        if wanted.is_empty() {
            return Refused::new();
        }
        // Effects beside each other look once.
        let _turn = self.surveying.lock().await;
        wanted.retain(|(resource, around)| !self.listed.knows(resource, around));
        // Objects of the whole cluster first: in a namespace that is not there, there is nothing to list.
        let (inside, whole): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(resource, _)| resource.is_namespaced);
        let mut refused = self.list_all(whole, until).await;
        refused.extend(self.list_all(inside, until).await);
        refused
    }

    /// Looks which of the namespaces of these places are there.
    pub(super) async fn namespaces(&self, places: impl Iterator<Item = &Result<Place, CapabilityError>>, until: Instant) -> Namespaces {
        let inside = places.flatten().filter(|place| place.resource.is_namespaced);
        let names: BTreeSet<&str> = inside.map(|place| place.namespace.as_str()).collect();
        let all: Vec<Place> = names.into_iter().map(Place::of_namespace).collect();
        let refused = self.survey(all.iter(), until).await;
        let is_there = |place: &Place| match refused.get(&bucket(place)) {
            None => Ok(self.listed.get(place).is_some()),
            Some(why) => Err(why.clone().of(&place.resource)),
        };
        all.iter().map(|place| (place.name.clone(), is_there(place))).collect()
    }

    async fn list_all(&self, wanted: Vec<(Resource, String)>, until: Instant) -> Refused {
        let made = lock(&self.made).clone();
        let is_absent = |namespace: &str| self.listed.is_empty(&Place::of_namespace(namespace).resource, namespace);
        let list = |(resource, around): (Resource, String)| {
            let is_new = resource.is_namespaced && (made.contains(&around) || is_absent(&around));
            async move {
                let found = match (is_new, resource.is_namespaced) {
                    (true, _) => Ok(Names::new()),
                    (false, true) => self.list(&resource, &around, "", until).await,
                    // Of the whole cluster's objects one is looked for: the rest is nobody's business.
                    (false, false) => self.list(&resource, "", &format!("&fieldSelector=metadata.name%3D{around}"), until).await,
                };
                ((resource, around), found)
            }
        };
        let mut refused = Refused::new();
        for (key, found) in each(wanted.into_iter().map(list)).await {
            match found {
                Ok(found) => self.listed.insert(key.0, key.1, found),
                Err(why) => {
                    refused.insert(key, why);
                }
            }
        }
        refused
    }

    /// Lists metadata, page by page.
    pub(super) async fn list(&self, resource: &Resource, namespace: &str, filter: &str, until: Instant) -> Result<Names, Unlisted> {
        let path = format!("{}?limit={PAGE}{filter}", resource.path(namespace));
        let mut pages = Pages::new(&self.kept_bytes);
        while let Some(next) = pages.next() {
            match self.api.list(&format!("{path}{next}"), METADATA_LIST, until).await {
                Ok(page) => pages.add(&page).map_err(|why| Unlisted::Refused(too_much(resource, &why)))?,
                Err(failure) if failure.is_code(404) => return Err(Unlisted::Unserved),
                Err(failure) => return Err(Unlisted::Refused(failure.into())),
            }
        }
        Ok(pages.into_names())
    }
}

impl Unlisted {
    fn of(self, resource: &Resource) -> CapabilityError {
        match self {
            Self::Unserved => unserved(resource),
            Self::Refused(error) => error,
        }
    }
}

/// Reads where an object was made.
fn recorded_place(handle: &Value) -> Option<Place> {
    serde_json::from_value(handle.get("place")?.clone()).ok()
}

fn too_much(resource: &Resource, why: &str) -> CapabilityError {
    CapabilityError::new(Kind::Failed, format!("the list of {} can't be read: {why}", resource.plural))
        .hint("is the address of the connection that of an API server?")
}
