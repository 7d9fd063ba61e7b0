//! One DB instance for each resource: what drivers of all engines share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DbInstance, DbInstanceSpec, DbParameterGroup, DbParameterGroupSpec, DbSubnetGroup, DbSubnetGroupSpec};
use crate::{
    names::name_within,
    resource::{Context, ResourceKey},
    sealed::{Sealable, SealableValue},
    secrets::{Generated, Policy},
};

/// The class, where nothing is said: the smallest that every region has.
const CLASS: &str = "db.t4g.micro";
/// The database and its user, where nothing is said.
const OWN: &str = "app";
/// Storage in GiB, where nothing is said: the smallest of `gp3`.
const STORAGE: u32 = 20;

/// What a definition may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceInputs {
    /// What the instance is called; made of application, environment and resource if nothing is said. For one that exists: its name.
    #[serde(default)]
    pub identifier: Option<String>,
    /// The database: `app` if nothing is said.
    #[serde(default)]
    pub database: Option<String>,
    /// The user, who owns the database: `app` if nothing is said.
    #[serde(default)]
    pub username: Option<String>,
    /// The engine's version, where the resource asks for none: `16.4`, or `16` for any minor version.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether RDS installs newer minor versions by itself; if nothing is said, it does where the version names none.
    #[serde(default)]
    pub auto_minor_version_upgrade: Option<bool>,
    /// The class: `db.t4g.micro` if nothing is said.
    #[serde(default)]
    pub class: Option<String>,
    /// Storage in GiB: 20 if nothing is said. It can't shrink.
    #[serde(default)]
    pub storage: Option<u32>,
    /// How far RDS may let the storage grow, in GiB.
    #[serde(default)]
    pub max_storage: Option<u32>,
    /// The kind of storage: `gp3` if nothing is said.
    #[serde(default)]
    pub storage_type: Option<String>,
    /// A standby in another availability zone.
    #[serde(default)]
    pub multi_az: bool,
    /// Subnets to make a subnet group of, in two availability zones or more.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// A subnet group that exists.
    #[serde(default)]
    pub subnet_group: Option<String>,
    /// Ids of security groups.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// Settings of the engine: a parameter group is made of them.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// The family of the parameter group: `postgres16`.
    #[serde(default)]
    pub parameter_family: Option<String>,
    /// The key of KMS that encrypts the storage; the account's own if nothing is said.
    #[serde(default)]
    pub kms_key: Option<String>,
    /// Days that automatic backups are kept: 7 if nothing is said.
    #[serde(default)]
    pub backup_retention_days: Option<u16>,
    /// `03:00-04:00`, UTC.
    #[serde(default)]
    pub backup_window: Option<String>,
    /// `sun:04:00-sun:05:00`, UTC.
    #[serde(default)]
    pub maintenance_window: Option<String>,
    /// RDS refuses to delete it while this is on.
    #[serde(default)]
    pub deletion_protection: bool,
    /// Whether a last snapshot is taken when it is deleted; it is, if nothing is said.
    #[serde(default)]
    pub final_snapshot: Option<bool>,
    /// Performance Insights.
    #[serde(default)]
    pub performance_insights: Option<bool>,
    /// Further tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// What it yields.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InstanceOutputs {
    /// The host name of the endpoint.
    pub host: Sealable,
    /// The port of the endpoint.
    pub port: SealableValue<u16>,
    /// The database.
    pub name: String,
    /// The database, by its other name.
    pub database: String,
    /// The user, who owns the database.
    pub username: String,
    /// The password.
    pub password: Sealable,
}

/// What tells engines apart.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    /// What RDS calls it: `postgres`.
    pub name: &'static str,
    /// The version, where nobody says one.
    pub version: &'static str,
    /// How many parts of the version name a parameter group's family.
    pub family_parts: usize,
}

/// Makes the name of an instance.
fn identifier(context: &Context, key: &ResourceKey) -> String {
    let class = if key.class == "default" { "" } else { key.class.as_str() };
    let parts: Vec<&str> = [context.application.as_str(), context.environment.as_str(), class, key.id.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    // RDS wants a letter first and no two hyphens side by side.
    let name = name_within(&parts, 60).replace("--", "-");
    if name.starts_with(|c: char| c.is_ascii_lowercase()) { name } else { format!("db-{name}") }
}

/// Stages an instance with the groups that it needs; the version that the resource asks for comes first.
pub fn stage(engine: Engine, context: &Context, key: &ResourceKey, version: Option<String>, inputs: InstanceInputs) -> InstanceOutputs {
    let identifier = inputs.identifier.unwrap_or_else(|| identifier(context, key));
    let database = inputs.database.unwrap_or_else(|| OWN.to_owned());
    let username = inputs.username.unwrap_or_else(|| OWN.to_owned());
    let password = Generated::with_policy("password", &Policy::default());
    let mut behind = Vec::new();
    let subnet_group = if inputs.subnets.is_empty() {
        inputs.subnet_group
    } else {
        let group = DbSubnetGroup::new(
            "subnets",
            &DbSubnetGroupSpec {
                name: identifier.clone(),
                description: format!("subnets of {identifier}"),
                subnets: inputs.subnets,
                tags: inputs.tags.clone(),
            },
        );
        behind.push(group.action());
        Some(identifier.clone())
    };
    let version = version.or(inputs.version).unwrap_or_else(|| engine.version.to_owned());
    // Named by family: an instance whose major version changes needs the next group while the one before is still in use.
    let parameter_group = (!inputs.parameters.is_empty()).then(|| {
        let series = version.split('.').take(engine.family_parts).collect::<Vec<_>>().join(".");
        let family = inputs.parameter_family.clone().unwrap_or_else(|| format!("{}{series}", engine.name));
        let of_family = family.replace(['.', '_'], "-").to_ascii_lowercase();
        let name = format!("{identifier}-{of_family}");
        let group = DbParameterGroup::new(
            &format!("parameters-{of_family}"),
            &DbParameterGroupSpec {
                name: name.clone(),
                family,
                description: format!("settings of {identifier}"),
                parameters: inputs.parameters,
                tags: inputs.tags.clone(),
            },
        );
        behind.push(group.action());
        name
    });
    let instance = DbInstance::new(
        "instance",
        &DbInstanceSpec {
            identifier,
            engine: Some(engine.name.to_owned()),
            engine_version: Some(version),
            auto_minor_version_upgrade: inputs.auto_minor_version_upgrade,
            class: inputs.class.unwrap_or_else(|| CLASS.to_owned()),
            allocated_storage: Some(inputs.storage.unwrap_or(STORAGE)),
            max_allocated_storage: inputs.max_storage,
            storage_type: Some(inputs.storage_type.unwrap_or_else(|| "gp3".to_owned())),
            multi_az: Some(inputs.multi_az),
            db_name: Some(database.clone()),
            master_username: Some(username.clone()),
            master_password: Some(password.value()),
            subnet_group,
            security_groups: inputs.security_groups,
            parameter_group,
            storage_encrypted: Some(true),
            kms_key: inputs.kms_key,
            backup_retention_days: Some(inputs.backup_retention_days.unwrap_or(7)),
            backup_window: inputs.backup_window,
            maintenance_window: inputs.maintenance_window,
            deletion_protection: Some(inputs.deletion_protection),
            performance_insights: inputs.performance_insights,
            publicly_accessible: Some(false),
            final_snapshot: inputs.final_snapshot,
            tags: inputs.tags,
            ..DbInstanceSpec::default()
        },
    );
    for action in behind {
        instance.after(&action);
    }
    InstanceOutputs {
        host: instance.address(),
        port: SealableValue::Sealed(instance.port()),
        name: database.clone(),
        database,
        username,
        password: password.value(),
    }
}
