//! What an instance shares with others: a public address, networks, keys, the data of another instance. Without an exception in the
//! grant it has no public address, and the rest is what the definition's inputs name.

use serde_json::Value;
use windlass_engine::{planner::Authority, spec};
use windlass_model::{Diagnostic, platform::PolicyException};

/// Fields of an instance that name things of others.
const FOREIGN: [(&str, &str); 5] = [
    ("subnetGroup", "the subnet group"),
    ("parameterGroup", "the parameter group"),
    ("kmsKey", "the key"),
    ("replicateFrom", "the source"),
    ("securityGroups", "the security group"),
];
/// Tags that say whose something is.
const MARKS: [&str; 2] = ["windlass.dev/", "aws:"];

/// Gives an instance the address that it has without an exception: RDS would decide by the network.
pub(crate) fn normalise(spec: &mut Value, authority: &Authority) {
    if spec::kind(spec) == "db-instance"
        && !authority.exceptions.contains(&PolicyException::PublicAccess)
        && let Some(fields) = spec.as_object_mut()
    {
        fields.entry("publiclyAccessible").or_insert(Value::Bool(false));
    }
}

/// Returns whether a parameter group is one that a driver makes for the instance: it has the instance's name, alone or before that of its
/// family (`shop-dev-db-postgres16`).
fn is_own_group(spec: &Value, name: &str) -> bool {
    let family = |rest: &str| {
        let version = rest.strip_prefix('-').and_then(|rest| rest.strip_prefix(spec::text(spec, "engine")));
        version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
    };
    name.strip_prefix(spec::text(spec, "identifier")).is_some_and(|rest| rest.is_empty() || family(rest))
}

/// Checks a normalised spec.
pub(crate) fn check(spec: &Value, authority: &Authority) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let lifted = |exception: PolicyException| authority.exceptions.contains(&exception);
    if spec.get("publiclyAccessible").is_some_and(|given| *given != Value::Bool(false)) && !lifted(PolicyException::PublicAccess) {
        problems.push(
            Diagnostic::error("policy-public-access", "a DB instance may not have a public address")
                .at("/publiclyAccessible")
                .hint("add `allow: [publicAccess]` to the grant, if the definition is meant to make public instances"),
        );
    }
    for tag in spec.get("tags").and_then(Value::as_object).into_iter().flat_map(|tags| tags.keys()) {
        if MARKS.iter().any(|mark| tag.to_ascii_lowercase().starts_with(mark)) {
            problems.push(Diagnostic::error("policy-tag", format!("the tag `{tag}` says whose something is")).at("/tags"));
        }
    }
    if lifted(PolicyException::ForeignResources) {
        return problems;
    }
    let own = spec.get("identifier").and_then(Value::as_str);
    let fields = FOREIGN.into_iter().chain([("subnets", "the subnet")]);
    for (field, what) in fields {
        for (at, name) in texts(spec, field) {
            // A group that the driver makes for the instance has its name; a sealed value is an output of a resource.
            let is_own = match field {
                "subnetGroup" => own == Some(name),
                "parameterGroup" => own.is_some() && is_own_group(spec, name),
                _ => false,
            };
            if !is_own && !holds(&authority.inputs, name) {
                problems.push(
                    Diagnostic::error("policy-foreign-resource", format!("{what} `{name}` is not named by the inputs of the definition"))
                        .at(at)
                        .hint("name it in the definition's inputs, or add `allow: [foreignResources]` to the grant"),
                );
            }
        }
    }
    problems
}

/// Lists the texts of a field that is one or a list, with their places.
fn texts<'v>(spec: &'v Value, field: &str) -> Vec<(String, &'v str)> {
    match spec.get(field) {
        Some(Value::String(text)) => vec![(format!("/{field}"), text)],
        Some(Value::Array(list)) => {
            list.iter().enumerate().filter_map(|(index, text)| Some((format!("/{field}/{index}"), text.as_str()?))).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns whether a text stands somewhere in the inputs.
fn holds(inputs: &Value, text: &str) -> bool {
    match inputs {
        Value::String(given) => given == text,
        Value::Array(list) => list.iter().any(|item| holds(item, text)),
        Value::Object(fields) => fields.values().any(|field| holds(field, text)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn authority(inputs: Value, exceptions: &[PolicyException]) -> Authority {
        Authority { inputs: inputs.into(), exceptions: exceptions.to_vec(), ..Authority::default() }
    }

    fn refused(spec: &Value, authority: &Authority) -> Vec<String> {
        let mut spec = spec.clone();
        normalise(&mut spec, authority);
        check(&spec, authority).into_iter().map(|problem| format!("{} {}", problem.code, problem.pointer)).collect()
    }

    #[test]
    fn an_instance_has_no_public_address_unless_the_grant_allows_it() {
        let default = authority(json!({}), &[]);
        let mut plain = json!({ "kind": "db-instance", "identifier": "shop" });
        normalise(&mut plain, &default);
        assert_eq!(plain["publiclyAccessible"], json!(false));
        for given in [json!(true), json!({ "$sealed": ["x"] })] {
            let public = json!({ "kind": "db-instance", "identifier": "shop", "publiclyAccessible": given });
            assert_eq!(refused(&public, &default), ["policy-public-access /publiclyAccessible"]);
            assert!(refused(&public, &authority(json!({}), &[PolicyException::PublicAccess])).is_empty());
        }
    }

    #[test]
    fn what_an_instance_shares_stands_in_the_inputs_of_the_definition() {
        let spec = json!({
            "kind": "db-instance", "identifier": "shop", "subnetGroup": "shop", "parameterGroup": "production", "kmsKey": "alias/production",
            "securityGroups": ["sg-own", "sg-open"], "replicateFrom": "arn:aws:rds:eu-central-1:1:db:production",
        });
        let own = authority(json!({ "network": { "groups": ["sg-own"] } }), &[]);
        assert_eq!(
            refused(&spec, &own),
            ["/parameterGroup", "/kmsKey", "/replicateFrom", "/securityGroups/1"].map(|at| format!("policy-foreign-resource {at}"))
        );
        assert!(refused(&spec, &authority(json!({}), &[PolicyException::ForeignResources])).is_empty());
        let group = json!({ "kind": "db-subnet-group", "name": "shop", "subnets": ["subnet-public", { "$sealed": ["x"] }] });
        assert_eq!(refused(&group, &own), ["policy-foreign-resource /subnets/0"]);
    }

    #[test]
    fn marks_are_no_tags_of_drivers() {
        for tag in ["windlass.dev/mark", "Windlass.dev/mark", "aws:cloudformation:stack-name"] {
            let spec = json!({ "kind": "db-parameter-group", "name": "shop", "tags": { tag: "x" } });
            assert_eq!(refused(&spec, &authority(json!({}), &[])), ["policy-tag /tags"], "{tag}");
        }
    }
}
