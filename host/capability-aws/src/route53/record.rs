//! Record sets: what is staged, how it stands in a zone, and the record that says whose it is.

use aws_sdk_route53::{
    error::BuildError,
    types::{AliasTarget, ResourceRecord, ResourceRecordSet, ResourceRecordSetFailover, RrType},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use windlass_engine::session::{Owner, Ownership};

/// Seconds that resolvers may keep an answer, if nothing is said.
const TTL: u32 = 300;
/// Types that a record set may have here; those that only AWS itself makes are left out.
pub(crate) const TYPES: [&str; 13] = ["A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "MX", "NAPTR", "PTR", "SRV", "SVCB", "TLSA", "TXT"];

/// The records of one name and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RecordSetSpec {
    /// The name: `shop.example.com`; a leading `*.` stands for every name below.
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, `TXT`, …
    pub r#type: String,
    /// The hosted zone's id; the zone with the longest matching name if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_id: Option<String>,
    /// Whether zones of private networks are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_zone: Option<bool>,
    /// Seconds; 300 if nothing is said, absent for aliases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// The values, as in a zone file; text of `TXT` needs no quotes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-windlass-sealed" = true))]
    pub values: Vec<String>,
    /// Another resource of AWS in the place of values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<AliasSpec>,
    /// Which of several record sets of this name and type is meant; needed with a routing policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_identifier: Option<String>,
    /// Weighted routing: 0 to 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
    /// Failover routing: `PRIMARY` or `SECONDARY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<String>,
    /// The health check that takes the records out of answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<String>,
}

/// What an alias record points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AliasSpec {
    /// The hosted zone of the target: of its kind and region, not yours.
    #[schemars(extend("x-windlass-sealed" = true))]
    pub zone_id: String,
    /// Its name.
    #[schemars(extend("x-windlass-sealed" = true))]
    pub name: String,
    /// Whether its health counts.
    #[serde(default)]
    pub evaluate_health: bool,
}

/// Writes a name in its one form: lower case, no last dot.
pub(crate) fn plain_name(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Reads a name as Route 53 writes it: a last dot, and `*` in octal.
pub(crate) fn read_name(name: &str) -> String {
    plain_name(name).replace("\\052", "*")
}

/// A value longer than this stands in several strings.
const STRING_BYTES_MAX: usize = 255;

/// Quotes the text of a TXT record; what is not printable ASCII is written in octal, as Route 53 writes it.
fn quoted(text: &str) -> String {
    if text.starts_with('"') && text.ends_with('"') && text.len() > 1 {
        return text.to_owned();
    }
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    let escaped = |byte: &u8| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(*byte)),
        b' '..=b'~' => char::from(*byte).to_string(),
        other => format!("\\{other:03o}"),
    };
    let strings: Vec<String> =
        text.as_bytes().chunks(STRING_BYTES_MAX).map(|part| format!("\"{}\"", part.iter().map(escaped).collect::<String>())).collect();
    strings.join(" ")
}

/// Reads the text of a TXT value: its strings joined, without quotes and escapes.
pub(crate) fn text_of(value: &str) -> String {
    let trimmed = value.trim();
    let is_quoted = trimmed.starts_with('"');
    let mut text = Vec::with_capacity(trimmed.len());
    let mut inside = false;
    let mut bytes = trimmed.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if is_quoted => inside = !inside,
            b'\\' => text.extend(escaped(&mut bytes)),
            // Spaces between two strings are none of the text.
            _ if is_quoted && !inside && byte.is_ascii_whitespace() => {}
            other => text.push(other),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads what follows a backslash: three octal digits, or the character itself.
fn escaped(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let octal = |byte: u8| matches!(byte, b'0'..=b'7').then(|| u32::from(byte - b'0'));
    let mut ahead = bytes.clone();
    let digits = [ahead.next(), ahead.next(), ahead.next()].map(|byte| byte.and_then(octal));
    if let [Some(high), Some(middle), Some(low)] = digits {
        *bytes = ahead;
        return u8::try_from(high * 64 + middle * 8 + low).ok();
    }
    bytes.next()
}

impl RecordSetSpec {
    /// Builds what is sent.
    pub(crate) fn build(&self) -> Result<ResourceRecordSet, BuildError> {
        let mut builder = ResourceRecordSet::builder().name(plain_name(&self.name)).r#type(RrType::from(self.r#type.as_str()));
        match &self.alias {
            Some(alias) => {
                builder = builder.alias_target(
                    AliasTarget::builder()
                        .hosted_zone_id(&alias.zone_id)
                        .dns_name(plain_name(&alias.name))
                        .evaluate_target_health(alias.evaluate_health)
                        .build()?,
                );
            }
            None => {
                let mut values: Vec<String> = self.values.iter().map(|value| self.value(value)).collect();
                values.sort();
                values.dedup();
                let records: Result<Vec<ResourceRecord>, BuildError> =
                    values.into_iter().map(|value| ResourceRecord::builder().value(value).build()).collect();
                builder = builder.ttl(i64::from(self.ttl.unwrap_or(TTL))).set_resource_records(Some(records?));
            }
        }
        builder
            .set_set_identifier(self.set_identifier.clone())
            .set_weight(self.weight.map(i64::from))
            .set_failover(self.failover.as_deref().map(ResourceRecordSetFailover::from))
            .set_health_check_id(self.health_check.clone())
            .build()
    }

    fn value(&self, value: &str) -> String {
        if self.r#type == "TXT" { quoted(value) } else { value.to_owned() }
    }
}

/// What tells record sets of one zone apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub name: String,
    pub r#type: String,
    pub set: Option<String>,
}

impl Key {
    pub(crate) fn of(set: &ResourceRecordSet) -> Self {
        Self { name: read_name(set.name()), r#type: set.r#type().as_str().to_owned(), set: set.set_identifier().map(str::to_owned) }
    }
}

/// A record set without its name's spelling: what two of them are compared by, and what is kept to delete it exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exact {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<(String, String, bool)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<String>,
}

impl Exact {
    pub(crate) fn of(set: &ResourceRecordSet) -> Self {
        let mut values: Vec<String> = set.resource_records().iter().map(|record| record.value().to_owned()).collect();
        values.sort();
        Self {
            ttl: set.ttl(),
            values,
            alias: set
                .alias_target()
                .map(|alias| (alias.hosted_zone_id().to_owned(), read_name(alias.dns_name()), alias.evaluate_target_health())),
            weight: set.weight(),
            failover: set.failover().map(|failover| failover.as_str().to_owned()),
            health_check: set.health_check_id().map(str::to_owned),
        }
    }
}

/// Where the record stands that says whose a record set is: `a-shop.example.com`, in the grammar of external-dns.
pub(crate) fn owner_name(key: &Key) -> String {
    let kind = key.r#type.to_ascii_lowercase();
    match key.name.strip_prefix("*.") {
        Some(rest) => format!("{kind}-any.{rest}"),
        None => format!("{kind}-{}", key.name),
    }
}

/// What tells that record apart; it has the routing policy of what it stands beside.
pub(crate) fn owner_key(key: &Key) -> Key {
    Key { name: owner_name(key), r#type: RrType::Txt.as_str().to_owned(), set: key.set.clone() }
}

/// What it says.
pub(crate) fn owner_value(owner: &Owner) -> String {
    format!("\"heritage=windlass,windlass/owner={owner}\"")
}

/// Builds it; it shares the routing policy of what it stands beside.
pub(crate) fn owner_record(set: &ResourceRecordSet, owner: &Owner) -> Result<ResourceRecordSet, BuildError> {
    ResourceRecordSet::builder()
        .name(owner_name(&Key::of(set)))
        .r#type(RrType::Txt)
        .ttl(i64::from(TTL))
        .resource_records(ResourceRecord::builder().value(owner_value(owner)).build()?)
        .set_set_identifier(set.set_identifier().map(str::to_owned))
        .set_weight(set.weight())
        .set_failover(set.failover().cloned())
        .build()
}

/// Reads whose a record set is by the value beside it.
pub(crate) fn whose(value: Option<&str>, owner: &Owner) -> Ownership {
    let Some(value) = value else { return Ownership::None };
    if value == owner_value(owner) {
        return Ownership::Ours;
    }
    let fields: Vec<(&str, &str)> = value.trim_matches('"').split(',').filter_map(|field| field.split_once('=')).collect();
    let find = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    match find("heritage") {
        Some("windlass") => Ownership::Other(format!("`{}`", find("windlass/owner").unwrap_or_default())),
        Some(heritage) => {
            let of = find(&format!("{heritage}/owner")).map(|owner| format!(" (owner `{owner}`)")).unwrap_or_default();
            Ownership::Other(format!("{heritage}{of}"))
        }
        None => Ownership::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        let environment =
            windlass_model::state::EnvironmentKey { application: "shop".parse().unwrap(), environment: "dev".parse().unwrap() };
        Owner { installation: "11111111-2222-3333-4444-555555555555".into(), environment }
    }

    #[test]
    fn owners_are_read_in_the_grammar_of_external_dns() {
        assert_eq!(whose(Some(&owner_value(&owner())), &owner()), Ownership::Ours);
        assert_eq!(
            whose(Some("\"heritage=external-dns,external-dns/owner=default,external-dns/resource=ingress/shop/web\""), &owner()),
            Ownership::Other("external-dns (owner `default`)".into())
        );
        assert_eq!(
            whose(Some("\"heritage=windlass,windlass/owner=other/shop/prod\""), &owner()),
            Ownership::Other("`other/shop/prod`".into())
        );
        assert_eq!(whose(Some("\"v=spf1 -all\""), &owner()), Ownership::None);
        assert_eq!(whose(None, &owner()), Ownership::None);
    }

    #[test]
    fn owner_names_stay_below_the_zone() {
        let key = |name: &str, r#type: &str| Key { name: name.into(), r#type: r#type.into(), set: None };
        assert_eq!(owner_name(&key("shop.example.com", "A")), "a-shop.example.com");
        assert_eq!(owner_name(&key("*.shop.example.com", "CNAME")), "cname-any.shop.example.com");
    }

    #[test]
    fn text_is_quoted_once() {
        assert_eq!(quoted("v=spf1 \"x\""), r#""v=spf1 \"x\"""#);
        assert_eq!(quoted("\"done\""), "\"done\"");
        assert_eq!(quoted(&"x".repeat(300)).len(), 300 + 5);
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("grün\t\\"), r#""gr\303\274n\011\\""#);
    }
}
