//! The model as one environment sees it: variations and images applied.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};
use windlass_model::{
    Diagnostic,
    application::{Model, SharedResource},
    name::{EnvironmentName, EnvironmentTypeName, ResourceId, WorkloadName},
    score::Workload,
};

use crate::matching;

/// What one environment sees of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective<'m> {
    /// The workloads that are switched on; those that nothing changes are the model's own.
    pub workloads: BTreeMap<WorkloadName, Cow<'m, Workload>>,
    /// The shared resources.
    pub resources: Cow<'m, BTreeMap<ResourceId, SharedResource>>,
    /// The values of the environment.
    pub values: Map<String, Value>,
    /// Images taken over from the last deployment, by `WORKLOAD/CONTAINER`.
    pub carried_images: BTreeMap<String, String>,
}

/// Applies variations, then images; an open image is the last deployed one.
pub fn effective<'m>(
    model: &'m Model,
    environment: &EnvironmentName,
    environment_type: &EnvironmentTypeName,
    last_images: &BTreeMap<String, String>,
) -> (Effective<'m>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let mut out = Effective { resources: Cow::Borrowed(&model.resources), ..Effective::default() };
    let variations: Vec<_> = model
        .environments
        .iter()
        .filter(|variation| matching::applies(&variation.r#match, environment.as_str(), environment_type.as_str()))
        .collect();
    for variation in &variations {
        merge_fields(&mut out.values, &variation.values);
    }
    for (name, workload) in &model.workloads {
        let enabled = variations.iter().rev().find_map(|variation| variation.workloads.get(name)).is_none_or(|switch| switch.enabled);
        if !enabled {
            continue;
        }
        let changes: Vec<_> = variations.iter().filter_map(|variation| variation.overrides.get(name)).collect();
        let mut score = Cow::Borrowed(&workload.score);
        if !changes.is_empty() {
            match overridden(&workload.score, &changes) {
                Ok(changed) => score = Cow::Owned(changed),
                Err(error) => {
                    problems.push(
                        Diagnostic::error("override", format!("the overrides of this environment make the workload invalid: {error}"))
                            .on(format!("workload/{name}")),
                    );
                    continue;
                }
            }
        }
        let mut images: Vec<(String, String)> = Vec::new();
        for (container, definition) in &score.containers {
            if let Some(image) = workload.images.get(container) {
                images.push((container.clone(), image.clone()));
            } else if definition.image == "." {
                let key = format!("{name}/{container}");
                match last_images.get(&key) {
                    Some(image) => {
                        images.push((container.clone(), image.clone()));
                        out.carried_images.insert(key, image.clone());
                    }
                    None => problems.push(
                        Diagnostic::error("image", format!("container `{container}` has the image `.` and none was ever deployed"))
                            .on(format!("workload/{name}"))
                            .at(format!("/containers/{container}/image"))
                            .hint(format!("say `--image {name}=REF`")),
                    ),
                }
            }
        }
        for (container, image) in images {
            if let Some(definition) = score.to_mut().containers.get_mut(&container) {
                definition.image = image;
            }
        }
        out.workloads.insert(name.clone(), score);
    }
    (out, problems)
}

fn overridden(score: &Workload, changes: &[&Map<String, Value>]) -> Result<Workload, serde_json::Error> {
    let mut value = serde_json::to_value(score)?;
    for change in changes {
        if let Value::Object(fields) = &mut value {
            merge_fields(fields, change);
        }
    }
    serde_json::from_value(value)
}

/// Merges maps, replaces lists, lets `null` delete.
fn merge_fields(fields: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (key, change) in changes {
        match (fields.get_mut(key), change) {
            (_, Value::Null) => {
                fields.remove(key);
            }
            (Some(Value::Object(inner)), Value::Object(change)) => merge_fields(inner, change),
            (_, Value::Object(change)) => {
                let mut inner = Map::new();
                merge_fields(&mut inner, change);
                fields.insert(key.clone(), Value::Object(inner));
            }
            (_, change) => {
                fields.insert(key.clone(), change.clone());
            }
        }
    }
}
