//! The driver of the README's tutorial: a bucket claim with generated keys.

use serde_json::json;
use windlass_sdk::{names, prelude::*};

/// What a definition gives.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// Where buckets live.
    pub endpoint: String,
}

/// What workloads get.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// The bucket's name.
    pub bucket: String,
    /// Where it lives.
    pub endpoint: String,
    /// The key's secret half.
    pub secret_key: Sealable,
}

/// The driver.
#[derive(Debug)]
pub struct Bucket;

impl ResourceDefinition for Bucket {
    const SUMMARY: &'static str = "a bucket with a generated key";
    type Params = NoParams;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<NoParams, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let bucket = names::of_resource(&request.key);
        let key = Generated::new("key");
        Object::new(
            "credentials",
            &json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": bucket },
                "stringData": { "secret_key": key.value() },
            }),
        );
        Ok(Answer::new(Outputs { bucket, endpoint: request.inputs.endpoint, secret_key: key.value() }))
    }
}

windlass_sdk::export_resource!(Bucket);

#[cfg(test)]
mod tests {
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn stages_a_secret() {
        insta::assert_json_snapshot!(define::<Bucket>(json!({ "inputs": { "endpoint": "https://s3.example" } })));
    }
}
