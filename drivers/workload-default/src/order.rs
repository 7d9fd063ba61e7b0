//! The order of containers: what others wait for becomes an init container or a native sidecar.

use std::collections::{BTreeMap, BTreeSet};

use windlass_sdk::workload::{Ready, Workload};

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before those that wait for it.
    Init,
    /// Starts before those that wait for it and goes on; they wait for its probe if they need it healthy.
    Sidecar {
        /// Whether they do.
        healthy: bool,
    },
}

/// Tells each container's role; init containers and sidecars come in the order in which they must start.
pub(crate) fn order(workload: &Workload) -> (Vec<(String, Role)>, Vec<String>) {
    let mut roles: BTreeMap<&str, Role> = BTreeMap::new();
    for container in workload.containers.values() {
        for (other, before) in &container.before {
            let role = match before.ready {
                Ready::Complete => Role::Init,
                Ready::Started => Role::Sidecar { healthy: false },
                Ready::Healthy => Role::Sidecar { healthy: true },
            };
            let known = roles.entry(other).or_insert(role);
            // Complete wins over running, healthy over started: the stronger wish holds for everybody.
            *known = match (*known, role) {
                (Role::Init, _) | (_, Role::Init) => Role::Init,
                (Role::Sidecar { healthy: a }, Role::Sidecar { healthy: b }) => Role::Sidecar { healthy: a || b },
            };
        }
    }
    let mut first = Vec::new();
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    let waits = |name: &str| {
        workload.containers.get(name).into_iter().flat_map(|container| container.before.keys()).map(String::as_str).collect::<Vec<_>>()
    };
    while placed.len() < roles.len() {
        // The document has no cycle: one of them is always free.
        let Some((name, role)) =
            roles.iter().find(|(name, _)| !placed.contains(*name) && waits(name).iter().all(|other| placed.contains(other)))
        else {
            break;
        };
        placed.insert(name);
        first.push(((*name).to_owned(), *role));
    }
    let main = workload.containers.keys().filter(|name| !roles.contains_key(name.as_str())).cloned().collect();
    (first, main)
}
