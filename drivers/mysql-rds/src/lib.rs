//! a DB instance of Amazon RDS for MySQL, one for each resource.

use windlass_sdk::{
    aws::instance::{Engine, InstanceInputs, InstanceOutputs, stage},
    prelude::*,
};

const ENGINE: Engine = Engine { name: "mysql", version: "8.4", family_parts: 2 };

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
pub struct MysqlRds;

impl ResourceDefinition for MysqlRds {
    const SUMMARY: &'static str = "a DB instance of Amazon RDS for MySQL";
    type Params = Params;
    type Inputs = InstanceInputs;
    type Outputs = InstanceOutputs;

    fn define(request: Request<Params, InstanceInputs>) -> Result<Answer<InstanceOutputs>, Diagnostics> {
        let Request { context, key, params, inputs, .. } = request;
        Ok(Answer::new(stage(ENGINE, &context, &key, params.version, inputs)))
    }
}

windlass_sdk::export_resource!(MysqlRds);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn stages_an_instance_with_its_groups() {
        insta::assert_json_snapshot!([
            define::<MysqlRds>(json!({ "key": { "type": "mysql", "id": "web.db" } })),
            define::<MysqlRds>(json!({
                "key": { "type": "mysql", "id": "main-db" },
                "params": { "version": "8.4.2" },
                "inputs": {
                    "class": "db.m7g.large", "storage": 100, "max_storage": 500, "multi_az": true, "subnets": ["subnet-a", "subnet-b"],
                    "parameters": { "max_connections": "500" }, "deletion_protection": true, "tags": { "team": "shop" },
                },
            })),
        ]);
    }
}
