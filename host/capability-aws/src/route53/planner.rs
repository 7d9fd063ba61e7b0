//! The pure half of `windlass:aws/route53`.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use windlass_engine::{
    planner::{Authority, CapabilityDescriptor, KindDescriptor, MethodDescriptor, OutputDeclaration, Planner, SpecContext},
    spec,
};
use windlass_model::{ActionId, Diagnostic, plan::Change, platform::Family};

use super::{
    record::{Key, RecordSetSpec, TYPES, owner_name, plain_name},
    scope,
};

/// Plans records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Route53Planner;

static DESCRIPTOR: CapabilityDescriptor = CapabilityDescriptor {
    interface: "windlass:aws/route53",
    version: "0.1.0",
    revision: 2,
    family: Family::Aws,
    kinds: &[KindDescriptor { resource: "record-set", methods: &[MethodDescriptor { name: "zone-id", argument: false }] }],
};

impl Planner for Route53Planner {
    fn descriptor(&self) -> &'static CapabilityDescriptor {
        &DESCRIPTOR
    }

    fn normalise(&self, resource: &str, spec: Value, _: &Authority, _: &SpecContext) -> Value {
        let mut spec = spec::with_kind(resource, spec);
        if let Some(Value::String(name)) = spec.get_mut("name") {
            *name = plain_name(name);
        }
        if let Some(Value::String(kind)) = spec.get_mut("type") {
            kind.make_ascii_uppercase();
        }
        spec
    }

    fn check(&self, value: &Value, authority: &Authority, _: &SpecContext) -> Vec<Diagnostic> {
        let record: RecordSetSpec = match spec::typed(value) {
            Ok(record) => record,
            Err(problem) => return vec![problem.hint("`windlass schema aws/record-set` shows what belongs there")],
        };
        let mut problems = Vec::new();
        let mut refuse = |at: &str, why: String| problems.push(Diagnostic::error("record-set", why).at(at));
        if let Some(why) = wrong_name(&record.name).or_else(|| wrong_owner_name(&record)) {
            refuse("/name", why);
        }
        if !TYPES.contains(&record.r#type.as_str()) {
            refuse("/type", format!("`{}` is none of {}", record.r#type, TYPES.join(", ")));
        }
        match (&record.alias, record.values.is_empty()) {
            (None, true) => refuse("/values", "there are neither values nor an alias".to_owned()),
            (Some(_), false) => refuse("/values", "an alias has no values of its own".to_owned()),
            _ => {}
        }
        if record.alias.is_some() && record.ttl.is_some() {
            refuse("/ttl", "an alias has the time to live of its target".to_owned());
        }
        if record.r#type == "CNAME" && record.values.len() > 1 {
            refuse("/values", "a CNAME has one value".to_owned());
        }
        // What is sealed is no text yet.
        let open = value.get("values").and_then(Value::as_array).into_iter().flatten().enumerate();
        for (index, text) in open.filter_map(|(index, value)| Some((index, value.as_str()?))) {
            if let Some(form) = wrong_value(&record.r#type, text) {
                refuse(&format!("/values/{index}"), format!("`{text}` is no value of {}: it is written as {form}", record.r#type));
            }
        }
        let routed = record.weight.is_some() || record.failover.is_some();
        if routed != record.set_identifier.is_some() {
            refuse("/setIdentifier", "`setIdentifier` and a routing policy (`weight` or `failover`) go together".to_owned());
        }
        if record.weight.is_some() && record.failover.is_some() {
            refuse("/failover", "a record set has one routing policy".to_owned());
        }
        if record.failover.as_deref().is_some_and(|failover| !matches!(failover, "PRIMARY" | "SECONDARY")) {
            refuse("/failover", "`failover` is `PRIMARY` or `SECONDARY`".to_owned());
        }
        problems.extend(scope::check(&record, authority));
        problems
    }

    fn identity(&self, spec: &Value, _: &ActionId, _: &SpecContext) -> String {
        let set = spec::text(spec, "setIdentifier");
        let zone = spec::text(spec, "zoneId");
        let mut identity = format!("record-set/{}/{}", spec::text(spec, "name"), spec::text(spec, "type"));
        // Zones of one name are told apart: a record that is meant for another zone is another record.
        let zone = if zone.is_empty() && spec.get("privateZone") == Some(&Value::Bool(true)) { "private" } else { zone };
        for part in [set, zone].into_iter().filter(|part| !part.is_empty()) {
            identity.push('/');
            identity.push_str(part);
        }
        identity
    }

    fn holds_data(&self, _: &Value) -> bool {
        false
    }

    fn secret_sinks(&self, _: &Value) -> Vec<&'static str> {
        // Everybody can ask for a record.
        Vec::new()
    }

    fn open_only(&self, _: &Value) -> Vec<&'static str> {
        vec!["/name", "/type", "/zoneId", "/privateZone", "/setIdentifier", "/ttl", "/weight", "/failover"]
    }

    fn classify(&self, _: &Value, _: &Value) -> Change {
        // What tells two record sets apart is in their identity: another one is another action.
        Change::Update
    }

    fn schema(&self, resource: &str) -> Option<Value> {
        (resource == "record-set").then(spec::schema::<RecordSetSpec>)
    }

    fn rank(&self, _: &Value) -> u16 {
        90
    }

    fn output(&self, _: &Value, method: &str, _: Option<&str>, _: &Authority, _: &SpecContext) -> Result<OutputDeclaration, Diagnostic> {
        Ok(OutputDeclaration { output: method.to_owned(), secret: false, generated: false })
    }
}

/// Longest name of the DNS.
const NAME_CHARS_MAX: usize = 253;
/// Longest label of the DNS.
const LABEL_CHARS_MAX: usize = 63;

fn wrong_name(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.contains('.') {
        return Some(format!("`{name}` is no full name: `shop.example.com`"));
    }
    let labels = name.strip_prefix("*.").unwrap_or(name).split('.');
    let fits = |label: &str| {
        (1..=LABEL_CHARS_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    labels.clone().find(|label| !fits(label)).map(|label| format!("`{label}` can't stand in a name"))
}

/// Says why the record that tells whose this one is would not fit into a zone, if it would not: its name has the type before it.
fn wrong_owner_name(record: &RecordSetSpec) -> Option<String> {
    let name = owner_name(&Key { name: record.name.clone(), r#type: record.r#type.clone(), set: None });
    let added = name.len().saturating_sub(record.name.len());
    let first = record.name.split('.').next().unwrap_or_default();
    let too_long = name.split('.').any(|label| label.len() > LABEL_CHARS_MAX);
    if too_long {
        return Some(format!(
            "`{first}` has {} characters; a label of {} records has at most {}, because `{}` is put before it in the record that says whose it is",
            first.len(),
            record.r#type,
            LABEL_CHARS_MAX.saturating_sub(added),
            name.get(..added).unwrap_or_default(),
        ));
    }
    let most = NAME_CHARS_MAX.saturating_sub(added);
    (name.len() > NAME_CHARS_MAX)
        .then(|| format!("the name has {} characters; one of {} records has at most {most}", record.name.len(), record.r#type))
}

/// Tells how values of a type are written, if this is none.
fn wrong_value(r#type: &str, text: &str) -> Option<&'static str> {
    let parts = text.split_whitespace().count();
    let (fits, form) = match r#type {
        "A" => (text.parse::<Ipv4Addr>().is_ok(), "`192.0.2.1`"),
        "AAAA" => (text.parse::<Ipv6Addr>().is_ok(), "`2001:db8::1`"),
        "CNAME" | "PTR" => (parts == 1, "`shop.example.com`"),
        "MX" => (parts == 2, "`10 mail.example.com`"),
        "SRV" => (parts == 4, "`10 5 5060 sip.example.com`"),
        "CAA" => (parts >= 3, "`0 issue \"ca.example.net\"`"),
        _ => return None,
    };
    (!fits).then_some(form)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(value: Value) -> Vec<String> {
        let records = ["*.example.com", "MX *.example.com", "A shop", "SOA -x.example.com"].map(str::to_owned).into();
        let authority = Authority { records, ..Authority::default() };
        let context =
            SpecContext { application: "shop".into(), environment: "dev".into(), workload: None, namespace: None, connection_kind: "aws" };
        let spec = Route53Planner.normalise("record-set", value, &authority, &context);
        Route53Planner
            .check(&spec, &authority, &context)
            .into_iter()
            .map(|problem| format!("{} {}", problem.pointer, problem.message))
            .collect()
    }

    #[test]
    fn wrong_records_say_where_and_why() {
        assert!(checked(json!({ "name": "Shop.Example.com.", "type": "a", "values": ["192.0.2.1"] })).is_empty());
        for (kind, most) in [("A", 61), ("AAAA", 58), ("CNAME", 57)] {
            let of = |chars: usize| {
                checked(
                    json!({ "name": format!("{}.example.com", "x".repeat(chars)), "type": kind, "alias": { "zoneId": "Z", "name": "y" } }),
                )
            };
            assert_eq!(of(most), [""; 0], "{kind}");
            assert!(of(most + 1)[0].contains(&format!("at most {most}")), "{:?}", of(most + 1));
        }
        assert!(checked(json!({ "name": "*.example.com", "type": "CNAME", "values": ["x.example.net"] })).is_empty());
        let found = [
            checked(json!({ "name": "shop", "type": "A", "values": ["192.0.2.1"] })),
            checked(json!({ "name": "-x.example.com", "type": "SOA" })),
            checked(
                json!({ "name": "x.example.com", "type": "A", "values": ["192.0.2.1"], "alias": { "zoneId": "Z", "name": "y" }, "ttl": 1 }),
            ),
            checked(json!({ "name": "x.example.com", "type": "CNAME", "values": ["a", "b"], "weight": 1, "failover": "FIRST" })),
            checked(json!({ "name": "x.example.com", "type": "A", "values": ["192.0.2.1", "x.example.net"] })),
            checked(json!({ "name": "x.example.com", "type": "AAAA", "values": ["192.0.2.1", "2001:db8::1"] })),
            checked(json!({ "name": "x.example.com", "type": "MX", "values": ["mail.example.com", "10 mail.example.com"] })),
            checked(json!({ "name": "x.example.com", "type": "TXT", "values": ["", "any text"] })),
        ];
        insta::assert_snapshot!(found.iter().flatten().cloned().collect::<Vec<_>>().join("\n"));
    }
}
