//! What is staged; the published schemas are made of these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A DB instance. Fields that are left out are left to RDS, and its own values are no drift; one that is removed is switched off or
/// goes back to the default of RDS, where RDS has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DbInstanceSpec {
    /// Its identifier: 1 to 63 lower-case letters, digits and hyphens.
    pub identifier: String,
    /// `postgres`, `mysql`, …; left out for a read replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// `16.4`, or `16` for any minor version; a newer minor version that RDS installed is no drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// Whether RDS installs newer minor versions by itself; it does where `engineVersion` names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_minor_version_upgrade: Option<bool>,
    /// `db.t4g.micro`.
    pub class: String,
    /// Storage in GiB; it can't shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_storage: Option<i32>,
    /// How far RDS may let the storage grow, in GiB; it does not grow by itself any more when this is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_allocated_storage: Option<i32>,
    /// `gp3`, `io2`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_type: Option<String>,
    /// A standby in another availability zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_az: Option<bool>,
    /// The database that is made with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_name: Option<String>,
    /// The user that manages it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_username: Option<String>,
    /// Its password, a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-windlass-sealed" = true))]
    pub master_password: Option<String>,
    /// RDS makes the password itself and keeps it in Secrets Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manage_master_password: Option<bool>,
    /// The port it listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1150, max = 65535))]
    pub port: Option<i32>,
    /// The subnet group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_group: Option<String>,
    /// Ids of security groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// The parameter group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter_group: Option<String>,
    /// Whether the storage is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_encrypted: Option<bool>,
    /// The key of KMS that encrypts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// Days that automatic backups are kept; 0 turns them off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 35))]
    pub backup_retention_days: Option<i32>,
    /// `03:00-04:00`, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_window: Option<String>,
    /// `sun:04:00-sun:05:00`, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_window: Option<String>,
    /// RDS refuses to delete it while this is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_protection: Option<bool>,
    /// Performance Insights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_insights: Option<bool>,
    /// Whether it has a public address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publicly_accessible: Option<bool>,
    /// The instance that it is a read replica of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicate_from: Option<String>,
    /// Whether a last snapshot is taken when it is deleted; it is, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_snapshot: Option<bool>,
    /// Further tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A DB subnet group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DbSubnetGroupSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Ids of subnets, in two availability zones or more.
    pub subnets: Vec<String>,
    /// Further tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A DB parameter group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DbParameterGroupSpec {
    /// Its name.
    pub name: String,
    /// `postgres16`.
    pub family: String,
    /// What it is for.
    pub description: String,
    /// Values by parameter; those that need it act with the next restart.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Further tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}
