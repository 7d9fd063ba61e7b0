//! Compares instances with their specs, and says what is sent for what was removed. Pure.

use std::collections::BTreeSet;

use aws_sdk_rds::types::DbInstance;
use serde_json::{Value, json};
use windlass_engine::{session::PriorState, spec};

use super::{spec::DbInstanceSpec, version};

/// One field that a spec gives: where, what is wanted, what is there.
pub(crate) struct Field {
    pub pointer: &'static str,
    pub wanted: Value,
    pub found: Value,
}

/// Compares what a spec gives with an instance; what it leaves out is RDS's own.
fn fields(spec: &DbInstanceSpec, instance: &DbInstance) -> Vec<Field> {
    let mut out = Vec::new();
    let mut field = |pointer: &'static str, wanted: Option<Value>, found: Value| {
        if let Some(wanted) = wanted {
            out.push(Field { pointer, wanted, found });
        }
    };
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    field("/class", Some(json!(spec.class)), json!(instance.db_instance_class()));
    let running = instance.engine_version().unwrap_or_default();
    let engine = spec.engine.as_deref().or(instance.engine()).unwrap_or_default();
    let is_satisfied = spec.engine_version.as_ref().is_some_and(|wanted| version::satisfies(engine, running, wanted));
    field("/engineVersion", text(&spec.engine_version), if is_satisfied { json!(spec.engine_version) } else { json!(running) });
    field(
        "/autoMinorVersionUpgrade",
        spec.auto_minor_version_upgrade.map(Value::from),
        json!(instance.auto_minor_version_upgrade().unwrap_or_default()),
    );
    // Storage that grew stays: RDS can't shrink it.
    let storage = instance.allocated_storage().unwrap_or_default();
    field("/allocatedStorage", spec.allocated_storage.map(|wanted| json!(wanted.max(storage))), json!(storage));
    let limit = spec.max_allocated_storage.map(|most| most.max(storage));
    // RDS tells no limit where the storage does not grow by itself.
    field("/maxAllocatedStorage", limit.map(Value::from), json!(instance.max_allocated_storage().unwrap_or(storage)));
    field("/storageType", text(&spec.storage_type), json!(instance.storage_type()));
    field("/multiAz", spec.multi_az.map(Value::from), json!(instance.multi_az().unwrap_or_default()));
    field("/subnetGroup", text(&spec.subnet_group), json!(instance.db_subnet_group().and_then(|group| group.db_subnet_group_name())));
    if !spec.security_groups.is_empty() {
        let wanted: BTreeSet<&str> = spec.security_groups.iter().map(String::as_str).collect();
        let found: BTreeSet<&str> = instance.vpc_security_groups().iter().filter_map(|group| group.vpc_security_group_id()).collect();
        field("/securityGroups", Some(json!(wanted)), json!(found));
    }
    let parameters = instance.db_parameter_groups().first().and_then(|group| group.db_parameter_group_name());
    field("/parameterGroup", text(&spec.parameter_group), json!(parameters));
    field(
        "/backupRetentionDays",
        spec.backup_retention_days.map(Value::from),
        json!(instance.backup_retention_period().unwrap_or_default()),
    );
    field("/backupWindow", text(&spec.backup_window), json!(instance.preferred_backup_window()));
    field("/maintenanceWindow", text(&spec.maintenance_window), json!(instance.preferred_maintenance_window()));
    field("/deletionProtection", spec.deletion_protection.map(Value::from), json!(instance.deletion_protection().unwrap_or_default()));
    field(
        "/performanceInsights",
        spec.performance_insights.map(Value::from),
        json!(instance.performance_insights_enabled().unwrap_or_default()),
    );
    let is_managed = instance.master_user_secret().is_some();
    field("/manageMasterPassword", spec.manage_master_password.map(Value::from), json!(is_managed));
    field("/publiclyAccessible", spec.publicly_accessible.map(Value::from), json!(instance.publicly_accessible().unwrap_or_default()));
    let port = instance.endpoint().and_then(|endpoint| endpoint.port()).or(instance.db_instance_port());
    field("/port", spec.port.map(Value::from), json!(port));
    out
}

/// Returns the fields that differ.
pub(crate) fn different(spec: &DbInstanceSpec, instance: &DbInstance) -> Vec<Field> {
    fields(spec, instance).into_iter().filter(|field| field.wanted != field.found).collect()
}

/// Returns the changes that RDS can make: an engine never goes back.
pub(crate) fn sendable(spec: &DbInstanceSpec, instance: &DbInstance) -> Vec<Field> {
    let running = instance.engine_version().unwrap_or_default();
    let is_newer = spec.engine_version.as_deref().is_some_and(|wanted| version::compare(running, wanted).is_gt());
    let mut changes = different(spec, instance);
    changes.retain(|field| !(is_newer && field.pointer == "/engineVersion"));
    changes
}

/// Completes a spec with what switches off the settings that earlier specs gave and this one does not.
pub(crate) fn with_removed(mut spec: DbInstanceSpec, prior: Option<&PriorState>, instance: &DbInstance) -> DbInstanceSpec {
    for before in prior_specs(prior) {
        let off = |before: Option<bool>, now: Option<bool>| now.or(before.map(|_| false));
        spec.multi_az = off(before.multi_az, spec.multi_az);
        spec.deletion_protection = off(before.deletion_protection, spec.deletion_protection);
        spec.performance_insights = off(before.performance_insights, spec.performance_insights);
        spec.manage_master_password = off(before.manage_master_password, spec.manage_master_password);
        if before.max_allocated_storage.is_some() && spec.max_allocated_storage.is_none() {
            // A limit at the size that is there is how RDS is told not to grow.
            spec.max_allocated_storage = instance.allocated_storage().max(spec.allocated_storage);
        }
        if before.parameter_group.is_some() && spec.parameter_group.is_none() {
            let version = spec.engine_version.as_deref().or(instance.engine_version()).unwrap_or_default();
            let engine = spec.engine.as_deref().or(instance.engine()).unwrap_or_default();
            spec.parameter_group = version::default_group(engine, version);
        }
    }
    spec
}

/// Returns the specs that the instance may have been made by so far.
pub(crate) fn prior_specs(prior: Option<&PriorState>) -> impl Iterator<Item = DbInstanceSpec> {
    prior.into_iter().flat_map(|prior| &prior.specs).filter_map(|spec| spec::typed(&spec.to_value()).ok())
}

#[cfg(test)]
mod tests {
    use windlass_model::Spec;

    use super::*;

    fn spec(more: &Value) -> DbInstanceSpec {
        let mut spec = json!({ "identifier": "shop", "class": "db.t4g.micro", "engine": "postgres" });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn instance() -> DbInstance {
        let built = DbInstance::builder().engine("postgres").engine_version("16.8").allocated_storage(40).db_instance_class("db.t4g.micro");
        built.max_allocated_storage(100).performance_insights_enabled(true).auto_minor_version_upgrade(true).build()
    }

    fn changes(spec: &DbInstanceSpec, instance: &DbInstance) -> String {
        let changes = sendable(spec, instance);
        changes.iter().map(|field| format!("{} {}", field.pointer, field.wanted)).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn an_engine_never_goes_back_and_storage_never_shrinks() {
        for (wanted, sent, drifts) in [
            (json!({ "engineVersion": "16.4" }), "", false),
            (json!({ "engineVersion": "16" }), "", false),
            (json!({ "engineVersion": "16.9" }), "/engineVersion \"16.9\"", true),
            (json!({ "engineVersion": "17.1" }), "/engineVersion \"17.1\"", true),
            // A series that RDS itself has left behind is told, and not asked for.
            (json!({ "engineVersion": "15.8" }), "", true),
            (json!({ "allocatedStorage": 20 }), "", false),
            (json!({ "allocatedStorage": 50 }), "/allocatedStorage 50", true),
            (json!({ "allocatedStorage": 20, "maxAllocatedStorage": 30 }), "/maxAllocatedStorage 40", true),
            (json!({ "autoMinorVersionUpgrade": false }), "/autoMinorVersionUpgrade false", true),
        ] {
            let spec = spec(&wanted);
            assert_eq!(changes(&spec, &instance()), sent, "{wanted}");
            assert_eq!(!different(&spec, &instance()).is_empty(), drifts, "{wanted}");
        }
    }

    #[test]
    fn what_is_removed_is_switched_off() {
        let before = json!({
            "identifier": "shop", "class": "db.t4g.micro", "engine": "postgres", "engineVersion": "16.4", "maxAllocatedStorage": 100,
            "performanceInsights": true, "parameterGroup": "shop-postgres16", "deletionProtection": true,
        });
        let prior = PriorState { handle: Value::Null, specs: vec![Spec::new(&before).unwrap()] };
        let now = with_removed(spec(&json!({ "engineVersion": "17.2" })), Some(&prior), &instance());
        let sent = changes(&now, &instance());
        insta::assert_snapshot!(sent, @r#"/engineVersion "17.2", /maxAllocatedStorage 40, /parameterGroup "default.postgres17", /performanceInsights false"#);
        assert_eq!(with_removed(now.clone(), Some(&prior), &instance()), now, "twice is once");
    }
}
