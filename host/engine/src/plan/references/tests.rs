//! Rows of what entitles a node to a name.

use serde_json::{Map, Value, json};
use windlass_model::{
    Spec,
    plan::{Change, PlannedNode},
    platform::OnRemove,
    sealed::Encoding,
};

use super::*;

fn action(id: &str, identity: &str, yields: &[&str]) -> PlannedAction {
    PlannedAction {
        capability: "windlass:kubernetes/objects".into(),
        change: Change::None,
        connection: "cluster".parse().unwrap(),
        depends_on: Vec::new(),
        fields: Vec::new(),
        holds_data: false,
        id: serde_json::from_value(json!(id)).unwrap(),
        identity: identity.into(),
        on_remove: OnRemove::Delete,
        rank: 0,
        spec: Spec::null(),
        yields: yields.iter().map(|&made| made.to_owned()).collect(),
    }
}

fn outcome(key: &str, outputs: &Value, actions: Vec<PlannedAction>, depends_on: &[&str]) -> (NodeKey, NodeOutcome) {
    let key: NodeKey = key.parse().unwrap();
    let node = PlannedNode {
        actions,
        constraints: Vec::new(),
        definition: None,
        depends_on: depends_on.iter().map(|key| key.parse().unwrap()).collect(),
        drivers: Vec::new(),
        key: key.clone(),
        outputs: outputs.as_object().cloned().unwrap_or_else(Map::new),
        references: Vec::new(),
        request: None,
    };
    (key, NodeOutcome::new(node, Vec::new(), 0))
}

fn claim(kind: ReferenceKind, name: ReferenceName, authority: Authority) -> Claim {
    let reference = Reference { kind, namespace: Some("n".into()), name, pointer: "/spec/at".into() };
    Claim { action: serde_json::from_value(json!("workload/web:object/pod")).unwrap(), reference, authority: authority.into() }
}

fn text(name: &str) -> ReferenceName {
    ReferenceName::Text(name.into())
}

/// Checks one claim of a node that depends on `first` alone; returns where the name came from, or the code of the refusal.
fn checked(claim: Claim, own: &[PlannedAction], outcomes: &[(NodeKey, NodeOutcome)], first: &str) -> Result<Vec<String>, String> {
    let outcomes: BTreeMap<NodeKey, NodeOutcome> = outcomes.iter().cloned().collect();
    let depends_on: Vec<NodeKey> = vec![first.parse().unwrap()];
    check(own, &[claim], Sources { depends_on: &depends_on, outcomes: &outcomes })
        .map(|flows| flows.into_iter().map(|flow| flow.from).collect())
        .map_err(|problems| problems[0].code.clone())
}

#[test]
fn names_come_in_from_the_node_that_makes_the_object_through_every_output_between() {
    let maker = |outputs: Value, yields: &[&str]| {
        let identity = if yields.is_empty() { "/Secret/n/made" } else { "cert-manager.io/Certificate/n/made" };
        outcome("maker.default#a", &outputs, vec![action("maker.default#a:object/s", identity, yields)], &[])
    };
    let through = |outputs: Value| outcome("between.default#b", &outputs, Vec::new(), &["maker.default#a"]);
    let secret = || claim(ReferenceKind::Secret, text("made"), Authority::default());
    let from = Ok(vec!["maker.default#a:object/s".to_owned()]);
    let refused = Err("policy-reference".to_owned());
    let named = json!({ "secret": { "nested": ["made"] } });
    assert_eq!(checked(secret(), &[], &[maker(named.clone(), &[])], "maker.default#a"), from);
    assert_eq!(checked(secret(), &[], &[maker(named.clone(), &["/Secret/n/made"])], "maker.default#a"), from);
    assert_eq!(checked(secret(), &[], &[maker(named.clone(), &[]), through(json!({ "x": "made" }))], "between.default#b"), from);
    assert_eq!(checked(secret(), &[], &[maker(named.clone(), &[]), through(json!({ "x": "other" }))], "between.default#b"), refused);
    assert_eq!(checked(secret(), &[], &[maker(json!({ "secret": "made-2" }), &[])], "maker.default#a"), refused);
    let liar = outcome("maker.default#a", &named, vec![action("maker.default#a:object/s", "/Secret/n/other", &[])], &[]);
    assert_eq!(checked(secret(), &[], &[liar], "maker.default#a"), refused);
}

#[test]
fn own_objects_and_listed_ones_are_permitted() {
    let own = [action("workload/web:object/s", "/Secret/n/own", &[])];
    assert_eq!(checked(claim(ReferenceKind::Secret, text("own"), Authority::default()), &own, &[], "a#b"), Ok(Vec::new()));
    let uses = Authority { uses: vec!["Secret/pull".into(), "Gateway/n/public".into()], ..Authority::default() };
    let listed = checked(claim(ReferenceKind::Secret, text("pull"), uses.clone()), &own, &[], "a#b");
    assert_eq!(listed, Ok(vec!["Secret/pull".to_owned()]));
    assert_eq!(checked(claim(ReferenceKind::ServiceAccount, text("pull"), uses.clone()), &own, &[], "a#b"), Err("policy-reference".into()));
    let gateway = ReferenceKind::Foreign("Gateway".into());
    assert_eq!(checked(claim(gateway.clone(), text("public"), uses.clone()), &own, &[], "a#b"), Ok(Vec::new()));
    assert_eq!(checked(claim(gateway, text("other"), uses), &own, &[], "a#b"), Err("policy-foreign-reference".into()));
}

#[test]
fn sealed_names_are_those_that_a_system_reported() {
    let sealed = |id: &str, output: &str| {
        let origin = Origin::Action { id: serde_json::from_value(json!(id)).unwrap(), output: output.into() };
        claim(ReferenceKind::Secret, ReferenceName::Sealed(Sealed::of(origin, false, Encoding::Json)), Authority::default())
    };
    for (id, output, is_permitted) in [
        ("a.default#b:object/c", "/status/binding/name", true),
        ("a.default#b:object/c", "/data/name", false),
        ("a.default#b:object/c", "/metadata/annotations/x", false),
        ("a.default#b:object/c", "/statuses/x", false),
        ("a.default#b:module/m", "secret", true),
        ("a.default#b:role/r", "name", false),
    ] {
        assert_eq!(checked(sealed(id, output), &[], &[], "a.default#b").is_ok(), is_permitted, "{id} {output}");
    }
}

#[test]
fn hosts_are_those_of_dns_resources_and_beneath_them() {
    let dns = |r#type: &str| {
        outcome(&format!("{type}.default#a"), &json!({ "host": "shop.dev.example.com", "url": "https://x" }), Vec::new(), &[])
    };
    let host = |name: &str| claim(ReferenceKind::Host, text(name), Authority::default());
    for (name, is_permitted) in [
        ("shop.dev.example.com", true),
        ("api.shop.dev.example.com", true),
        ("dev.example.com", false),
        ("evilshop.dev.example.com", false),
        ("*", false),
    ] {
        assert_eq!(checked(host(name), &[], &[dns("dns")], "dns.default#a").is_ok(), is_permitted, "{name}");
    }
    assert_eq!(checked(host("shop.dev.example.com"), &[], &[dns("other")], "other.default#a"), Err("policy-host".into()));
}
