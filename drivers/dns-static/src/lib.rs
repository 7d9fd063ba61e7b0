//! A DNS name that exists already: nothing is staged, the outputs follow from the inputs.

use windlass_sdk::{names, prelude::*};

/// What a resource may be asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// A name of one's own below the domain; made from the resource's id if nothing is said.
    #[serde(default)]
    pub name: Option<String>,
}

/// What a definition may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The whole name, where there is just one.
    #[serde(default)]
    pub host: Option<String>,
    /// The domain below which names are made, `localhost` if nothing is said.
    #[serde(default)]
    pub domain: Option<String>,
    /// `http` or `https`, for the `url` output; `https` if nothing is said.
    #[serde(default)]
    pub scheme: Option<Scheme>,
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
pub struct DnsStatic;

impl ResourceDefinition for DnsStatic {
    const SUMMARY: &'static str = "a DNS name that exists already, given or made up of a rule";
    type Params = Params;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<Params, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let Request { context, key, params, inputs, .. } = request;
        let asked = if params.name.is_some() { "/params/name" } else { "/inputs" };
        let host = match (inputs.host, params.name) {
            (Some(host), None) => host,
            (Some(host), Some(name)) => format!("{name}.{host}"),
            (None, name) => {
                let domain = inputs.domain.unwrap_or_else(|| "localhost".to_owned());
                let first = name.unwrap_or_else(|| names::name(&[&key.id, &context.application, &context.environment]));
                format!("{first}.{domain}")
            }
        };
        if !is_host(&host) {
            return Err(Diagnostic::error("host", format!("`{host}` is no DNS name"))
                .at(asked)
                .hint("labels of lower-case letters, digits and `-`, joined with dots")
                .into());
        }
        let scheme = match inputs.scheme {
            Some(Scheme::Http) => "http",
            Some(Scheme::Https) | None => "https",
        };
        Ok(Answer::new(Outputs { url: format!("{scheme}://{host}"), host }))
    }
}

fn is_host(host: &str) -> bool {
    host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

windlass_sdk::export_resource!(DnsStatic);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn given_made_and_refused() {
        insta::assert_json_snapshot!([
            define::<DnsStatic>(json!({ "inputs": { "host": "shop.example" } })),
            define::<DnsStatic>(
                json!({ "inputs": { "domain": "dev.example", "scheme": "http" }, "key": { "type": "dns", "id": "web.dns" } })
            ),
            define::<DnsStatic>(json!({ "params": { "name": "api" }, "inputs": { "domain": "dev.example" } })),
            define::<DnsStatic>(json!({ "inputs": { "host": "Not A Host" } })),
            define::<DnsStatic>(json!({ "params": { "name": "Bad_Name" } })),
        ]);
    }
}
