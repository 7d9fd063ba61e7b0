//! The model as one environment sees it: variations and images applied.

use std::collections::BTreeMap;

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
pub struct Effective {
    /// The workloads that are switched on.
    pub workloads: BTreeMap<WorkloadName, Workload>,
    /// The shared resources.
    pub resources: BTreeMap<ResourceId, SharedResource>,
    /// The values of the environment.
    pub values: Map<String, Value>,
    /// Images taken over from the last deployment, by `WORKLOAD/CONTAINER`.
    pub carried_images: BTreeMap<String, String>,
}

/// Applies variations, then images; an open image is the last deployed one.
pub fn effective(
    model: &Model,
    environment: &EnvironmentName,
    environment_type: &EnvironmentTypeName,
    last_images: &BTreeMap<String, String>,
) -> (Effective, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let mut out = Effective { resources: model.resources.clone(), ..Effective::default() };
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
        let mut score = workload.score.clone();
        if !changes.is_empty() {
            match overridden(&score, &changes) {
                Ok(changed) => score = changed,
                Err(error) => {
                    problems.push(
                        Diagnostic::error("override", format!("the overrides of this environment make the workload invalid: {error}"))
                            .on(format!("workload/{name}")),
                    );
                    continue;
                }
            }
        }
        for (container, definition) in &mut score.containers {
            if let Some(image) = workload.images.get(container) {
                definition.image.clone_from(image);
            } else if definition.image == "." {
                let key = format!("{name}/{container}");
                match last_images.get(&key) {
                    Some(image) => {
                        definition.image.clone_from(image);
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
