//! An S3 bucket with a user of its own, by a module that the driver carries: the cheap way to wrap a module that a team already
//! trusts into a resource type, with typed inputs and nothing for a definition to map.

use std::collections::BTreeMap;

use serde_json::json;
use windlass_sdk::{
    names,
    prelude::*,
    terraform::{Module, ModuleSpec, OutputSpec},
};

const MODULE: &str = include_str!("module/main.tf");

/// Characters in the name of a bucket, at most.
const BUCKET_CHARS_MAX: usize = 63;

/// What a definition may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The bucket's name; `PREFIX-APPLICATION-ENVIRONMENT-ID` if nothing is said.
    #[serde(default)]
    pub name: Option<String>,
    /// Put before the name that is made: names of buckets are shared by the whole world.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The region; what the connection's environment says if nothing is said.
    #[serde(default)]
    pub region: Option<String>,
    /// The key of KMS by its ARN; S3's own key if nothing is said.
    #[serde(default)]
    pub kms_key_arn: Option<String>,
    /// Taking the bucket away takes what is in it with it; otherwise only an empty one can go.
    #[serde(default)]
    pub force_destroy: bool,
    /// Tags of everything that is made.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// What a resource may be asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Older versions of objects are kept.
    #[serde(default)]
    pub versioning: bool,
}

/// What it yields: the names that public Score provisioners use.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// The bucket.
    pub bucket: Sealable,
    /// The endpoint with its scheme.
    pub endpoint: Sealable,
    /// The region.
    pub region: Sealable,
    /// The id of the user's access key.
    pub access_key_id: Sealable,
    /// Its secret.
    pub secret_key: Sealable,
    /// The same as `access_key_id`.
    pub aws_access_key_id: Sealable,
    /// The same as `secret_key`.
    pub aws_secret_key: Sealable,
}

/// The driver.
#[derive(Debug)]
pub struct S3Terraform;

impl ResourceDefinition for S3Terraform {
    const SUMMARY: &'static str = "a bucket of Amazon S3 with a user of its own, by OpenTofu or Terraform";
    type Params = Params;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<Params, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let Request { context, key, params, inputs, .. } = request;
        let prefix = inputs.prefix.iter().map(String::as_str);
        let parts: Vec<&str> = prefix.chain([context.application.as_str(), &context.environment, &key.id]).collect();
        let name = inputs.name.unwrap_or_else(|| names::name_within(&parts, BUCKET_CHARS_MAX));
        let variables = json!({
            "name": name, "region": inputs.region, "versioning": params.versioning, "kms_key_arn": inputs.kms_key_arn,
            "force_destroy": inputs.force_destroy, "tags": inputs.tags,
        });
        let open = OutputSpec { sensitive: false };
        let sensitive = OutputSpec { sensitive: true };
        let outputs = [("bucket", open), ("endpoint", open), ("region", open), ("access_key_id", sensitive), ("secret_key", sensitive)];
        let module = Module::new(
            "bucket",
            &ModuleSpec {
                files: BTreeMap::from([("main.tf".into(), MODULE.into())]),
                variables: variables
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(name, value)| (name.clone(), SealableJson(value.clone())))
                    .collect(),
                outputs: outputs.into_iter().map(|(name, output)| (name.into(), output)).collect(),
                holds_data: None,
            },
        );
        let output = |name| module.output(name);
        Ok(Answer::new(Outputs {
            bucket: output("bucket"),
            endpoint: output("endpoint"),
            region: output("region"),
            access_key_id: output("access_key_id"),
            secret_key: output("secret_key"),
            aws_access_key_id: output("access_key_id"),
            aws_secret_key: output("secret_key"),
        }))
    }
}

windlass_sdk::export_resource!(S3Terraform);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn stages_the_module_that_it_carries() {
        insta::assert_json_snapshot!([
            define::<S3Terraform>(json!({ "key": { "type": "s3", "id": "web.files" } })),
            define::<S3Terraform>(json!({
                "key": { "type": "s3", "id": "archive" },
                "params": { "versioning": true },
                "inputs": {
                    "prefix": "acme", "region": "eu-central-1", "kms_key_arn": "arn:aws:kms:eu-central-1:111122223333:key/1",
                    "force_destroy": true, "tags": { "team": "shop" },
                },
            })),
        ]);
    }
}
