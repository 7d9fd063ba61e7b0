//! `platform diff`: what another platform would change in all environments, each change told once with its places.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use serde::Serialize;
use serde_json::{Value, json};
use windlass_model::{
    identity::shown,
    name::EnvironmentName,
    plan::{Change, DestroyReason, FieldChange, Plan, PlannedAction},
    platform::{LayerName, Layers},
    state::EnvironmentKey,
};

use crate::{
    arguments::{Format, Global},
    changes::{self, Line},
    exit::{Code, Failure},
    page::Page,
    print,
    workspace::Workspace,
};

/// Environments by the reasons why they cannot be planned.
type Failed = BTreeMap<Vec<String>, Vec<String>>;

/// Plans every stored environment with the platform of a folder.
pub(crate) async fn diff(
    global: &Global,
    folder: &Path,
    only: &[EnvironmentName],
    format: Format,
    detailed_exitcode: bool,
) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let (platform, _) = workspace.planning.load(folder)?;
    let layers = Layers(vec![(LayerName::Stored, Arc::new(platform)), (LayerName::BuiltIn, Arc::clone(&workspace.planning.built_in))]);
    let claims = Arc::new(workspace.store.claims().await?);
    let mut unchanged = 0;
    let mut found = Changes::default();
    let mut failed = Failed::new();
    for record in workspace.store.environments().await? {
        if !only.is_empty() && !only.contains(&record.key.environment) {
            continue;
        }
        match plan_with(&workspace, &record.key, &layers, &claims).await {
            Ok(None) => {}
            Ok(Some(plan)) if !plan.has_changes() => unchanged += 1,
            Ok(Some(plan)) => found.add(&plan, &record.key),
            Err(problems) => failed.entry(problems).or_default().push(record.key.to_string()),
        }
    }
    let changed = !found.places.is_empty() || !failed.is_empty();
    match format {
        Format::Text => report(&found, &failed, unchanged).print()?,
        format => {
            let failed: Vec<Value> =
                failed.iter().map(|(problems, environments)| json!({ "environments": environments, "problems": problems })).collect();
            print::structured(format, &json!({ "changed": found.groups(), "failed": failed, "unchanged": unchanged }))?;
        }
    }
    Ok(if detailed_exitcode && changed { Code::Changes } else { Code::Done })
}

/// Plans what an environment holds with other layers; none if nothing was deployed to it. Whatever goes wrong concerns this environment alone.
async fn plan_with(
    workspace: &Workspace,
    key: &EnvironmentKey,
    layers: &Layers,
    claims: &Arc<BTreeMap<String, String>>,
) -> Result<Option<Plan>, Vec<String>> {
    let input = async {
        let state = workspace.state(key).await?;
        let Some(last) = &state.last else { return Ok::<_, Failure>(None) };
        let model = workspace.read("model", &last.model).await?;
        let kind = state.record.environment_type.clone();
        workspace.plan_input_beside(claims, key, &kind, Some(state), model, layers.clone()).await.map(Some)
    };
    let Some(input) = input.await.map_err(|failure| vec![failure.message().to_owned()])? else { return Ok(None) };
    let output = windlass_engine::plan(&input, &workspace.planning.planners, &workspace.planning.host);
    output.plan.map(Some).ok_or_else(|| output.diagnostics.iter().map(ToString::to_string).collect())
}

fn report(found: &Changes, failed: &Failed, unchanged: usize) -> Page {
    let mut page = Page::default();
    for (problems, environments) in failed {
        page.line(format_args!("{} could not be planned any more:", environments.join(", ")));
        problems.iter().for_each(|problem| page.paragraph(format_args!("  ! {problem}")));
        page.blank();
    }
    let environments: BTreeSet<&str> = found.places.values().flatten().map(|place| place.environment.as_str()).collect();
    if !environments.is_empty() {
        page.line(format_args!("{} would change:", counted(environments.len())));
    }
    for group in found.groups() {
        group.print(&mut page);
    }
    if !environments.is_empty() {
        page.blank();
    }
    page.line(format_args!("{} unchanged.", counted(unchanged)));
    page
}

fn counted(environments: usize) -> String {
    format!("{environments} environment{}", if environments == 1 { "" } else { "s" })
}

/// What is done to an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
struct Effect {
    change: &'static str,
    #[serde(skip)]
    sign: print::Sign,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    holds_data: bool,
    /// It needs `--allow-destroy`.
    guarded: bool,
}

/// A field of an object that would change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Field {
    lines: Vec<Line>,
    /// The field change as JSON: values have no order of their own.
    data: String,
}

impl Field {
    fn of(change: &FieldChange, action: &PlannedAction) -> Self {
        Self {
            lines: changes::of_fields(std::slice::from_ref(change), &action.spec),
            data: serde_json::to_string(change).unwrap_or_default(),
        }
    }
}

/// An object in an environment, without the names of that: `Service/NAMESPACE/web` in `shop/dev`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    object: String,
    environment: String,
}

/// Every change with its places.
#[derive(Debug, Default)]
struct Changes {
    places: BTreeMap<(Effect, Option<Field>), BTreeSet<Place>>,
}

impl Changes {
    fn add(&mut self, plan: &Plan, key: &EnvironmentKey) {
        for action in plan.actions().filter(|action| action.change.is_change()) {
            let place = place(&action.identity, key);
            let effect = effect(plan, action);
            if action.fields.is_empty() {
                self.put(effect, None, place);
                continue;
            }
            for field in &action.fields {
                self.put(effect.clone(), Some(Field::of(field, action)), place.clone());
            }
        }
        for destroy in plan.destroys.iter().filter(|destroy| destroy.why != DestroyReason::Replaced) {
            let (change, sign) = print::removal(destroy.act);
            let effect = Effect { change, sign, why: String::new(), holds_data: destroy.holds_data, guarded: destroy.guarded };
            self.put(effect, None, place(&destroy.identity, key));
        }
    }

    fn put(&mut self, effect: Effect, field: Option<Field>, place: Place) {
        self.places.entry((effect, field)).or_default().insert(place);
    }

    /// Joins the fields that change in the same places.
    fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<(&Effect, &BTreeSet<Place>), Vec<&Field>> = BTreeMap::new();
        for ((effect, field), places) in &self.places {
            groups.entry((effect, places)).or_default().extend(field);
        }
        groups.into_iter().map(|((effect, places), fields)| Group { effect, places: together(places), fields }).collect()
    }
}

/// Finds the objects that stand in the same environments.
fn together(places: &BTreeSet<Place>) -> Vec<Objects<'_>> {
    let mut environments: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for place in places {
        environments.entry(&place.object).or_default().push(&place.environment);
    }
    let mut objects: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for (object, environments) in environments {
        objects.entry(environments).or_default().push(object);
    }
    objects.into_iter().map(|(environments, objects)| Objects { environments, objects }).collect()
}

#[derive(Debug, Serialize)]
struct Objects<'c> {
    environments: Vec<&'c str>,
    objects: Vec<&'c str>,
}

/// Changes that are the same in all of their places.
#[derive(Debug, Serialize)]
struct Group<'c> {
    #[serde(flatten)]
    effect: &'c Effect,
    places: Vec<Objects<'c>>,
    #[serde(serialize_with = "as_data")]
    fields: Vec<&'c Field>,
}

impl Group<'_> {
    fn print(&self, page: &mut Page) {
        let Effect { change, sign, why, holds_data, guarded } = self.effect;
        let notes = print::removal_notes(*holds_data, *guarded);
        for Objects { environments, objects } in &self.places {
            let (objects, environments) = (objects.join(", "), environments.join(", "));
            page.line(format_args!("  {} {objects} in {environments}{why}{notes}", sign.before(change)));
        }
        let lines = changes::merged(self.fields.iter().map(|field| field.lines.as_slice()));
        page.lines(lines.into_iter().map(|line| format!("      {line}")));
    }
}

fn as_data<S: serde::Serializer>(fields: &[&Field], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(fields.iter().filter_map(|field| serde_json::from_str::<Value>(&field.data).ok()))
}

fn effect(plan: &Plan, action: &PlannedAction) -> Effect {
    let is_replaced = matches!(action.change, Change::Replace { .. });
    let lost = plan.destroys.iter().find(|destroy| is_replaced && destroy.why == DestroyReason::Replaced && destroy.id == action.id);
    Effect {
        change: action.change.word(),
        sign: print::sign(&action.change),
        why: print::why(&action.change),
        holds_data: lost.is_some_and(|destroy| destroy.holds_data),
        guarded: lost.is_some_and(|destroy| destroy.guarded),
    }
}

/// Names an object so that equal ones of different environments are equal.
fn place(identity: &str, key: &EnvironmentKey) -> Place {
    let namespace = format!("{}-{}", key.application, key.environment);
    let own = [(namespace.as_str(), "NAMESPACE"), (key.environment.as_str(), "ENVIRONMENT"), (key.application.as_str(), "APPLICATION")];
    let neutral = |part| own.into_iter().find(|(name, _)| *name == part).map_or(part, |(_, word)| word);
    let object = shown(identity).split('/').map(neutral).collect::<Vec<_>>().join("/");
    Place { object, environment: key.to_string() }
}

#[cfg(test)]
mod tests {
    use windlass_model::platform::OnRemove;

    use super::*;

    fn place_of(object: &str, environment: &str) -> Place {
        Place { object: object.to_owned(), environment: environment.to_owned() }
    }

    fn field(text: &str) -> Option<Field> {
        let change = FieldChange { from: None, pointer: "/labels/team".to_owned(), to: Some(json!(text)) };
        let lines = changes::of_fields(std::slice::from_ref(&change), &windlass_model::Spec::new(&json!({})).unwrap());
        Some(Field { lines, data: serde_json::to_string(&change).unwrap() })
    }

    fn update() -> Effect {
        let change = Change::Update;
        Effect { change: change.word(), sign: print::sign(&change), why: String::new(), holds_data: false, guarded: false }
    }

    #[test]
    fn the_same_change_is_told_once_with_its_places() {
        let mut found = Changes::default();
        for environment in ["shop/dev", "shop/prod"] {
            for object in ["Service/NAMESPACE/web", "Deployment/NAMESPACE/web"] {
                found.put(update(), field("a"), place_of(object, environment));
            }
        }
        found.put(update(), field("a"), place_of("Service/NAMESPACE/cart", "cart/dev"));
        found.put(update(), field("b"), place_of("Service/NAMESPACE/pay", "pay/dev"));
        let (change, sign) = print::removal(OnRemove::Retain);
        let retained = Effect { change, sign, why: String::new(), holds_data: true, guarded: false };
        found.put(retained, None, place_of("PersistentVolumeClaim/NAMESPACE/data", "shop/dev"));
        insta::assert_snapshot!(report(&found, &Failed::new(), 1).rendered(false), @r#"
        4 environments would change:
          - retain   PersistentVolumeClaim/NAMESPACE/data in shop/dev (holds data)
          ~ update   Service/NAMESPACE/cart in cart/dev
          ~ update   Deployment/NAMESPACE/web, Service/NAMESPACE/web in shop/dev, shop/prod
              + /labels/team = "a"
          ~ update   Service/NAMESPACE/pay in pay/dev
              + /labels/team = "b"

        1 environment unchanged.
        "#);
        let last = serde_json::to_value(found.groups().last().unwrap()).unwrap();
        let expected = json!({
            "change": "update", "holdsData": false, "guarded": false,
            "places": [{ "environments": ["pay/dev"], "objects": ["Service/NAMESPACE/pay"] }],
            "fields": [{ "pointer": "/labels/team", "to": "b" }],
        });
        assert_eq!(last, expected);
    }
}
