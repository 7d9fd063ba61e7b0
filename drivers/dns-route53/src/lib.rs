//! A DNS record in Amazon Route 53 that points at whatever the definition says: an address, a name, another resource of AWS.

use windlass_sdk::{
    aws::{AliasSpec, RecordSet, RecordSetSpec},
    names,
    prelude::*,
};

/// What a resource may be asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// A name of one's own below the domain; made from the resource's id if nothing is said.
    #[serde(default)]
    pub name: Option<String>,
}

/// What a definition may give.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The domain below which names are made.
    pub domain: String,
    /// The address or name that the record points at; it may be known only later, such as that of a load balancer.
    #[serde(default)]
    pub target: Option<Sealable>,
    /// The same for what may be an address or a name: the record's type follows from it, so that the record is planned when it is known.
    #[serde(default)]
    pub destination: Option<String>,
    /// The record's type; made out from a target that is known, else `A`.
    #[serde(default)]
    pub record_type: Option<RecordType>,
    /// Another resource of AWS in the place of a target.
    #[serde(default)]
    pub alias: Option<Alias>,
    /// Seconds that resolvers may keep the answer, 300 if nothing is said.
    #[serde(default)]
    pub ttl: Option<u32>,
    /// The hosted zone's id; the zone with the longest matching name if nothing is said.
    #[serde(default)]
    pub zone_id: Option<String>,
    /// Whether a zone of a private network is meant.
    #[serde(default)]
    pub private_zone: Option<bool>,
    /// `http` or `https`, for the `url` output; `https` if nothing is said.
    #[serde(default)]
    pub scheme: Option<Scheme>,
}

/// Types of records that point somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    #[serde(rename = "AAAA")]
    Aaaa,
    /// Another name.
    #[serde(rename = "CNAME")]
    Cname,
}

/// Longest label of the DNS.
const LABEL_CHARS_MAX: usize = 63;

impl RecordType {
    fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
        }
    }

    /// How long a label may be: the record that says whose this one is has the type and a hyphen before it.
    fn label_chars_max(self) -> usize {
        LABEL_CHARS_MAX - self.as_str().len() - 1
    }
}

/// Another resource of AWS.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The hosted zone of the target: of its kind and region, not yours.
    pub zone_id: Sealable,
    /// Its name.
    pub name: Sealable,
    /// Whether its health counts.
    #[serde(default)]
    pub evaluate_health: bool,
}

/// The scheme of the `url` output.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain.
    Http,
    /// With TLS.
    Https,
}

/// What it yields.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// The name.
    pub host: String,
    /// The name as a URL.
    pub url: String,
}

/// The driver.
#[derive(Debug)]
pub struct DnsRoute53;

impl ResourceDefinition for DnsRoute53 {
    const SUMMARY: &'static str = "a DNS record in Amazon Route 53";
    type Params = Params;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<Params, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let Request { context, key, params, inputs, .. } = request;
        let target = match (inputs.target, inputs.destination) {
            (Some(_), Some(_)) => return Err(nowhere()),
            (target, destination) => target.or_else(|| destination.map(Sealable::from)),
        };
        let (record_type, values, alias) = match (target, inputs.alias) {
            (Some(target), None) => (inputs.record_type.unwrap_or_else(|| type_of(&target)), vec![target], None),
            (None, Some(Alias { zone_id, name, evaluate_health })) => {
                (inputs.record_type.unwrap_or(RecordType::A), Vec::new(), Some(AliasSpec { zone_id, name, evaluate_health }))
            }
            (Some(_), Some(_)) | (None, None) => return Err(nowhere()),
        };
        let own = || names::name_within(&[&key.id, &context.application, &context.environment], record_type.label_chars_max());
        let host = format!("{}.{}", params.name.unwrap_or_else(own), inputs.domain.trim_matches('.'));
        RecordSet::new(
            "name",
            &RecordSetSpec {
                name: host.clone(),
                r#type: record_type.as_str().to_owned(),
                zone_id: inputs.zone_id,
                private_zone: inputs.private_zone,
                ttl: inputs.ttl,
                values,
                alias,
                ..RecordSetSpec::default()
            },
        );
        let scheme = match inputs.scheme {
            Some(Scheme::Http) => "http",
            Some(Scheme::Https) | None => "https",
        };
        Ok(Answer::new(Outputs { url: format!("{scheme}://{host}"), host }))
    }
}

fn nowhere() -> Diagnostics {
    Diagnostic::error("target", "the record points at nothing, or at two things")
        .at("/inputs")
        .hint("give `target`, `destination` or `alias`, such as `target: ${resources.gateway.address}`")
        .into()
}

/// Makes out the type of a known target; one that is known later is taken for an address.
fn type_of(target: &Sealable) -> RecordType {
    match target.known() {
        Some(text) if text.contains(':') => RecordType::Aaaa,
        Some(text) if !text.chars().all(|c| c.is_ascii_digit() || c == '.') => RecordType::Cname,
        Some(_) | None => RecordType::A,
    }
}

windlass_sdk::export_resource!(DnsRoute53);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn stages_a_record_for_every_kind_of_target() {
        let with = |inputs| define::<DnsRoute53>(json!({ "key": { "type": "dns", "id": "web.dns" }, "inputs": inputs }));
        insta::assert_json_snapshot!([
            with(json!({ "domain": "dev.example.com", "target": { "$deferred": "gateway.address" } })),
            with(json!({ "domain": "dev.example.com", "target": "lb.example.net", "ttl": 60, "scheme": "http" })),
            with(json!({ "domain": "dev.example.com", "target": "2001:db8::1" })),
            with(
                json!({ "domain": "dev.example.com", "alias": { "zone_id": "Z1", "name": "x.elb.amazonaws.com", "evaluate_health": true } })
            ),
            with(json!({ "domain": "dev.example.com", "destination": "lb.example.net" })),
            with(json!({ "domain": "dev.example.com", "destination": "lb.example.net", "target": "192.0.2.1" })),
            with(json!({ "domain": "dev.example.com" })),
        ]);
    }
}
