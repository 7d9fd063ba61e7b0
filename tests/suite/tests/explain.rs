//! `explain` against the truth: each value of the documents becomes another one, everything is planned again, and what moved is what
//! `explain` says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a failure here is the test's")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::LazyLock,
};

use serde_json::{Value, json};
use windlass_engine::{
    PlanInput,
    explain::{Relation, explain},
};
use windlass_model::{plan::Plan, pointer::escape};
use windlass_suite::{binary::Folder, world::World};

/// A field of the documents: `workload/web`, `/containers/main/image`.
type Field = (String, String);

/// Documents by file.
fn read(folder: &Path) -> Vec<(std::path::PathBuf, Vec<Value>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push((path.clone(), serde_saphyr::from_multiple(&std::fs::read_to_string(&path).unwrap()).unwrap()));
        }
    }
    found
}

fn name(document: &Value) -> String {
    let name = document["metadata"]["name"].as_str().unwrap();
    match document["kind"].as_str() {
        None => format!("workload/{name}"),
        Some("Application") => "application".to_owned(),
        Some(kind) => format!("{kind}/{name}"),
    }
}

/// The parts of a document that say how something is, not which document makes it.
fn parts(document: &Value) -> Vec<String> {
    let below = |at: &str, inner: &str| -> Vec<String> {
        let keys: Vec<String> = match document.pointer(at) {
            Some(Value::Object(fields)) => fields.keys().map(|key| escape(key)).collect(),
            Some(Value::Array(items)) => (0..items.len()).map(|index| index.to_string()).collect(),
            _ => Vec::new(),
        };
        keys.iter().map(|key| format!("{at}/{key}{inner}")).collect()
    };
    match document["kind"].as_str() {
        None => [vec!["/containers".to_owned(), "/service".to_owned()], below("/resources", "/params")].concat(),
        Some("Application") => {
            [below("/spec/environments", "/values"), below("/spec/environments", "/overrides"), below("/spec/resources", "/params")]
                .concat()
        }
        Some("ResourceDefinition") => vec!["/spec/inputs".to_owned()],
        Some("WorkloadProfile") => below("/spec/stages", "/inputs"),
        Some("EnvironmentType") => below("/spec/workloadStages", "/inputs"),
        Some(_) => Vec::new(),
    }
}

fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| leaves(item, &format!("{at}/{index}"), found)),
        Value::Object(fields) => fields.iter().for_each(|(key, field)| leaves(field, &format!("{at}/{}", escape(key)), found)),
        Value::Null => {}
        _ => found.push(at.to_owned()),
    }
}

/// Other values of the same form, by a rule of its own.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(value) => vec![json!(!value)],
        Value::Number(number) => vec![json!(number.as_u64().unwrap() + 1)],
        Value::String(text) if text.contains("${") => vec![json!(format!("q{text}")), json!("7")],
        Value::String(text) => match text.find(|c: char| c.is_ascii_digit()) {
            Some(at) => {
                let digit = if text[at..].starts_with('4') { '5' } else { '4' };
                vec![json!(format!("{}{digit}{}", &text[..at], &text[at + 1..]))]
            }
            None => vec![json!(format!("q{text}"))],
        },
        other => vec![other.clone()],
    }
}

/// Compiling the components takes longer than all else here: once for all tests.
static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// What `explain` is asked about.
#[derive(Clone, Copy)]
enum Asked {
    /// Each action as a whole.
    Actions,
    /// One field of each action.
    Fields,
}

/// A place in a plan: an action and a pointer into its spec.
type Place = (String, String);

/// Documents in a folder of their own, to be changed.
struct Documents {
    folder: Folder,
    environment_type: &'static str,
}

impl Documents {
    fn of(app: &str, platform: &str, environment_type: &'static str) -> Self {
        let folder = Folder::new();
        folder.copy(app, "app");
        folder.copy(platform, "platform");
        let _ = std::fs::remove_dir_all(folder.path().join("app/platform"));
        Self { folder, environment_type }
    }

    fn load(&self) -> bool {
        let paths = vec![self.folder.path().join("app")];
        let input = windlass_document::ApplicationInput { paths, ..windlass_document::ApplicationInput::default() };
        windlass_document::load_application(&input).is_ok()
    }

    fn input(&self) -> PlanInput {
        let mut input = WORLD.input(self.folder.path());
        input.environment_type = self.environment_type.parse().unwrap();
        let workloads: Vec<_> = input.model.workloads.keys().cloned().collect();
        input.last_images.extend(workloads.iter().map(|name| (format!("{name}/main"), format!("{name}:1"))));
        input
    }

    /// Gives each field another value in turn and calls back with the specs of the plan, where there is one.
    fn change_each(&self, mut then: impl FnMut(Field, &BTreeMap<String, Value>)) {
        for place in ["app", "platform"] {
            for (path, documents) in read(&self.folder.path().join(place)) {
                let text = std::fs::read_to_string(&path).unwrap();
                for (index, document) in documents.iter().enumerate() {
                    let all = fields(document).into_iter();
                    let changes = all
                        .flat_map(|field| others(document.pointer(&field).unwrap()).into_iter().map(move |other| (field.clone(), other)));
                    for (field, other) in changes {
                        let mut changed = documents.clone();
                        *changed[index].pointer_mut(&field).unwrap() = other;
                        let stream: Vec<String> = changed.iter().map(Value::to_string).collect();
                        std::fs::write(&path, stream.join("\n---\n")).unwrap();
                        if !self.load() {
                            continue;
                        }
                        if let Some(plan) = WORLD.plan(&self.input()).plan {
                            then((name(document), field), &specs(&plan));
                        }
                    }
                }
                std::fs::write(&path, text).unwrap();
            }
        }
    }
}

/// Lists the fields of a document that say how something is.
fn fields(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for part in parts(document) {
        document.pointer(&part).into_iter().for_each(|value| leaves(value, &part, &mut found));
    }
    found
}

/// Returns what a plan holds, by action.
fn specs(plan: &Plan) -> BTreeMap<String, Value> {
    plan.actions().map(|action| (action.id.to_string(), action.spec.to_value())).collect()
}

/// Lists the places of a plan that are asked about: of the fields of an action, another one each time.
fn places(specs: &BTreeMap<String, Value>, asked: Asked) -> Vec<Place> {
    let place = |(index, (action, spec)): (usize, (&String, &Value))| {
        let mut fields = Vec::new();
        leaves(spec, "", &mut fields);
        let pointer = match asked {
            Asked::Actions => String::new(),
            Asked::Fields => fields[index * 7 % fields.len()].clone(),
        };
        (action.clone(), pointer)
    };
    specs.iter().enumerate().map(place).collect()
}

fn check(documents: &Documents, asked: Asked) {
    let base = documents.input();
    let planned = WORLD.plan(&base);
    let plan = planned.plan.unwrap();
    let before = specs(&plan);
    let places = places(&before, asked);
    let mut tested: BTreeSet<Field> = BTreeSet::new();
    let mut moved: BTreeMap<&Place, BTreeSet<Field>> = places.iter().map(|place| (place, BTreeSet::new())).collect();
    documents.change_each(|field, after| {
        for (place, fields) in &mut moved {
            let at = |specs: &BTreeMap<String, Value>| specs.get(&place.0).and_then(|spec| spec.pointer(&place.1)).cloned();
            if at(after) != at(&before) {
                fields.insert(field.clone());
            }
        }
        tested.insert(field);
    });
    assert!(tested.len() > 5, "{tested:?}");
    for (place, expected) in moved {
        let node = plan.nodes().find(|node| node.actions.iter().any(|action| action.id.as_str() == place.0)).unwrap();
        let action = node.actions.iter().find(|action| action.id.as_str() == place.0).unwrap();
        let explanation = explain(&base, &WORLD.planners, &WORLD.host, &node.key, Some(&action.id), Some(&place.1)).unwrap();
        let causes = |relation: Relation| -> BTreeSet<Field> {
            let found = explanation.causes.iter().filter(|cause| cause.relation == relation);
            found.map(|cause| (cause.document.clone(), cause.pointer.clone())).filter(|field| tested.contains(field)).collect()
        };
        assert_eq!(causes(Relation::Decides), expected, "{place:?}");
        assert_eq!(causes(Relation::DependsOn), BTreeSet::new(), "{place:?}");
    }
}

#[test]
fn actions_of_the_shop_are_explained_by_what_moves_them() {
    check(&Documents::of("examples/shop", "examples/shop/platform", "development"), Asked::Actions);
}

#[test]
fn fields_of_the_shop_in_production_are_explained_by_what_moves_them() {
    check(&Documents::of("examples/shop", "examples/shop/platform", "production"), Asked::Fields);
}

#[test]
fn fields_of_the_shop_of_the_clouds_are_explained_by_what_moves_them() {
    check(&Documents::of("examples/cloud/shop", "examples/cloud/local", "development"), Asked::Fields);
}

/// The fields that the demo of the project asks about.
#[test]
fn each_field_is_traced_to_the_document_where_its_value_was_written() {
    let folder = Folder::new();
    folder.write(
        "shop/web.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers:\n  main:\n    image: .\n    variables:\n      LOG_LEVEL: ${resources.env.LOG_LEVEL}\n    resources: { requests: { cpu: 50m } }\nresources:\n  env: { type: environment }\n  db: { type: postgres }\n",
    );
    folder.write(
        "shop/application.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: Application\nmetadata: { name: shop }\nspec:\n  environments:\n    - match: { environmentType: development }\n      values: { LOG_LEVEL: debug }\n      overrides:\n        web: { containers: { main: { resources: { requests: { memory: 64Mi } } } } }\n",
    );
    folder.write(
        "platform/p.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: ResourceDefinition\nmetadata: { name: postgres-large }\nspec:\n  type: postgres\n  driver: { builtin: postgres }\n  inputs: { storage: 2Gi }\n  grants: [{ import: windlass:kubernetes/objects, kinds: [v1/Secret, v1/Service, v1/PersistentVolumeClaim, apps/v1/StatefulSet] }, { import: windlass:secrets/generated }]\n",
    );
    folder.write(
        "platform/types.yaml",
        "apiVersion: windlass.dev/v1alpha1\nkind: EnvironmentType\nmetadata: { name: development }\nspec:\n  workloadStages:\n    - name: trace\n      driver: { builtin: observability }\n      inputs: { environment: tests, datadog: { admission: true } }\n      grants: [{ import: windlass:kubernetes/objects, kinds: [apps/v1/Deployment], metadata: [\"*\"] }]\n",
    );
    folder.ok("platform apply platform");
    folder.ok("deploy shop -e dev --create-env development --image web=ghcr.io/acme/web:1 --yes");
    let explained = |object: &str, expected: &[&str]| {
        let told = folder.ok(&format!("explain {object} -e dev")).out;
        expected.iter().for_each(|text| assert!(told.contains(text), "{object}: `{text}` is missing in\n{told}"));
    };
    explained(
        "PersistentVolumeClaim/shop-dev/postgres-web-db-data#/spec/resources/requests/storage",
        &["platform/p.yaml:7 /spec/inputs/storage = \"2Gi\""],
    );
    let container = "apps/Deployment/shop-dev/web#/spec/template/spec/containers/main";
    explained(&format!("{container}/resources/requests/cpu"), &["web.score.yaml:8 /containers/main/resources/requests/cpu"]);
    explained(&format!("{container}/resources/requests/memory"), &["application.yaml:9 /spec/environments/0/overrides/web"]);
    explained(&format!("{container}/image"), &["--image web/main", "ghcr.io/acme/web:1"]);
    explained(
        "apps/Deployment/shop-dev/web#/env/LOG_LEVEL/value",
        &["application.yaml:7 /spec/environments/0/values/LOG_LEVEL = \"debug\"", "web.score.yaml:7 /containers/main/variables/LOG_LEVEL"],
    );
    explained(
        "apps/Deployment/shop-dev/web#/template/metadata/labels/tags.datadoghq.com~1env",
        &["because of  platform/types.yaml:8 /spec/workloadStages/0/inputs/environment = \"tests\""],
    );
    explained("apps/Deployment/shop-dev/web#/containers/0/image", &["--image web/main"]);
    explained("apps/Deployment/shop-dev/web#/metadata/name", &["web.score.yaml:2 /metadata/name = \"web\""]);
}

/// A route refuses a port that the Service lacks, so neither port can be another alone.
#[test]
fn a_value_that_another_node_refuses_decides_its_own_fields_alone() {
    let folder = Folder::new();
    folder.write(
        "web.score.yaml",
        "apiVersion: score.dev/v1b1\nmetadata: { name: web }\nservice:\n  ports:\n    http: { port: 80, targetPort: 8080 }\ncontainers:\n  main:\n    image: web:1\n    resources: { requests: { cpu: 50m } }\nresources:\n  route:\n    type: route\n    params:\n      host: shop.example.com\n      path: /\n      port: 80\n",
    );
    folder.ok("deploy web.score.yaml --app shop -e dev --create-env development --yes");
    let causes = |field: &str| -> Vec<String> {
        let told = folder.ok(&format!("explain {field} -e dev")).out;
        let causes = told.lines().map(str::trim).filter(|line| ["because of", "depends on"].iter().any(|start| line.starts_with(start)));
        causes.map(str::to_owned).collect()
    };
    assert_eq!(causes("Service/shop-dev/web#/spec/ports/0/port"), ["because of  web.score.yaml:5 /service/ports/http/port = 80"]);
    let cpu = causes("apps/Deployment/shop-dev/web#/requests/cpu");
    assert_eq!(cpu, ["because of  web.score.yaml:9 /containers/main/resources/requests/cpu = \"50m\""]);
}
