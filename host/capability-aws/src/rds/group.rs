//! Subnet groups and parameter groups.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_rds::{
    Client,
    types::{ApplyMethod, Parameter, Tag},
};
use serde_json::{Map, Value, json};
use windlass_engine::{
    session::{
        CapabilityError, CapabilityErrorKind as Kind, EffectCx, Observed, Owner, Ownership, Phase, PriorState, ResolvedAction, Step,
    },
    spec,
};
use windlass_model::event::DriftedField;

use super::spec::{DbParameterGroupSpec, DbSubnetGroupSpec};
use crate::{
    error,
    mark::{TAG, whose},
    pages::Pages,
};

/// Parameters of one request.
const PARAMETERS_MAX: usize = 20;

/// A group as it is: its resource name, and what can differ.
struct Group {
    arn: String,
    fields: BTreeMap<String, Value>,
}

/// Looks for a group.
async fn find(client: &Client, value: &Value) -> Result<Option<Group>, CapabilityError> {
    let name = spec::text(value, "name");
    if spec::kind(value) == "db-subnet-group" {
        return match client.describe_db_subnet_groups().db_subnet_group_name(name).send().await {
            Ok(found) => Ok(found.db_subnet_groups().first().map(|group| {
                let subnets: BTreeSet<&str> = group.subnets().iter().filter_map(|subnet| subnet.subnet_identifier()).collect();
                Group {
                    arn: group.db_subnet_group_arn().unwrap_or_default().to_owned(),
                    fields: BTreeMap::from([
                        ("description".to_owned(), json!(group.db_subnet_group_description())),
                        ("subnets".to_owned(), json!(subnets)),
                    ]),
                }
            })),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_db_subnet_group_not_found_fault()) => Ok(None),
            Err(error) => Err(error::of("describing the subnet group", &error)),
        };
    }
    let group = match client.describe_db_parameter_groups().db_parameter_group_name(name).send().await {
        Ok(found) => found.db_parameter_groups().first().cloned(),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_db_parameter_group_not_found_fault()) => None,
        Err(error) => return Err(error::of("describing the parameter group", &error)),
    };
    let Some(group) = group else { return Ok(None) };
    let mut fields = BTreeMap::new();
    let mut pages = client.describe_db_parameters().db_parameter_group_name(name).source("user").into_paginator().send();
    let mut budget = Pages::of("reading the parameters");
    while let Some(page) = pages.next().await {
        budget.next()?;
        let page = page.map_err(|error| error::of("reading the parameters", &error))?;
        for parameter in page.parameters() {
            fields.insert(format!("parameters/{}", parameter.parameter_name().unwrap_or_default()), json!(parameter.parameter_value()));
        }
    }
    Ok(Some(Group { arn: group.db_parameter_group_arn().unwrap_or_default().to_owned(), fields }))
}

/// What a spec wants of the fields that can differ.
fn wanted(value: &Value) -> Result<(BTreeMap<String, Value>, BTreeMap<String, String>), CapabilityError> {
    if spec::kind(value) == "db-subnet-group" {
        let spec: DbSubnetGroupSpec = spec::read(value)?;
        let subnets: BTreeSet<String> = spec.subnets.into_iter().collect();
        let fields = BTreeMap::from([("description".to_owned(), json!(spec.description)), ("subnets".to_owned(), json!(subnets))]);
        return Ok((fields, spec.tags));
    }
    let spec: DbParameterGroupSpec = spec::read(value)?;
    Ok((spec.parameters.iter().map(|(name, value)| (format!("parameters/{name}"), json!(value))).collect(), spec.tags))
}

async fn tags_of(client: &Client, arn: &str) -> Result<Vec<(String, String)>, CapabilityError> {
    let found = client.list_tags_for_resource().resource_name(arn).send().await.map_err(|error| error::of("reading tags", &error))?;
    Ok(found.tag_list().iter().map(|tag| (tag.key().unwrap_or_default().to_owned(), tag.value().unwrap_or_default().to_owned())).collect())
}

fn owner_of(tags: &[(String, String)], owner: &Owner) -> Ownership {
    whose(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())), owner)
}

/// Finds the groups of an owner. A group's tags are asked for one by one: nothing lists them.
pub(crate) async fn list_ours(client: &Client, owner: &Owner) -> Result<Vec<String>, CapabilityError> {
    let mut groups = Vec::new();
    let mut pages = client.describe_db_subnet_groups().into_paginator().send();
    let mut budget = Pages::of("listing the subnet groups");
    while let Some(page) = pages.next().await {
        budget.next()?;
        let page = page.map_err(|error| error::of("listing the subnet groups", &error))?;
        groups.extend(page.db_subnet_groups().iter().filter_map(|group| {
            Some((format!("db-subnet-group/{}", group.db_subnet_group_name()?), group.db_subnet_group_arn()?.to_owned()))
        }));
    }
    let mut pages = client.describe_db_parameter_groups().into_paginator().send();
    let mut budget = Pages::of("listing the parameter groups");
    while let Some(page) = pages.next().await {
        budget.next()?;
        let page = page.map_err(|error| error::of("listing the parameter groups", &error))?;
        groups.extend(page.db_parameter_groups().iter().filter_map(|group| {
            // AWS's own, which nobody can mark.
            let name = group.db_parameter_group_name().filter(|name| !name.starts_with("default."))?;
            Some((format!("db-parameter-group/{name}"), group.db_parameter_group_arn()?.to_owned()))
        }));
    }
    let mut ours = Vec::new();
    for (identity, arn) in groups {
        if owner_of(&tags_of(client, &arn).await?, owner) == Ownership::Ours {
            ours.push(identity);
        }
    }
    Ok(ours)
}

/// Compares a group with what was recorded.
pub(crate) async fn observe(
    client: &Client,
    owner: &Owner,
    value: &Value,
) -> Result<(Ownership, Phase, Vec<DriftedField>), CapabilityError> {
    let Some(group) = find(client, value).await? else { return Ok((Ownership::None, Phase::Absent, Vec::new())) };
    let (wanted, wanted_tags) = wanted(value)?;
    let mut drift: Vec<DriftedField> = wanted
        .into_iter()
        .filter(|(name, wanted)| group.fields.get(name) != Some(wanted))
        .map(|(name, wanted)| DriftedField {
            found: group.fields.get(&name).cloned(),
            pointer: format!("/{name}"),
            recorded: Some(wanted),
            by: None,
        })
        .collect();
    let tags = tags_of(client, &group.arn).await?;
    drift.extend(tag_drift(&wanted_tags, tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))));
    Ok((owner_of(&tags, owner), Phase::Present, drift))
}

/// Compares the tags that a spec gives with those that are there; further tags are no drift.
pub(crate) fn tag_drift<'t>(wanted: &BTreeMap<String, String>, there: impl Iterator<Item = (&'t str, &'t str)>) -> Vec<DriftedField> {
    let there: BTreeMap<&str, &str> = there.collect();
    let differing = wanted.iter().filter(|(key, value)| there.get(key.as_str()) != Some(&value.as_str()));
    let drifted = differing.map(|(key, value)| DriftedField {
        pointer: format!("/tags/{}", key.replace('~', "~0").replace('/', "~1")),
        recorded: Some(json!(value)),
        found: there.get(key.as_str()).map(|found| json!(found)),
        by: None,
    });
    drifted.collect()
}

/// Takes tags away, if there are any to take.
pub(crate) async fn untag(client: &Client, arn: &str, keys: BTreeSet<String>) -> Result<(), CapabilityError> {
    if keys.is_empty() {
        return Ok(());
    }
    let sent = client.remove_tags_from_resource().resource_name(arn).set_tag_keys(Some(keys.into_iter().collect())).send().await;
    sent.map(drop).map_err(|error| error::of("taking tags away", &error))
}

/// Returns the tags that earlier specs of a group gave and its spec does not.
fn former_tags(prior: Option<&PriorState>, tags: &BTreeMap<String, String>) -> BTreeSet<String> {
    let specs = prior.into_iter().flat_map(|prior| &prior.specs);
    let before = specs.filter_map(|spec| wanted(&spec.to_value()).ok()).flat_map(|(_, tags)| tags.into_keys());
    before.filter(|key| !tags.contains_key(key)).collect()
}

/// Makes a group, or makes it so.
pub(crate) async fn ensure(client: &Client, cx: &EffectCx<'_>, action: &ResolvedAction) -> Result<Step, CapabilityError> {
    let value = &action.spec;
    let (wanted, tags) = wanted(value)?;
    let own = Tag::builder().key(TAG).value(cx.owner.to_string()).build();
    let former = former_tags(action.prior.as_ref(), &tags);
    let tags: Vec<Tag> = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).chain([own]).collect();
    let mut changed = false;
    let group = match find(client, value).await? {
        Some(group) => {
            let there = tags_of(client, &group.arn).await?;
            owner_of(&there, cx.owner).admit(&format!("`{}`", action.identity), action.insistence)?;
            let former: BTreeSet<String> = there.iter().map(|(key, _)| key).filter(|key| former.contains(*key)).cloned().collect();
            changed |= !former.is_empty();
            untag(client, &group.arn, former).await?;
            let missing: Vec<Tag> = tags
                .into_iter()
                .filter(|tag| !there.iter().any(|(key, value)| tag.key() == Some(key) && tag.value() == Some(value)))
                .collect();
            if !missing.is_empty() {
                changed = true;
                let sent = client.add_tags_to_resource().resource_name(&group.arn).set_tags(Some(missing)).send().await;
                sent.map_err(|error| error::of("tagging a group", &error))?;
            }
            if spec::kind(value) == "db-subnet-group" && wanted != group.fields {
                changed = true;
                modify_subnets(client, value).await?;
            }
            Some(group)
        }
        None => {
            changed = true;
            create(client, value, tags).await?;
            find(client, value).await?
        }
    };
    let group = group.ok_or_else(|| CapabilityError::new(Kind::Failed, format!("`{}` is not there after it was made", action.identity)))?;
    if spec::kind(value) == "db-parameter-group" {
        let missing: Vec<(String, String)> = wanted
            .iter()
            .filter(|(name, wanted)| group.fields.get(*name) != Some(*wanted))
            .map(|(name, wanted)| (name.trim_start_matches("parameters/").to_owned(), wanted.as_str().unwrap_or_default().to_owned()))
            .collect();
        let dropped: Vec<String> = group
            .fields
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .map(|name| name.trim_start_matches("parameters/").to_owned())
            .collect();
        changed |= !missing.is_empty() || !dropped.is_empty();
        set_parameters(client, spec::text(value, "name"), &missing, &dropped).await?;
    }
    Ok(Step::Done(Observed { handle: json!({ "arn": group.arn }), outputs: Map::new(), changed, ..Observed::default() }))
}

async fn create(client: &Client, value: &Value, tags: Vec<Tag>) -> Result<(), CapabilityError> {
    if spec::kind(value) == "db-subnet-group" {
        let spec: DbSubnetGroupSpec = spec::read(value)?;
        let sent = client
            .create_db_subnet_group()
            .db_subnet_group_name(spec.name)
            .db_subnet_group_description(spec.description)
            .set_subnet_ids(Some(spec.subnets))
            .set_tags(Some(tags))
            .send()
            .await;
        return sent.map(drop).map_err(|error| error::of("making the subnet group", &error));
    }
    let spec: DbParameterGroupSpec = spec::read(value)?;
    let sent = client
        .create_db_parameter_group()
        .db_parameter_group_name(spec.name)
        .db_parameter_group_family(spec.family)
        .description(spec.description)
        .set_tags(Some(tags))
        .send()
        .await;
    sent.map(drop).map_err(|error| error::of("making the parameter group", &error))
}

async fn modify_subnets(client: &Client, value: &Value) -> Result<(), CapabilityError> {
    let spec: DbSubnetGroupSpec = spec::read(value)?;
    let sent = client
        .modify_db_subnet_group()
        .db_subnet_group_name(spec.name)
        .db_subnet_group_description(spec.description)
        .set_subnet_ids(Some(spec.subnets))
        .send()
        .await;
    sent.map(drop).map_err(|error| error::of("changing the subnet group", &error))
}

/// Sets parameters, and gives back those that left the spec.
async fn set_parameters(client: &Client, group: &str, set: &[(String, String)], reset: &[String]) -> Result<(), CapabilityError> {
    for part in set.chunks(PARAMETERS_MAX) {
        let parameters = part
            .iter()
            .map(|(name, value)| {
                Parameter::builder().parameter_name(name).parameter_value(value).apply_method(ApplyMethod::PendingReboot).build()
            })
            .collect();
        let sent = client.modify_db_parameter_group().db_parameter_group_name(group).set_parameters(Some(parameters)).send().await;
        sent.map_err(|error| error::of("setting parameters", &error))?;
    }
    for part in reset.chunks(PARAMETERS_MAX) {
        let parameters =
            part.iter().map(|name| Parameter::builder().parameter_name(name).apply_method(ApplyMethod::PendingReboot).build()).collect();
        let sent = client.reset_db_parameter_group().db_parameter_group_name(group).set_parameters(Some(parameters)).send().await;
        sent.map_err(|error| error::of("giving parameters back", &error))?;
    }
    Ok(())
}

/// Deletes a group of ours.
pub(crate) async fn delete(client: &Client, owner: &Owner, value: &Value) -> Result<Step, CapabilityError> {
    let gone = |changed| Ok(Step::Done(Observed { changed, ..Observed::default() }));
    let Some(group) = find(client, value).await? else { return gone(false) };
    let name = spec::text(value, "name");
    owner_of(&tags_of(client, &group.arn).await?, owner).admit_removal(&format!("`{}/{name}`", spec::kind(value)))?;
    if spec::kind(value) == "db-subnet-group" {
        client
            .delete_db_subnet_group()
            .db_subnet_group_name(name)
            .send()
            .await
            .map_err(|error| error::of("deleting the subnet group", &error))?;
    } else {
        client
            .delete_db_parameter_group()
            .db_parameter_group_name(name)
            .send()
            .await
            .map_err(|error| error::of("deleting the parameter group", &error))?;
    }
    gone(true)
}

/// Takes our mark from something.
pub(crate) async fn unmark(client: &Client, owner: &Owner, arn: &str) -> Result<(), CapabilityError> {
    if owner_of(&tags_of(client, arn).await?, owner) != Ownership::Ours {
        return Ok(());
    }
    let sent = client.remove_tags_from_resource().resource_name(arn).tag_keys(TAG).send().await;
    sent.map(drop).map_err(|error| error::of("letting go of it", &error))
}
