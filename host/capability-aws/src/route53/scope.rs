//! Which records a driver may stage: those that its grant lists, else addresses of hosts below the definition's domain; never the
//! records by which Windlass and external-dns tell whose a record is.

use windlass_engine::planner::Authority;
use windlass_model::Diagnostic;

use super::record::{RecordSetSpec, plain_name, text_of};

/// Types that a pattern without a type permits: addresses, and text about the name itself.
const PLAIN_TYPES: [&str; 4] = ["A", "AAAA", "CNAME", "TXT"];
/// Types before the first `-` of an ownership record's name.
const OWNED_TYPES: [&str; 17] =
    ["a", "aaaa", "caa", "cname", "ds", "https", "mx", "naptr", "ns", "ptr", "soa", "spf", "srv", "sshfp", "svcb", "tlsa", "txt"];

/// Names of one type or of plain ones: `shop.example.com`, `*.dev.example.com`, `TXT _acme-challenge.*.dev.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// `None` for `PLAIN_TYPES`.
    r#type: Option<String>,
    name: String,
}

impl Pattern {
    fn parse(text: &str) -> Self {
        match text.trim().split_once(char::is_whitespace) {
            Some((kind, name)) => Self { r#type: Some(kind.to_ascii_uppercase()), name: plain_name(name.trim()) },
            None => Self { r#type: None, name: plain_name(text.trim()) },
        }
    }

    /// Returns whether a record fits. `*` stands for one host label or more, so neither for a wildcard nor for `_acme-challenge`.
    fn fits(&self, name: &str, r#type: &str) -> bool {
        let of_type = match &self.r#type {
            Some(wanted) => wanted == r#type,
            None => PLAIN_TYPES.contains(&r#type),
        };
        of_type && (self.name == name || self.stands_for(name))
    }

    fn stands_for(&self, name: &str) -> bool {
        let Some((before, after)) = self.name.split_once('*') else { return false };
        let between = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        let whole_labels = (before.is_empty() || before.ends_with('.')) && after.starts_with('.');
        whole_labels && between.is_some_and(|labels| labels.split('.').all(is_host_label))
    }
}

/// Returns whether a name is that of a host below a domain.
fn is_below(name: &str, domain: &str) -> bool {
    let below = name.strip_suffix(&plain_name(domain.trim_start_matches('.'))).and_then(|rest| rest.strip_suffix('.'));
    below.is_some_and(|labels| labels.split('.').all(is_host_label))
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Says why a record may not be staged, if it may not.
pub(crate) fn check(record: &RecordSetSpec, authority: &Authority) -> Vec<Diagnostic> {
    let mut problems: Vec<Diagnostic> = claims_ownership(record).into_iter().collect();
    let domain = authority.inputs.get("domain").and_then(|domain| domain.as_str());
    let permitted = if authority.records.is_empty() {
        domain.is_some_and(|domain| PLAIN_TYPES.contains(&record.r#type.as_str()) && is_below(&record.name, domain))
    } else {
        authority.records.iter().any(|text| Pattern::parse(text).fits(&record.name, &record.r#type))
    };
    if !permitted {
        let rule = match (authority.records.is_empty(), domain) {
            (false, _) => format!("the grant's `records` are {}", authority.records.join(", ")),
            (true, Some(domain)) => format!("without `records` in the grant it is A, AAAA, CNAME and TXT of hosts below `{domain}`"),
            (true, None) => "the grant has no `records`, and the definition's inputs no `domain`".to_owned(),
        };
        problems.push(
            Diagnostic::error("policy-record", format!("the record `{}` {} is not permitted: {rule}", record.name, record.r#type))
                .at("/name")
                .hint(format!(
                    "add `records: [\"{} {}\"]` to the grant, if the definition is meant to write it",
                    record.r#type, record.name
                )),
        );
    }
    problems
}

/// Refuses names and values of ownership records; values that are known later are checked again when they are.
pub(crate) fn claims_ownership(record: &RecordSetSpec) -> Option<Diagnostic> {
    if record.r#type != "TXT" {
        return None;
    }
    let label = record.name.strip_prefix("*.").unwrap_or(&record.name).split('.').next().unwrap_or_default();
    let is_name = label.split_once('-').is_some_and(|(kind, _)| OWNED_TYPES.contains(&kind));
    let at_value = record.values.iter().position(|value| text_of(value).to_ascii_lowercase().contains("heritage="));
    let (at, what) = match (is_name, at_value) {
        (true, _) => ("/name".to_owned(), "the name"),
        (false, Some(index)) => (format!("/values/{index}"), "a value"),
        (false, None) => return None,
    };
    Some(
        Diagnostic::error("policy-ownership-record", format!("`{}` TXT has {what} of a record that says whose another is", record.name))
            .at(at)
            .hint("Windlass writes these records itself; use another name or value"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn authority(records: &[&str], inputs: Value) -> Authority {
        Authority { records: records.iter().map(|text| (*text).to_owned()).collect(), inputs: inputs.into(), ..Authority::default() }
    }

    fn refused(authority: &Authority, name: &str, kind: &str, value: &str) -> Option<String> {
        let spec = json!({ "name": plain_name(name), "type": kind, "values": [value] });
        let record = windlass_engine::spec::read::<RecordSetSpec>(&spec).unwrap();
        check(&record, authority).first().map(|problem| problem.code.to_string())
    }

    #[test]
    fn without_records_in_the_grant_hosts_below_the_domain_may_be_written() {
        let own = authority(&[], json!({ "domain": "Dev.Example.com." }));
        for (name, kind) in [
            ("shop.dev.example.com", "A"),
            ("a.b.dev.example.com.", "CNAME"),
            ("SHOP.dev.example.com", "TXT"),
            ("xn--bcher-kva.dev.example.com", "AAAA"),
        ] {
            assert_eq!(refused(&own, name, kind, "x"), None, "{name}");
        }
        for (name, kind) in [
            ("dev.example.com", "A"),
            ("*.dev.example.com", "A"),
            ("*.shop.dev.example.com", "A"),
            ("_acme-challenge.bank.dev.example.com", "TXT"),
            ("_dmarc.dev.example.com", "TXT"),
            ("www.example.com", "A"),
            ("evildev.example.com", "A"),
            ("shop.dev.example.com", "CAA"),
            ("shop.dev.example.com", "MX"),
            ("shop.dev.example.com", "DS"),
            (".dev.example.com", "A"),
            ("\\052.dev.example.com", "A"),
        ] {
            assert_eq!(refused(&own, name, kind, "x").as_deref(), Some("policy-record"), "{name} {kind}");
        }
        assert!(refused(&authority(&[], json!({})), "www.example.com", "A", "192.0.2.1").is_some());
    }

    #[test]
    fn records_in_the_grant_say_what_may_be_written() {
        let granted =
            authority(&["CAA example.com", "*.dev.example.com", "TXT _acme-challenge.*.dev.example.com", "*.wild.example.com"], json!({}));
        for (name, kind) in
            [("example.com", "CAA"), ("x.dev.example.com", "A"), ("_acme-challenge.x.dev.example.com", "TXT"), ("*.wild.example.com", "A")]
        {
            assert_eq!(refused(&granted, name, kind, "x"), None, "{name} {kind}");
        }
        for (name, kind) in
            [("example.com", "A"), ("_acme-challenge.dev.example.com", "TXT"), ("*.x.dev.example.com", "A"), ("x.dev.example.com", "MX")]
        {
            assert!(refused(&granted, name, kind, "x").is_some(), "{name} {kind}");
        }
    }

    #[test]
    fn ownership_records_are_refused_in_every_spelling() {
        let all = authority(&["*.example.com"], json!({}));
        for name in ["a-www.example.com", "CNAME-www.example.com", "aaaa-any.example.com", "txt-x.y.example.com", "https-x.example.com"] {
            assert_eq!(refused(&all, name, "TXT", "x").as_deref(), Some("policy-ownership-record"), "{name}");
        }
        for value in [
            "heritage=windlass,windlass/owner=x",
            "\"heritage=external-dns,external-dns/owner=default\"",
            "\"heri\" \"tage=windlass\"",
            "\"heritage\\075windlass\"",
            "\"h\\eritage=windlass\"",
            "\"\\110ERITAGE=windlass\"",
            "x heritage=windlass",
        ] {
            assert_eq!(refused(&all, "www.example.com", "TXT", value).as_deref(), Some("policy-ownership-record"), "{value}");
        }
        assert_eq!(refused(&all, "a-team.example.com", "A", "192.0.2.1"), None);
        assert_eq!(refused(&all, "site.example.com", "TXT", "google-site-verification=x"), None);
    }
}
