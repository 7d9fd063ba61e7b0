//! DB instances: made, changed in place, waited for, and deleted with a last snapshot.

use std::collections::BTreeMap;

use aws_sdk_rds::types::{DbInstance, SourceType, Tag};
use serde_json::{Map, Value, json};
use windlass_engine::{
    session::{
        ActionRef, CapabilityError, CapabilityErrorKind as Kind, EffectCx, Observed, Owner, Ownership, Phase, PriorState, ResolvedAction,
        Step, Ticket,
    },
    spec,
};
use windlass_model::event::DriftedField;

use super::{
    compare::{Field, different, prior_specs, sendable, with_removed},
    group,
    session::{RdsSession, tags},
    spec::DbInstanceSpec,
};
use crate::{
    error,
    mark::{TAG, whose},
};

/// Statuses in which an instance serves, and can be changed.
const SERVING: [&str; 3] = ["available", "storage-optimization", "backing-up"];
/// Statuses that no waiting ends.
const BROKEN: [&str; 11] = [
    "failed",
    "inaccessible-encryption-credentials",
    "inaccessible-encryption-credentials-recoverable",
    "incompatible-create",
    "incompatible-credentials",
    "incompatible-network",
    "incompatible-option-group",
    "incompatible-parameters",
    "incompatible-restore",
    "restore-error",
    "storage-full",
];
/// How far back the reason of a failure is looked for, in minutes.
const EVENTS_MINUTES: i32 = 120;

fn wanted_tags(spec: &DbInstanceSpec, owner: &Owner) -> Vec<Tag> {
    let own = Tag::builder().key(TAG).value(owner.to_string()).build();
    spec.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).chain([own]).collect()
}

fn status(instance: &DbInstance) -> &str {
    instance.db_instance_status().unwrap_or("unknown")
}

fn serves(instance: &DbInstance) -> bool {
    SERVING.contains(&status(instance)) && instance.endpoint().and_then(|endpoint| endpoint.address()).is_some()
}

/// Makes an instance, or makes it so.
pub(crate) async fn ensure(
    session: &RdsSession,
    seen: &BTreeMap<String, DbInstance>,
    cx: &EffectCx<'_>,
    action: &ResolvedAction,
) -> Result<Step, CapabilityError> {
    let spec: DbInstanceSpec = spec::read(&action.spec)?;
    admit_source(seen, cx.owner, &action.spec)?;
    let Some(known) = seen.get(&spec.identifier) else {
        create(session, &spec, cx.owner).await?;
        cx.events.point("instance asked for");
        return Ok(waiting(session, &spec, "creating", false));
    };
    let what = format!("the DB instance `{}`", spec.identifier);
    let theirs = whose(tags(known), cx.owner);
    theirs.admit(&what, action.insistence)?;
    if status(known) == "deleting" {
        return Ok(waiting(session, &spec, "an instance of this name is still being deleted", true));
    }
    // A password is sent only if it is another one: RDS takes minutes for it, and can't tell.
    let is_held = action.prior.as_ref().is_some_and(|prior| prior.holds(&action.planned, "/masterPassword"));
    let password = spec.master_password.clone().filter(|_| !is_held);
    let prior = action.prior.as_ref();
    tag(session, known, &spec, prior, cx.owner).await?;
    let spec = with_removed(spec, prior, known);
    let changes = sendable(&spec, known);
    if changes.is_empty() && password.is_none() {
        return if serves(known) { done(known, false) } else { broken_or_waiting(session, known, &spec).await };
    }
    if !SERVING.contains(&status(known)) {
        if password.is_some() {
            return Err(CapabilityError::new(
                Kind::Unavailable,
                format!("{what} is `{}`: its password can't be changed now", status(known)),
            )
            .hint("deploy again when it is available"));
        }
        return Ok(waiting(session, &spec, status(known), true));
    }
    modify(session, &spec, &changes, password).await?;
    Ok(waiting(session, &spec, "modifying", false))
}

/// Gives an instance our mark and the tags of its spec, and takes those away that earlier specs gave.
async fn tag(
    session: &RdsSession,
    known: &DbInstance,
    spec: &DbInstanceSpec,
    prior: Option<&PriorState>,
    owner: &Owner,
) -> Result<(), CapabilityError> {
    let there: BTreeMap<&str, &str> = tags(known).collect();
    let arn = known.db_instance_arn().unwrap_or_default();
    let former = prior_specs(prior).flat_map(|before| before.tags.into_keys());
    let former = former.filter(|key| !spec.tags.contains_key(key) && there.contains_key(key.as_str())).collect();
    group::untag(&session.client, arn, former).await?;
    let missing: Vec<Tag> =
        wanted_tags(spec, owner).into_iter().filter(|tag| there.get(tag.key().unwrap_or_default()).copied() != tag.value()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let sent = session.client.add_tags_to_resource().resource_name(arn).set_tags(Some(missing)).send().await;
    sent.map(drop).map_err(|error| error::of("tagging the DB instance", &error))
}

/// Refuses a replica of what belongs to another environment: it would hold everything that is there.
pub(crate) fn admit_source(seen: &BTreeMap<String, DbInstance>, owner: &Owner, value: &Value) -> Result<(), CapabilityError> {
    let Some(source) = value.get("replicateFrom").and_then(Value::as_str) else { return Ok(()) };
    let is_source = |instance: &&DbInstance| [instance.db_instance_identifier(), instance.db_instance_arn()].contains(&Some(source));
    match seen.values().find(is_source).map(|instance| whose(tags(instance), owner)) {
        Some(Ownership::Other(owner)) => Err(CapabilityError::new(
            Kind::Denied,
            format!("`{}` would hold what is in the DB instance `{source}`, which belongs to {owner}", spec::text(value, "identifier")),
        )
        .hint("a replica stands in the environment of its source")),
        _ => Ok(()),
    }
}

async fn create(session: &RdsSession, spec: &DbInstanceSpec, owner: &Owner) -> Result<(), CapabilityError> {
    let what = format!("making the DB instance `{}`", spec.identifier);
    if let Some(source) = &spec.replicate_from {
        let sent = session
            .client
            .create_db_instance_read_replica()
            .db_instance_identifier(&spec.identifier)
            .source_db_instance_identifier(source)
            .db_instance_class(&spec.class)
            .set_auto_minor_version_upgrade(spec.auto_minor_version_upgrade)
            .set_max_allocated_storage(spec.max_allocated_storage)
            .set_storage_type(spec.storage_type.clone())
            .set_multi_az(spec.multi_az)
            .set_port(spec.port)
            .set_db_subnet_group_name(spec.subnet_group.clone())
            .set_vpc_security_group_ids((!spec.security_groups.is_empty()).then(|| spec.security_groups.clone()))
            .set_db_parameter_group_name(spec.parameter_group.clone())
            .set_kms_key_id(spec.kms_key.clone())
            .set_deletion_protection(spec.deletion_protection)
            .set_enable_performance_insights(spec.performance_insights)
            .set_publicly_accessible(spec.publicly_accessible)
            .set_tags(Some(wanted_tags(spec, owner)))
            .send()
            .await;
        return already(sent.map(drop).map_err(|error| error::of(&what, &error)));
    }
    let sent = session
        .client
        .create_db_instance()
        .db_instance_identifier(&spec.identifier)
        .db_instance_class(&spec.class)
        .set_engine(spec.engine.clone())
        .set_engine_version(spec.engine_version.clone())
        .set_auto_minor_version_upgrade(spec.auto_minor_version_upgrade)
        .set_allocated_storage(spec.allocated_storage)
        .set_max_allocated_storage(spec.max_allocated_storage)
        .set_storage_type(spec.storage_type.clone())
        .set_multi_az(spec.multi_az)
        .set_db_name(spec.db_name.clone())
        .set_master_username(spec.master_username.clone())
        .set_master_user_password(spec.master_password.clone())
        .set_manage_master_user_password(spec.manage_master_password)
        .set_port(spec.port)
        .set_db_subnet_group_name(spec.subnet_group.clone())
        .set_vpc_security_group_ids((!spec.security_groups.is_empty()).then(|| spec.security_groups.clone()))
        .set_db_parameter_group_name(spec.parameter_group.clone())
        .set_storage_encrypted(spec.storage_encrypted)
        .set_kms_key_id(spec.kms_key.clone())
        .set_backup_retention_period(spec.backup_retention_days)
        .set_preferred_backup_window(spec.backup_window.clone())
        .set_preferred_maintenance_window(spec.maintenance_window.clone())
        .set_deletion_protection(spec.deletion_protection)
        .set_enable_performance_insights(spec.performance_insights)
        .set_publicly_accessible(spec.publicly_accessible)
        .copy_tags_to_snapshot(true)
        .set_tags(Some(wanted_tags(spec, owner)))
        .send()
        .await;
    already(sent.map(drop).map_err(|error| error::of(&what, &error)))
}

/// An instance that is there after all is one that an answer was lost for, or that appears late in lists: the wait looks whose it is.
fn already(made: Result<(), CapabilityError>) -> Result<(), CapabilityError> {
    match made {
        Err(error) if error.kind == Kind::Conflict => Ok(()),
        made => made,
    }
}

async fn modify(session: &RdsSession, spec: &DbInstanceSpec, changes: &[Field], password: Option<String>) -> Result<(), CapabilityError> {
    let changed = |pointer: &str| changes.iter().any(|change| change.pointer == pointer);
    let when = |pointer: &str, value: &Option<String>| value.clone().filter(|_| changed(pointer));
    let flag = |pointer: &str, value: Option<bool>| value.filter(|_| changed(pointer));
    let number = |pointer: &str, value: Option<i32>| value.filter(|_| changed(pointer));
    let sent = session
        .client
        .modify_db_instance()
        .db_instance_identifier(&spec.identifier)
        .apply_immediately(true)
        .set_db_instance_class(changed("/class").then(|| spec.class.clone()))
        .set_engine_version(when("/engineVersion", &spec.engine_version))
        .set_allow_major_version_upgrade(changed("/engineVersion").then_some(true))
        .set_auto_minor_version_upgrade(flag("/autoMinorVersionUpgrade", spec.auto_minor_version_upgrade))
        .set_allocated_storage(number("/allocatedStorage", spec.allocated_storage))
        .set_max_allocated_storage(number("/maxAllocatedStorage", spec.max_allocated_storage))
        .set_storage_type(when("/storageType", &spec.storage_type))
        .set_multi_az(flag("/multiAz", spec.multi_az))
        .set_db_subnet_group_name(when("/subnetGroup", &spec.subnet_group))
        .set_vpc_security_group_ids(changed("/securityGroups").then(|| spec.security_groups.clone()))
        .set_db_parameter_group_name(when("/parameterGroup", &spec.parameter_group))
        .set_backup_retention_period(number("/backupRetentionDays", spec.backup_retention_days))
        .set_preferred_backup_window(when("/backupWindow", &spec.backup_window))
        .set_preferred_maintenance_window(when("/maintenanceWindow", &spec.maintenance_window))
        .set_deletion_protection(flag("/deletionProtection", spec.deletion_protection))
        .set_enable_performance_insights(flag("/performanceInsights", spec.performance_insights))
        .set_publicly_accessible(flag("/publiclyAccessible", spec.publicly_accessible))
        .set_db_port_number(number("/port", spec.port))
        .set_manage_master_user_password(flag("/manageMasterPassword", spec.manage_master_password))
        .set_master_user_password(password)
        .send()
        .await;
    sent.map(drop).map_err(|error| error::of(&format!("changing the DB instance `{}`", spec.identifier), &error))
}

/// Waits; with `again`, what the spec wants is sent when the instance can take it. The password never stands in a ticket.
fn waiting(session: &RdsSession, spec: &DbInstanceSpec, note: &str, again: bool) -> Step {
    let open = DbInstanceSpec { master_password: None, ..spec.clone() };
    Step::Waiting {
        ticket: json!({ "instance": open, "again": again, "status": note }),
        retry_after_ms: session.pause(),
        note: format!("`{}` is {note}", spec.identifier),
    }
}

fn done(instance: &DbInstance, changed: bool) -> Result<Step, CapabilityError> {
    let mut outputs = Map::new();
    if let Some(endpoint) = instance.endpoint() {
        outputs.insert("address".to_owned(), json!(endpoint.address()));
        outputs.insert("port".to_owned(), json!(endpoint.port()));
    }
    outputs.insert("arn".to_owned(), json!(instance.db_instance_arn()));
    if let Some(secret) = instance.master_user_secret().and_then(|secret| secret.secret_arn()) {
        outputs.insert("master-secret-arn".to_owned(), json!(secret));
    }
    let handle = json!({ "arn": instance.db_instance_arn(), "resource": instance.dbi_resource_id() });
    Ok(Step::Done(Observed { handle, outputs, changed, ..Observed::default() }))
}

/// Says why an instance is broken, or goes on waiting.
async fn broken_or_waiting(session: &RdsSession, instance: &DbInstance, spec: &DbInstanceSpec) -> Result<Step, CapabilityError> {
    let status = status(instance);
    if !BROKEN.contains(&status) {
        let progress = instance.percent_progress().map(|percent| format!("{status} ({percent} %)")).unwrap_or_else(|| status.to_owned());
        return Ok(waiting(session, spec, &progress, false));
    }
    let events = session
        .client
        .describe_events()
        .source_type(SourceType::DbInstance)
        .source_identifier(&spec.identifier)
        .duration(EVENTS_MINUTES)
        .send()
        .await;
    let reasons: Vec<String> =
        events.map(|events| events.events().iter().filter_map(|event| event.message().map(str::to_owned)).collect()).unwrap_or_default();
    let why = reasons.iter().rev().take(3).rev().map(String::as_str).collect::<Vec<_>>().join("; ");
    let why = if why.is_empty() { "RDS gives no reason in its events".to_owned() } else { why };
    let error = CapabilityError::new(Kind::Failed, format!("the DB instance `{}` is `{status}`: {why}", spec.identifier));
    Err(match status {
        "storage-full" => error.hint("raise `allocatedStorage`, or give `maxAllocatedStorage`"),
        "incompatible-parameters" => error.hint("put the parameter group right, and restart the instance"),
        _ => error,
    })
}

/// Asks how far an instance is.
pub(crate) async fn poll(
    session: &RdsSession,
    seen: &BTreeMap<String, DbInstance>,
    cx: &EffectCx<'_>,
    ticket: &Ticket,
) -> Result<Step, CapabilityError> {
    let spec: DbInstanceSpec = ticket
        .state
        .get("instance")
        .and_then(|spec| serde_json::from_value(spec.clone()).ok())
        .ok_or_else(|| CapabilityError::new(Kind::Invalid, "the ticket can't be read"))?;
    let again = ticket.state.get("again").and_then(Value::as_bool).unwrap_or_default();
    let Some(instance) = seen.get(&spec.identifier) else {
        if again {
            // What was being deleted is gone: now it can be made; with a password only by a deployment, which has it.
            if spec.master_username.is_some() && spec.manage_master_password != Some(true) {
                return Err(CapabilityError::new(Kind::Unavailable, format!("the earlier DB instance `{}` is gone", spec.identifier))
                    .hint("deploy again: it is made now"));
            }
            create(session, &spec, cx.owner).await?;
        }
        // Lists may lag behind what was just made.
        return Ok(waiting(session, &spec, "creating", false));
    };
    whose(tags(instance), cx.owner).admit_removal(&format!("the DB instance `{}`", spec.identifier))?;
    if again && SERVING.contains(&status(instance)) {
        let changes = sendable(&spec, instance);
        if !changes.is_empty() {
            modify(session, &spec, &changes, None).await?;
            return Ok(waiting(session, &spec, "modifying", false));
        }
    }
    let settled = instance
        .pending_modified_values()
        .is_none_or(|pending| pending.db_instance_class().is_none() && pending.engine_version().is_none());
    if serves(instance) && settled { done(instance, true) } else { broken_or_waiting(session, instance, &spec).await }
}

/// Compares an instance with what was recorded.
pub(crate) fn observe(
    seen: &BTreeMap<String, DbInstance>,
    owner: &Owner,
    action: &ActionRef<'_>,
) -> Result<(Ownership, Phase, Vec<DriftedField>), CapabilityError> {
    let spec: DbInstanceSpec = spec::read(action.spec)?;
    let Some(instance) = seen.get(&spec.identifier) else { return Ok((Ownership::None, Phase::Absent, Vec::new())) };
    if status(instance) == "deleting" {
        return Ok((whose(tags(instance), owner), Phase::Deleting, Vec::new()));
    }
    let mut drift: Vec<DriftedField> = different(&spec, instance)
        .into_iter()
        .map(|field| DriftedField { pointer: field.pointer.to_owned(), recorded: Some(field.wanted), found: Some(field.found), by: None })
        .collect();
    drift.extend(group::tag_drift(&spec.tags, tags(instance)));
    let resource = action.handle.get("resource").and_then(Value::as_str);
    if resource.is_some() && resource != instance.dbi_resource_id() {
        drift.push(DriftedField {
            pointer: "/identifier".to_owned(),
            recorded: resource.map(Value::from),
            found: instance.dbi_resource_id().map(Value::from),
            by: None,
        });
    }
    Ok((whose(tags(instance), owner), Phase::Present, drift))
}

/// Deletes an instance of ours, with a last snapshot unless the definition says otherwise.
pub(crate) async fn delete(
    session: &RdsSession,
    seen: &BTreeMap<String, DbInstance>,
    owner: &Owner,
    spec: &Value,
) -> Result<Step, CapabilityError> {
    let identifier = spec::text(spec, "identifier");
    let Some(instance) = seen.get(identifier) else { return Ok(Step::Done(Observed { changed: true, ..Observed::default() })) };
    let gone_soon = Step::Waiting { ticket: json!({}), retry_after_ms: session.pause(), note: format!("`{identifier}` is being deleted") };
    whose(tags(instance), owner).admit_removal(&format!("the DB instance `{identifier}`"))?;
    if status(instance) == "deleting" {
        return Ok(gone_soon);
    }
    if instance.deletion_protection() == Some(true) {
        return Err(CapabilityError::new(Kind::Denied, format!("the DB instance `{identifier}` is protected against deletion"))
            .hint("set `deletionProtection: false` in its definition and deploy that first"));
    }
    let snapshot = spec.get("finalSnapshot").and_then(Value::as_bool).unwrap_or(true) && spec.get("replicateFrom").is_none();
    // The name follows from the instance, so that a repeated request makes no second one.
    let made = instance.instance_create_time().map_or(0, |time| time.secs());
    let name = format!("{identifier}-final-{made}");
    let mut request = session.client.delete_db_instance().db_instance_identifier(identifier).skip_final_snapshot(!snapshot);
    if snapshot {
        request = request.final_db_snapshot_identifier(&name);
    }
    match request.send().await {
        Ok(_) => {}
        Err(error) => {
            let failed = error::of(&format!("deleting the DB instance `{identifier}`"), &error);
            let gone = error.as_service_error().is_some_and(|error| error.is_db_instance_not_found_fault());
            let snapshot_is_there = error.as_service_error().is_some_and(|error| error.is_db_snapshot_already_exists_fault());
            if snapshot_is_there {
                let again = session.client.delete_db_instance().db_instance_identifier(identifier).skip_final_snapshot(true).send().await;
                again.map_err(|error| error::of(&format!("deleting the DB instance `{identifier}`"), &error))?;
            } else if !gone && failed.kind != Kind::Unavailable {
                return Err(failed);
            }
        }
    }
    Ok(gone_soon)
}
