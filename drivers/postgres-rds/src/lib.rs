//! a DB instance of Amazon RDS for PostgreSQL, one for each resource.

use windlass_sdk::{
    aws::instance::{Engine, InstanceInputs, InstanceOutputs, stage},
    prelude::*,
};

const ENGINE: Engine = Engine { name: "postgres", version: "16", family_parts: 1 };

/// What a resource may be asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The engine's version.
    #[serde(default)]
    pub version: Option<String>,
}

/// The driver.
#[derive(Debug)]
pub struct PostgresRds;

impl ResourceDefinition for PostgresRds {
    const SUMMARY: &'static str = "a DB instance of Amazon RDS for PostgreSQL";
    type Params = Params;
    type Inputs = InstanceInputs;
    type Outputs = InstanceOutputs;

    fn define(request: Request<Params, InstanceInputs>) -> Result<Answer<InstanceOutputs>, Diagnostics> {
        let Request { context, key, params, inputs, .. } = request;
        Ok(Answer::new(stage(ENGINE, &context, &key, params.version, inputs)))
    }
}

windlass_sdk::export_resource!(PostgresRds);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn stages_an_instance_with_its_groups() {
        insta::assert_json_snapshot!([
            define::<PostgresRds>(json!({ "key": { "type": "postgres", "id": "web.db" } })),
            define::<PostgresRds>(json!({
                "key": { "type": "postgres", "id": "main-db" },
                "params": { "version": "16.2" },
                "inputs": {
                    "class": "db.m7g.large", "storage": 100, "max_storage": 500, "multi_az": true, "subnets": ["subnet-a", "subnet-b"],
                    "parameters": { "max_connections": "500" }, "deletion_protection": true, "tags": { "team": "shop" },
                },
            })),
        ]);
    }
}
