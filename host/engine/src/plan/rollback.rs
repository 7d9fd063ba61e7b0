//! What a rollback plans with: documents of an earlier deployment with the rights of today.

use std::sync::Arc;

use windlass_model::platform::{Grant, LayerName, Layers, Platform, ResourceDefinition, WorkloadProfile};

/// Returns the layers of a rollback: definitions, profiles, types and components of then; connections and environment types of today.
///
/// A driver may do what its definition, or its stage of the same name in the same profile, granted then and grants today. A
/// definition, profile or stage that no layer has today grants nothing.
#[must_use]
pub fn rolled_back(then: &Layers, today: &Layers) -> Layers {
    let rights = Rights { today };
    let mut layers: Vec<(LayerName, Arc<Platform>)> = Vec::new();
    for name in [LayerName::Given, LayerName::Stored, LayerName::BuiltIn] {
        let (old, new) = (platform(then, name), platform(today, name));
        let mut components = new.components;
        components.extend(old.components);
        let platform = Platform {
            connections: new.connections,
            environment_types: new.environment_types,
            components,
            definitions: old.definitions.into_iter().map(|(name, definition)| (name, rights.of_definition(definition))).collect(),
            profiles: old.profiles.into_iter().map(|(name, profile)| (name, rights.of_profile(profile))).collect(),
            resource_types: old.resource_types,
        };
        if !platform.is_empty() {
            layers.push((name, Arc::new(platform)));
        }
    }
    Layers(layers)
}

fn platform(layers: &Layers, wanted: LayerName) -> Platform {
    layers.0.iter().find(|(layer, _)| *layer == wanted).map(|(_, platform)| platform.as_ref().clone()).unwrap_or_default()
}

/// The rights that documents have today; the strongest layer that knows a document decides.
struct Rights<'a> {
    today: &'a Layers,
}

impl Rights<'_> {
    fn of_definition(&self, mut then: ResourceDefinition) -> ResourceDefinition {
        let today = self.today.iter().find_map(|(_, platform)| platform.definitions.get(then.name()));
        then.spec.grants = common(&then.spec.grants, today.map_or(&[], |today| &today.spec.grants));
        then
    }

    fn of_profile(&self, mut then: WorkloadProfile) -> WorkloadProfile {
        let today = self.today.iter().find_map(|(_, platform)| platform.profiles.get(then.name()));
        for stage in &mut then.spec.stages {
            let today = today.and_then(|today| today.spec.stages.iter().find(|other| other.name == stage.name));
            stage.grants = common(&stage.grants, today.map_or(&[], |today| &today.grants));
        }
        then
    }
}

/// Returns the grants of then as far as today's allow the same through the same connection.
fn common(then: &[Grant], today: &[Grant]) -> Vec<Grant> {
    let of = |grant: &Grant| -> Option<Grant> {
        // Every field is named: one that is added must be limited here, too.
        let Grant { import, kinds, allow, paths, metadata, uses, hosts, records, connection } = grant;
        let same: Vec<&Grant> = today.iter().filter(|other| other.import == *import && other.connection == *connection).collect();
        if same.is_empty() {
            return None;
        }
        Some(Grant {
            import: import.clone(),
            kinds: kept(kinds, &same, |other| &other.kinds),
            allow: kept(allow, &same, |other| &other.allow),
            paths: kept(paths, &same, |other| &other.paths),
            metadata: kept(metadata, &same, |other| &other.metadata),
            uses: kept(uses, &same, |other| &other.uses),
            hosts: kept(hosts, &same, |other| &other.hosts),
            records: kept_records(records, &same)?,
            connection: connection.clone(),
        })
    };
    then.iter().filter_map(of).collect()
}

/// Returns the entries of a list that one of today's grants has, too.
fn kept<T: Clone + PartialEq>(then: &[T], today: &[&Grant], list: impl Fn(&Grant) -> &Vec<T>) -> Vec<T> {
    then.iter().filter(|entry| today.iter().any(|grant| list(grant).contains(entry))).cloned().collect()
}

/// Returns the records of then that today's grants allow, too; none if there is no such record. An empty list stands for the hosts of the
/// definition's domain, so it never comes from two lists that have nothing in common.
fn kept_records(then: &[String], today: &[&Grant]) -> Option<Vec<String>> {
    if today.iter().any(|grant| grant.records.is_empty()) {
        return Some(Vec::new());
    }
    if then.is_empty() {
        return Some(today.iter().flat_map(|grant| grant.records.clone()).collect());
    }
    Some(kept(then, today, |grant| &grant.records)).filter(|records| !records.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn grants(allow: &[&str], kinds: &[&str]) -> Value {
        json!([{ "import": "windlass:kubernetes/objects", "kinds": kinds, "allow": allow }])
    }

    fn document(kind: &str, name: &str, spec: Value) -> Value {
        json!({ "apiVersion": "windlass.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
    }

    /// A layer with the definition `db` and the profiles `team` and `base`, which `team` extends.
    fn layers(name: LayerName, definition: Option<Value>, team: Option<Value>, base: Option<Value>) -> Layers {
        let stage = |name: &str, grants: Value| json!([{ "name": name, "driver": { "builtin": "x" }, "grants": grants }]);
        let definition = definition
            .map(|grants| document("ResourceDefinition", "db", json!({ "type": "db", "driver": { "builtin": "x" }, "grants": grants })));
        let team = team.map(|grants| document("WorkloadProfile", "team", json!({ "extends": "base", "stages": stage("own", grants) })));
        let base = base.map(|grants| document("WorkloadProfile", "base", json!({ "stages": stage("basic", grants) })));
        let named = |documents: Vec<(&str, Option<Value>)>| -> Value {
            documents
                .into_iter()
                .filter_map(|(name, document)| Some((name.to_owned(), document?)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let platform = json!({ "definitions": named(vec![("db", definition)]), "profiles": named(vec![("team", team), ("base", base)]) });
        Layers(vec![(name, Arc::new(serde_json::from_value(platform).unwrap()))])
    }

    fn rights(layers: &Layers) -> Value {
        let platform = layers.iter().next().unwrap().1;
        let of_stage =
            |name: &str| platform.profiles.get(name).map(|profile| serde_json::to_value(&profile.spec.stages[0].grants).unwrap());
        let of_definition = platform.definitions.get("db").map(|definition| serde_json::to_value(&definition.spec.grants).unwrap());
        json!([of_definition, of_stage("team"), of_stage("base")])
    }

    #[test]
    fn rights_are_those_of_then_and_of_today() {
        let all = || Some(grants(&["rbac", "privilegedPods"], &["v1/Secret", "v1/Service"]));
        let less = || Some(grants(&["rbac"], &["v1/Secret", "v1/ConfigMap"]));
        let then = layers(LayerName::Stored, all(), all(), all());
        let found = rolled_back(&then, &layers(LayerName::Stored, less(), less(), less()));
        let common = grants(&["rbac"], &["v1/Secret"]);
        assert_eq!(rights(&found), json!([common, common, common]));
        assert_eq!(rights(&rolled_back(&then, &then)), rights(&then), "nothing was revoked");
    }

    #[test]
    fn what_is_gone_grants_nothing() {
        let all = || Some(grants(&["rbac"], &["v1/Secret"]));
        let then = layers(LayerName::Stored, all(), all(), all());
        assert_eq!(rights(&rolled_back(&then, &Layers::default())), json!([[], [], []]));
        let moved = layers(LayerName::Stored, Some(json!([])), all(), None);
        assert_eq!(rights(&rolled_back(&then, &moved)), json!([[], grants(&["rbac"], &["v1/Secret"]), []]));
    }

    #[test]
    fn another_connection_is_another_right() {
        let through = |connection: &str| json!([{ "import": "windlass:postgres/databases", "connection": connection }]);
        let then = layers(LayerName::Stored, Some(through("prod")), None, None);
        assert_eq!(rights(&rolled_back(&then, &layers(LayerName::Stored, Some(through("dev")), None, None)))[0], json!([]));
        assert_eq!(rights(&rolled_back(&then, &then))[0], through("prod"));
    }

    #[test]
    fn an_empty_list_of_records_never_stands_for_more() {
        let grants = |records: &[&str]| json!([{ "import": "windlass:aws/route53", "records": records }]);
        let rolled = |then: &[&str], today: &[&str]| {
            let (then, today) =
                (layers(LayerName::Stored, Some(grants(then)), None, None), layers(LayerName::Stored, Some(grants(today)), None, None));
            rights(&rolled_back(&then, &today))[0].clone()
        };
        assert_eq!(rolled(&["a.example", "b.example"], &["b.example"]), grants(&["b.example"]));
        assert_eq!(rolled(&["a.example"], &["b.example"]), json!([]));
        assert_eq!(rolled(&["a.example"], &[])[0]["records"], Value::Null);
        assert_eq!(rolled(&[], &["b.example"]), grants(&["b.example"]));
    }

    #[test]
    fn the_strongest_layer_of_today_decides() {
        let wide = || Some(grants(&["rbac"], &["v1/Secret"]));
        let mut today = layers(LayerName::Given, Some(grants(&[], &["v1/Secret"])), None, None);
        today.0.extend(layers(LayerName::Stored, wide(), None, None).0);
        let found = rolled_back(&layers(LayerName::Stored, wide(), None, None), &today);
        assert_eq!(rights(&found)[0], json!([{ "import": "windlass:kubernetes/objects", "kinds": ["v1/Secret"] }]));
    }
}
