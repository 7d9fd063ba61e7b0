//! `explain`: which document, which rule, which component.

use windlass_engine::explain::{Explanation, Relation, explain as ask};
use windlass_model::{ActionId, NodeKey, application::Provenance, identity::shown, plan::Plan, sealed};

use crate::{
    arguments::{Environment, Format, Global},
    exit::{Code, Failure},
    page::Page,
    print,
    workspace::Workspace,
};

pub(crate) async fn explain(global: &Global, object: &str, environment: &Environment, format: Format) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    let last = workspace.state(&key).await?.last.ok_or_else(|| Failure::failed(format!("nothing was deployed to `{key}` yet")))?;
    let planned = super::apply::deployed(&workspace, &key, last.number).await?;
    let (node, action, pointer) = find(&planned.plan, object)?;
    let explanation =
        ask(&planned.input, &workspace.planning.planners, &workspace.planning.host, &node, action.as_ref(), pointer.as_deref())
            .map_err(|diagnostics| crate::planning::located(diagnostics, &planned.provenance))?;
    match format {
        Format::Text => text(&workspace, &explanation, &planned.provenance).print()?,
        Format::Json | Format::Yaml => print::structured(format, &explanation)?,
    }
    Ok(Code::Done)
}

/// Finds what is meant: an object by its identity or the end of it, a node, an action; `#/…` behind it is a field.
fn find(plan: &Plan, text: &str) -> Result<(NodeKey, Option<ActionId>, Option<String>), Failure> {
    // A resource key holds a `#` itself: a pointer begins with `#/`.
    let (object, pointer) = match text.find("#/") {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).map(str::to_owned)),
        None => (text, None),
    };
    if let Ok(node) = object.parse::<NodeKey>()
        && plan.nodes().any(|known| known.key == node)
    {
        return Ok((node, None, pointer));
    }
    let matching: Vec<(&NodeKey, &ActionId, String)> = plan
        .nodes()
        .flat_map(|node| node.actions.iter().map(move |action| (&node.key, &action.id, shown(&action.identity))))
        .filter(|(_, id, shown)| shown == object || id.as_str() == object || shown.ends_with(&format!("/{object}")))
        .collect();
    match matching.as_slice() {
        [(node, action, _)] => Ok(((*node).clone(), Some((*action).clone()), pointer)),
        [] => {
            let known: Vec<String> = plan
                .nodes()
                .flat_map(|node| std::iter::once(node.key.to_string()).chain(node.actions.iter().map(|action| shown(&action.identity))))
                .collect();
            let failure = Failure::new(Code::BadInput, format!("there is no `{object}` here"));
            let near = windlass_model::did_you_mean(object, known.iter().map(String::as_str));
            let some = || format!("for example: {}", known.iter().take(4).cloned().collect::<Vec<_>>().join(", "));
            Err(failure.hint(near.unwrap_or_else(some)))
        }
        several => Err(Failure::usage(format!(
            "`{object}` may be {}",
            several.iter().map(|(_, _, shown)| format!("`{shown}`")).collect::<Vec<_>>().join(" or ")
        ))),
    }
}

fn text(workspace: &Workspace, explanation: &Explanation, provenance: &Provenance) -> Page {
    let mut out = Page::default();
    let place = |document: &str, pointer: &str| provenance.0.get(document).map_or_else(|| document.to_owned(), |file| file.locate(pointer));
    out.line(format_args!(
        "{}{}",
        explanation.action.as_ref().map_or_else(|| explanation.node.to_string(), ToString::to_string),
        explanation.pointer.as_ref().map(|pointer| format!("#{pointer}")).unwrap_or_default()
    ));
    if let (Some(value), Some(_)) = (&explanation.value, &explanation.pointer) {
        out.line(format_args!("  is          {}", sealed::displayed(value)));
    }
    for cause in explanation.causes.iter().filter(|_| explanation.pointer.is_some()) {
        let relation = match cause.relation {
            Relation::Decides => "because of",
            Relation::DependsOn => "depends on",
        };
        let pointer = if cause.pointer.is_empty() { String::new() } else { format!(" {}", cause.pointer) };
        let place = place(&cause.document, &cause.pointer);
        out.line(format_args!("  {relation}  {place}{pointer} = {}", sealed::displayed(&cause.value)));
    }
    if explanation.pointer.is_some() && explanation.causes.is_empty() {
        out.line("  because of  the driver, or a key of a document: no value in a document moves it");
    }
    if let Some(definition) = &explanation.definition {
        let kind = match explanation.node {
            NodeKey::Resource(_) => "ResourceDefinition",
            NodeKey::Workload(_) => "WorkloadProfile",
        };
        let document = format!("{kind}/{}", definition.name);
        let rule =
            definition.rule.as_ref().and_then(|rule| serde_json::to_string(rule).ok()).unwrap_or_else(|| "applies everywhere".to_owned());
        out.line(format_args!(
            "  definition  {} ({}), {}: {rule}",
            definition.name,
            definition.layer.label(),
            place(&document, "/metadata/name")
        ));
    } else if matches!(explanation.node, NodeKey::Resource(_)) {
        out.line("  definition  none: the host makes it itself");
    }
    for lost in &explanation.lost {
        out.line(format_args!("  not         {} ({}): {}", lost.name, lost.layer.label(), lost.why));
    }
    for driver in &explanation.drivers {
        out.line(format_args!(
            "  driver      {} {}",
            driver.driver,
            crate::planning::component_line(&workspace.planning, &driver.component)
        ));
    }
    if explanation.pointer.is_none() {
        for node in &explanation.depends_on {
            out.line(format_args!("  uses        {node}"));
        }
        for (name, value) in &explanation.outputs {
            out.line(format_args!("  output      {name} = {}", sealed::displayed(value)));
        }
    }
    out
}
