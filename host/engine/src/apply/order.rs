//! In which order things are made and taken away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use windlass_model::{
    ActionId, NodeKey,
    name::DocumentName,
    plan::{Plan, PlannedAction},
    platform::ConnectionSettings,
    state::RecordedAction,
};

/// What must be done before what.
#[derive(Default)]
pub(crate) struct Order {
    needs: BTreeMap<ActionId, BTreeSet<ActionId>>,
    places: BTreeMap<ActionId, Place>,
    /// What others beside it need, though their ranks are lower: it does not wait for them.
    early: BTreeSet<ActionId>,
}

/// Where ranks are compared: numbers of a node and of an interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    node: usize,
    interface: usize,
}

impl Order {
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut of_node: BTreeMap<&NodeKey, BTreeSet<ActionId>> = BTreeMap::new();
        let mut interfaces: BTreeMap<&str, usize> = BTreeMap::new();
        let mut order = Self::default();
        // Nodes come in topological order: what a node yields to others is known when they ask.
        for (number, node) in plan.nodes().enumerate() {
            let mut before: BTreeSet<ActionId> = BTreeSet::new();
            for edge in &node.depends_on {
                before.extend(of_node.get(edge).into_iter().flatten().cloned());
            }
            for action in &node.actions {
                let own = action.depends_on.iter().filter(|id| *id != &action.id).cloned();
                order.needs.insert(action.id.clone(), before.iter().cloned().chain(own).collect());
                let known = interfaces.len();
                let interface = *interfaces.entry(action.capability.as_str()).or_insert(known);
                order.places.insert(action.id.clone(), Place { node: number, interface });
            }
            order.early.extend(early(&node.actions));
            // A node without actions hands on what it waited for.
            let yields = if node.actions.is_empty() { before } else { node.actions.iter().map(|action| action.id.clone()).collect() };
            of_node.insert(&node.key, yields);
        }
        order
    }

    /// The actions that come before one: its own, and those of the nodes that its node uses.
    pub(crate) fn needs(&self, id: &ActionId) -> impl Iterator<Item = &ActionId> {
        self.needs.get(id).into_iter().flatten()
    }

    /// Chooses the next actions: all that wait for nothing, of each interface those of the lowest rank. What is under way, or can't be
    /// made any more, is not chosen; what is under way holds back what comes behind it in its interface, and nothing else.
    pub(crate) fn ready(
        &self,
        pending: &BTreeMap<ActionId, u16>,
        is_under_way: impl Fn(&ActionId) -> bool,
        is_hopeless: impl Fn(&ActionId) -> bool,
    ) -> Vec<ActionId> {
        let hopeful: Vec<(&ActionId, u16)> = pending.iter().filter(|(id, _)| !is_hopeless(id)).map(|(id, rank)| (id, *rank)).collect();
        let needs_nothing = |id: &ActionId| self.needs(id).all(|other| !pending.contains_key(other));
        let beside = lowest(hopeful.iter().copied(), |id| self.places.get(id));
        // Within a node and an interface ranks hold also for what is not free yet: a Secret that waits for its value comes before
        // the pods that mount it.
        let is_first = |id: &ActionId, rank: u16| {
            self.early.contains(id) || self.places.get(id).and_then(|place| beside.get(place)).is_none_or(|lowest| rank <= *lowest)
        };
        let mut free: Vec<(&ActionId, u16)> = hopeful.iter().copied().filter(|(id, _)| needs_nothing(id)).collect();
        let first: Vec<(&ActionId, u16)> = free.iter().copied().filter(|(id, rank)| is_first(id, *rank)).collect();
        // Ranks across interfaces could wait for each other; needs can't.
        if !first.is_empty() || pending.keys().any(&is_under_way) {
            free = first;
        }
        let interface = |id: &ActionId| self.places.get(id).map(|place| &place.interface);
        let lowest = lowest(free.iter().copied(), interface);
        let is_lowest = |id: &ActionId, rank: u16| interface(id).and_then(|interface| lowest.get(interface)) == Some(&rank);
        free.into_iter().filter(|(id, rank)| is_lowest(id, *rank) && !is_under_way(id)).map(|(id, _)| id.clone()).collect()
    }
}

/// Finds the lowest rank of each group.
fn lowest<'p, G: Ord + Copy + 'p>(
    ranked: impl Iterator<Item = (&'p ActionId, u16)>,
    group: impl Fn(&ActionId) -> Option<&'p G>,
) -> BTreeMap<G, u16> {
    let mut lowest = BTreeMap::new();
    for (id, rank) in ranked {
        if let Some(group) = group(id) {
            let known = lowest.entry(*group).or_insert(rank);
            *known = rank.min(*known);
        }
    }
    lowest
}

/// Finds the actions of a node that others of it need, directly or not, whose rank in the same interface is lower.
fn early(actions: &[PlannedAction]) -> Vec<ActionId> {
    let own: BTreeMap<&ActionId, &PlannedAction> = actions.iter().map(|action| (&action.id, action)).collect();
    let mut by_rank: Vec<&PlannedAction> = actions.iter().filter(|action| !action.depends_on.is_empty()).collect();
    by_rank.sort_by_key(|action| action.rank);
    // What was reached from a lower rank already is reached once: what lies behind it was, too.
    let mut reached: BTreeSet<(&str, &ActionId)> = BTreeSet::new();
    let mut early = Vec::new();
    for first in by_rank {
        let mut open = vec![first];
        while let Some(action) = open.pop() {
            for next in action.depends_on.iter().filter_map(|id| own.get(id)) {
                if reached.insert((first.capability.as_str(), &next.id)) {
                    if next.capability == first.capability && next.rank > first.rank {
                        early.push(next.id.clone());
                    }
                    open.push(next);
                }
            }
        }
    }
    early
}

/// Records that one session acts on.
pub(crate) struct Group {
    pub interface: String,
    pub connection: DocumentName,
    pub settings: Arc<ConnectionSettings>,
    pub records: Vec<RecordedAction>,
}

/// Groups records by interface and by the connection that they were made with, as it was then.
pub(crate) fn by_connection(records: impl IntoIterator<Item = RecordedAction>) -> impl Iterator<Item = Group> {
    let mut groups: BTreeMap<(String, DocumentName, String), Group> = BTreeMap::new();
    for record in records {
        let settings = serde_json::to_string(&record.settings).unwrap_or_default();
        let (interface, connection) = (record.interface.clone(), record.connection.clone());
        let group = groups.entry((interface.clone(), connection.clone(), settings)).or_insert_with(|| Group {
            interface,
            connection,
            settings: Arc::clone(&record.settings),
            records: Vec::new(),
        });
        group.records.push(record);
    }
    groups.into_values()
}

/// Chooses what may be taken away next: what nothing left depends on and nothing that stayed, the highest rank first.
pub(crate) fn removable(left: &BTreeMap<ActionId, RecordedAction>, stayed: &[&RecordedAction]) -> Vec<ActionId> {
    let all = left.values().chain(stayed.iter().copied());
    let needed: BTreeSet<&ActionId> = all.flat_map(|action| action.depends_on.iter().filter(|id| **id != action.id)).collect();
    let free: Vec<&RecordedAction> = left.values().filter(|action| !needed.contains(&action.id)).collect();
    // Recorded edges can't form a cycle, but a corrupted record must not hang a removal.
    let free = if free.is_empty() && stayed.is_empty() { left.values().collect() } else { free };
    let highest = free.iter().map(|action| action.rank).max();
    free.into_iter().filter(|action| Some(action.rank) == highest).map(|action| action.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use windlass_model::{platform::OnRemove, state::Status};

    use super::*;

    fn id(name: &str) -> ActionId {
        ActionId::new(&"workload/web".parse().unwrap(), name)
    }

    #[test]
    fn what_stayed_keeps_what_it_needs_and_nothing_else() {
        let record = |name: &str, rank: u16, depends_on: &[&str]| RecordedAction {
            id: id(name),
            interface: "windlass:kubernetes/objects".into(),
            connection: "cluster".parse().unwrap(),
            settings: Arc::new(ConnectionSettings::Secrets {}),
            identity: name.into(),
            spec: windlass_model::Spec::null(),
            versions: BTreeMap::new(),
            earlier: Vec::new(),
            resolved: None,
            mac: None,
            handle: serde_json::Value::Null,
            outputs: serde_json::Map::new(),
            unsettled: false,
            status: Status::Live,
            depends_on: depends_on.iter().map(|name| id(name)).collect(),
            rank,
            on_remove: OnRemove::Delete,
            holds_data: false,
        };
        let all = [record("ns", 0, &[]), record("db", 20, &["ns"]), record("web", 40, &["db"]), record("alone", 10, &[])];
        let left = |names: &[&str]| -> BTreeMap<ActionId, RecordedAction> {
            let named = all.iter().filter(|record| names.iter().any(|name| record.id == id(name)));
            named.map(|record| (record.id.clone(), record.clone())).collect()
        };
        assert_eq!(removable(&left(&["ns", "db", "web", "alone"]), &[]), [id("web")]);
        assert_eq!(removable(&left(&["ns", "db", "alone"]), &[]), [id("db")]);
        let [_, db, web, _] = all.clone();
        assert_eq!(removable(&left(&["ns", "db", "alone"]), &[&web]), [id("alone")], "the database is still in use");
        assert_eq!(removable(&left(&["ns"]), &[&db]), []);
    }

    /// What is known of an action: name, node, interface, rank, what it needs.
    type Known<'k> = (&'k str, usize, usize, u16, &'k [&'k str]);

    /// Chooses of all but these, whose names are not pending any more; those after it are under way.
    fn chosen(known: &[Known<'_>], done: &[&str], under_way: &[&str], failed: &[&str]) -> Vec<String> {
        let ids = |names: &[&str]| -> BTreeSet<ActionId> { names.iter().map(|name| id(name)).collect() };
        let mut order = Order::default();
        for (name, node, interface, _, needs) in known {
            order.needs.insert(id(name), ids(needs));
            order.places.insert(id(name), Place { node: *node, interface: *interface });
        }
        for number in known.iter().map(|known| known.1).collect::<BTreeSet<_>>() {
            let of_node = known.iter().filter(|known| known.1 == number);
            let actions: Vec<PlannedAction> =
                of_node.map(|(name, _, interface, rank, needs)| action(name, *interface, *rank, needs)).collect();
            order.early.extend(early(&actions));
        }
        let pending = known.iter().filter(|known| !done.contains(&known.0)).map(|known| (id(known.0), known.3)).collect();
        let (under_way, failed) = (ids(under_way), ids(failed));
        let ready = order.ready(&pending, |id| under_way.contains(id), |id| order.needs(id).any(|need| failed.contains(need)));
        ready.iter().map(|id| id.as_str().rsplit(':').next().unwrap_or_default().to_owned()).collect()
    }

    fn action(name: &str, interface: usize, rank: u16, needs: &[&str]) -> PlannedAction {
        PlannedAction {
            id: id(name),
            change: windlass_model::plan::Change::Create,
            capability: interface.to_string(),
            connection: "cluster".parse().unwrap(),
            identity: name.into(),
            spec: windlass_model::Spec::null(),
            depends_on: needs.iter().map(|name| id(name)).collect(),
            rank,
            fields: Vec::new(),
            on_remove: OnRemove::Delete,
            holds_data: false,
            yields: Vec::new(),
        }
    }

    const RDS: usize = 0;
    const OBJECTS: usize = 1;
    const SECRETS: usize = 2;

    #[test]
    fn what_is_under_way_holds_back_its_own_interface_alone() {
        let known: [Known<'_>; 5] = [
            ("instance", 0, RDS, 5, &[]),
            ("replica", 0, RDS, 6, &[]),
            ("secret", 1, OBJECTS, 20, &[]),
            ("web", 1, OBJECTS, 50, &[]),
            ("needs-failed", 2, OBJECTS, 20, &["failed"]),
        ];
        assert_eq!(chosen(&known, &[], &["instance"], &["failed"]), ["secret"]);
        assert_eq!(chosen(&known, &["instance", "secret"], &["replica"], &["failed"]), ["web"]);
    }

    #[test]
    fn ranks_hold_within_a_node_also_for_what_is_not_free_yet() {
        let known: [Known<'_>; 5] = [
            ("password", 0, SECRETS, 0, &[]),
            ("claim", 0, OBJECTS, 10, &[]),
            ("secret", 0, OBJECTS, 20, &["password"]),
            ("database", 0, OBJECTS, 50, &[]),
            ("other", 1, OBJECTS, 50, &[]),
        ];
        assert_eq!(chosen(&known, &[], &[], &[]), ["claim", "password"]);
        assert_eq!(chosen(&known, &["claim"], &["password"], &[]), ["other"], "the pods that mount the Secret come behind it");
        assert_eq!(chosen(&known, &["claim", "password", "other"], &[], &[]), ["secret"]);
        assert_eq!(chosen(&known, &["claim", "password", "secret", "other"], &[], &[]), ["database"]);
    }

    #[test]
    fn what_a_lower_rank_needs_does_not_wait_for_it() {
        let known: [Known<'_>; 4] = [
            ("secret", 0, OBJECTS, 20, &["address"]),
            ("address", 0, RDS, 0, &["balancer"]),
            ("balancer", 0, OBJECTS, 30, &[]),
            ("web", 0, OBJECTS, 50, &[]),
        ];
        assert_eq!(chosen(&known, &[], &[], &[]), ["balancer"]);
        assert_eq!(chosen(&known, &["balancer"], &["address"], &[]), [""; 0]);
        assert_eq!(chosen(&known, &["balancer", "address"], &[], &[]), ["secret"]);
    }

    #[test]
    fn ranks_of_two_interfaces_never_wait_for_each_other() {
        let known: [Known<'_>; 4] = [
            ("secret", 0, OBJECTS, 20, &["second"]),
            ("first", 0, RDS, 5, &["web"]),
            ("second", 0, RDS, 6, &[]),
            ("web", 0, OBJECTS, 50, &[]),
        ];
        assert_eq!(chosen(&known, &[], &[], &[]), ["second", "web"]);
    }
}
