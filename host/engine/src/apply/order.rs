//! What must be done before what.

use std::collections::{BTreeMap, BTreeSet};

use windlass_model::{
    ActionId, NodeKey,
    name::DocumentName,
    plan::{Plan, PlannedNode},
    platform::ConnectionSettings,
    state::RecordedAction,
};

/// For each action, the actions that come before it: its own, and those of the nodes that its node uses.
pub(crate) fn needs(plan: &Plan) -> BTreeMap<ActionId, BTreeSet<ActionId>> {
    let nodes: BTreeMap<&NodeKey, &PlannedNode> = plan.nodes().map(|node| (&node.key, node)).collect();
    let mut of_node: BTreeMap<&NodeKey, BTreeSet<ActionId>> = BTreeMap::new();
    let mut needs = BTreeMap::new();
    // Nodes come in topological order: what a node yields to others is known when they ask.
    for node in plan.nodes() {
        let mut before: BTreeSet<ActionId> = BTreeSet::new();
        for edge in &node.depends_on {
            before.extend(of_node.get(edge).into_iter().flatten().cloned());
        }
        for action in &node.actions {
            let own = action.depends_on.iter().filter(|id| *id != &action.id).cloned();
            needs.insert(action.id.clone(), before.iter().cloned().chain(own).collect());
        }
        // A node without actions hands on what it waited for.
        let yields = if node.actions.is_empty() { before } else { node.actions.iter().map(|action| action.id.clone()).collect() };
        if let Some((key, _)) = nodes.get_key_value(&node.key) {
            of_node.insert(key, yields);
        }
    }
    needs
}

/// Chooses the next actions: all that wait for nothing, of each interface those of the lowest rank. What is under way, or can't be
/// made any more, is not chosen; what is under way holds back what comes behind it in its interface, and nothing else.
pub(crate) fn ready<'p>(
    pending: &BTreeMap<ActionId, u16>,
    needs: &BTreeMap<ActionId, BTreeSet<ActionId>>,
    interface: impl Fn(&ActionId) -> &'p str,
    is_under_way: impl Fn(&ActionId) -> bool,
    is_hopeless: impl Fn(&ActionId) -> bool,
) -> Vec<ActionId> {
    let is_free = |id: &ActionId| needs.get(id).is_none_or(|before| before.iter().all(|other| !pending.contains_key(other)));
    let free: Vec<(&ActionId, u16)> =
        pending.iter().filter(|(id, _)| is_free(id) && !is_hopeless(id)).map(|(id, rank)| (id, *rank)).collect();
    let mut lowest: BTreeMap<&str, u16> = BTreeMap::new();
    for (id, rank) in &free {
        let known = lowest.entry(interface(id)).or_insert(*rank);
        *known = (*known).min(*rank);
    }
    free.into_iter().filter(|(id, rank)| lowest.get(interface(id)) == Some(rank) && !is_under_way(id)).map(|(id, _)| id.clone()).collect()
}

/// Records that one session acts on.
pub(crate) struct Group {
    pub interface: String,
    pub connection: DocumentName,
    pub settings: ConnectionSettings,
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
            settings: record.settings.clone(),
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
            settings: ConnectionSettings::Secrets {},
            identity: name.into(),
            spec: windlass_model::Spec::null(),
            versions: BTreeMap::new(),
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

    #[test]
    fn what_is_under_way_holds_back_its_own_interface_alone() {
        let pending: BTreeMap<ActionId, u16> =
            [("db-instance/a", 5), ("db-instance/replica", 6), ("object/secret", 20), ("object/web", 50), ("object/needs-failed", 20)]
                .map(|(name, rank)| (id(name), rank))
                .into();
        let needs = BTreeMap::from([(id("object/needs-failed"), BTreeSet::from([id("object/failed")]))]);
        let chosen = ready(
            &pending,
            &needs,
            |action| if action.as_str().contains("db-instance") { "rds" } else { "objects" },
            |action| *action == id("db-instance/a"),
            |action| *action == id("object/needs-failed"),
        );
        assert_eq!(chosen, [id("object/secret")]);
    }
}
