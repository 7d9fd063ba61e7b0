//! Amazon Web Services: `windlass:aws/rds` and `windlass:aws/route53`.

pub mod instance;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    handle::{handle, ordered},
    sealed::Sealable,
};

/// A DB instance. Fields that are left out are left to RDS, and its own values are no drift.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DbInstanceSpec {
    /// Its identifier: 1 to 63 lower-case letters, digits and hyphens.
    pub identifier: String,
    /// `postgres`, `mysql`, …; left out for a read replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// `16.4`, or `16` for any minor version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// Whether RDS installs newer minor versions by itself; it does where `engineVersion` names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_minor_version_upgrade: Option<bool>,
    /// `db.t4g.micro`.
    pub class: String,
    /// Storage in GiB; it can't shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_storage: Option<u32>,
    /// How far RDS may let the storage grow, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_allocated_storage: Option<u32>,
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
    pub master_password: Option<Sealable>,
    /// RDS makes the password itself and keeps it in Secrets Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manage_master_password: Option<bool>,
    /// The port it listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
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
    pub backup_retention_days: Option<u16>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DbSubnetGroupSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Ids of subnets, in two availability zones or more.
    pub subnets: Vec<String>,
    /// Further tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A DB parameter group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DbParameterGroupSpec {
    /// Its name.
    pub name: String,
    /// `postgres16`.
    pub family: String,
    /// What it is for.
    pub description: String,
    /// Values by parameter; those that need it act with the next restart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Further tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// The records of one name and type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordSetSpec {
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
    /// The values, as in a zone file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Sealable>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AliasSpec {
    /// The hosted zone of the target: of its kind and region, not yours.
    pub zone_id: Sealable,
    /// Its name.
    pub name: Sealable,
    /// Whether its health counts.
    #[serde(default)]
    pub evaluate_health: bool,
}

/// A DB instance.
#[derive(Debug)]
pub struct DbInstance(db_instance::Handle);

impl DbInstance {
    /// Stages an instance; `name` is unique among the node's instances.
    pub fn new(name: &str, spec: &DbInstanceSpec) -> Self {
        Self(db_instance::Handle::new(name, &serde_json::to_string(spec).unwrap_or_default()))
    }

    /// Yields the host name of the endpoint.
    pub fn address(&self) -> Sealable {
        Sealable::new(self.0.address())
    }

    /// Yields the port of the endpoint, a number.
    pub fn port(&self) -> Sealable {
        Sealable::new(self.0.port())
    }

    /// Yields the Amazon Resource Name.
    pub fn arn(&self) -> Sealable {
        Sealable::new(self.0.arn())
    }

    /// Yields the secret in Secrets Manager, where RDS manages the master password.
    pub fn master_secret_arn(&self) -> Sealable {
        Sealable::new(self.0.master_secret_arn())
    }
}

/// A DB subnet group.
#[derive(Debug)]
pub struct DbSubnetGroup(db_subnet_group::Handle);

impl DbSubnetGroup {
    /// Stages a group; `name` is unique among the node's subnet groups.
    pub fn new(name: &str, spec: &DbSubnetGroupSpec) -> Self {
        Self(db_subnet_group::Handle::new(name, &serde_json::to_string(spec).unwrap_or_default()))
    }
}

/// A DB parameter group.
#[derive(Debug)]
pub struct DbParameterGroup(db_parameter_group::Handle);

impl DbParameterGroup {
    /// Stages a group; `name` is unique among the node's parameter groups.
    pub fn new(name: &str, spec: &DbParameterGroupSpec) -> Self {
        Self(db_parameter_group::Handle::new(name, &serde_json::to_string(spec).unwrap_or_default()))
    }
}

/// Records of Route 53.
#[derive(Debug)]
pub struct RecordSet(record_set::Handle);

impl RecordSet {
    /// Stages records; `name` is unique among the node's record sets.
    pub fn new(name: &str, spec: &RecordSetSpec) -> Self {
        Self(record_set::Handle::new(name, &serde_json::to_string(spec).unwrap_or_default()))
    }

    /// Yields the id of the hosted zone that the name lies in.
    pub fn zone_id(&self) -> Sealable {
        Sealable::new(self.0.zone_id())
    }
}

handle!(
    db_instance,
    "windlass:aws/rds",
    "db-instance",
    crate::bindings::imports::windlass::aws::rds::DbInstance,
    [address = "address", port = "port", arn = "arn", master_secret_arn = "master-secret-arn"]
);
handle!(db_subnet_group, "windlass:aws/rds", "db-subnet-group", crate::bindings::imports::windlass::aws::rds::DbSubnetGroup, []);
handle!(db_parameter_group, "windlass:aws/rds", "db-parameter-group", crate::bindings::imports::windlass::aws::rds::DbParameterGroup, []);
handle!(
    record_set,
    "windlass:aws/route53",
    "record-set",
    crate::bindings::imports::windlass::aws::route53::RecordSet,
    [zone_id = "zone-id"]
);
ordered!(DbInstance, DbSubnetGroup, DbParameterGroup, RecordSet);
