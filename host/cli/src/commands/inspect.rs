//! `status`, `history`, `events`, `graph`: what is, without touching it.

use std::{path::Path, time::Duration};

use windlass_model::{
    event::{DeploymentNumber, DeploymentStatus},
    name::EnvironmentTypeName,
    plan::Plan,
    state::Status,
};

use crate::{
    arguments::{Application, Environment, Format, Global, GraphFormat},
    exit::{Code, Failure},
    page::Page,
    picture::Graph,
    print,
    workspace::{self, Workspace},
};

pub(crate) async fn status(global: &Global, environment: &Environment, format: Format) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    let state = workspace.state(&key).await?;
    let count = |status: Status| state.recorded.actions.values().filter(|action| action.status == status).count();
    if format != Format::Text {
        print::structured(
            format,
            &serde_json::json!({ "environment": state.record, "last": state.last, "lastSucceeded": state.last_succeeded, "live": count(Status::Live), "retained": count(Status::Retained) }),
        )?;
        return Ok(Code::Done);
    }
    let mut out = Page::default();
    out.line(format_args!("{key} ({})", state.record.environment_type));
    match &state.last {
        None => out.line("  nothing was deployed yet"),
        Some(last) => {
            out.line(format_args!("  deployment  {} {} ({})", last.number, last.status.word(), last.verb));
            out.line(format_args!("  plan        {}", last.plan));
            out.line(format_args!("  model       {}", last.model));
            if let DeploymentStatus::Failed { reason } | DeploymentStatus::Held { reason } = &last.status {
                out.paragraph(format_args!("  reason      {reason}"));
            }
            if last.status == DeploymentStatus::Running {
                let events = workspace.store.events(&key, last.number, 0).await?;
                let at =
                    events.last().map(|event| format!("interrupted, or under way, after: {}", event.event.sentence())).unwrap_or_default();
                out.line(format_args!("  {at}"));
                out.line(format_args!("  `windlass resume -e {}` goes on", key.environment));
            }
        }
    }
    let mut objects = format!("  objects     {} live", count(Status::Live));
    for (status, word) in [
        (Status::Retained, "retained"),
        (Status::Intended, "intended"),
        (Status::Deleting, "being deleted"),
        (Status::Uncertain, "uncertain"),
    ] {
        if count(status) > 0 {
            objects.push_str(&format!(", {} {word}", count(status)));
        }
    }
    out.line(objects);
    out.print()?;
    Ok(Code::Done)
}

pub(crate) async fn history(global: &Global, environment: &Environment, format: Format) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    let deployments = workspace.store.deployments(&key).await?;
    if format != Format::Text {
        print::structured(format, &deployments)?;
        return Ok(Code::Done);
    }
    let rows = deployments
        .iter()
        .map(|deployment| {
            let mut notes = Vec::new();
            if let Some(number) = deployment.rollback_to {
                notes.push(format!("back to {number}"));
            }
            if deployment.given_platform {
                notes.push("with --platform".to_owned());
            }
            vec![
                deployment.number.to_string(),
                deployment.verb.to_string(),
                deployment.status.word().to_owned(),
                deployment.started_at.clone(),
                deployment.actor.subject.clone(),
                deployment.plan.short(),
                notes.join(", "),
            ]
        })
        .collect();
    print::table(&["number", "verb", "status", "started", "by", "plan", ""], rows)?;
    Ok(Code::Done)
}

pub(crate) async fn events(
    global: &Global,
    environment: &Environment,
    deployment: Option<DeploymentNumber>,
    format: Format,
    follow: bool,
) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    let number = match deployment {
        Some(number) => number,
        None => workspace
            .state(&key)
            .await?
            .last
            .map(|last| last.number)
            .ok_or_else(|| Failure::failed(format!("nothing was deployed to `{key}` yet")))?,
    };
    workspace.store.documents_of(&key, number).await?;
    let mut after = 0;
    loop {
        let events = workspace.store.events(&key, number, after).await?;
        for event in &events {
            after = event.sequence;
            match format {
                Format::Text => {
                    let mut line = Page::default();
                    line.line(format_args!("{:>5}  {}  {}", event.sequence, event.at, event.event.sentence()));
                    line.print()?;
                }
                // One line each, so that they can be read while they come.
                Format::Json => print::json(&(serde_json::to_string(event).map_err(Failure::failed)? + "\n"))?,
                Format::Yaml => {
                    print::separator()?;
                    print::structured(format, event)?;
                }
            }
        }
        let ended = workspace
            .store
            .deployments(&key)
            .await?
            .iter()
            .any(|deployment| deployment.number == number && deployment.status != DeploymentStatus::Running);
        if !follow || ended {
            return Ok(Code::Done);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub(crate) async fn graph(
    global: &Global,
    path: Option<&Path>,
    environment: &Environment,
    application: &Application,
    environment_type: Option<&EnvironmentTypeName>,
    format: GraphFormat,
) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let plan: Plan = match path {
        Some(path) => {
            let (model, mut provenance) = super::plan::load(vec![path.to_path_buf()], environment.app.as_ref(), application)?;
            let key = workspace::key(&model.application, &environment.env);
            let given = application.platform.as_deref().map(|folder| workspace.planning.load(folder)).transpose()?;
            let (layers, places) = workspace.layers(given).await?;
            provenance.0.extend(places.0);
            let state = workspace.store.load(&key).await?;
            let kind = workspace::environment_type(&key, state.as_ref(), environment_type, &layers)?;
            let input = workspace.plan_input(&key, &kind, state, model, layers).await?;
            workspace.planning.plan(&input, &provenance)?.0
        }
        None => {
            let key = workspace.find(environment).await?;
            let last = workspace
                .state(&key)
                .await?
                .last
                .ok_or_else(|| Failure::failed(format!("nothing was deployed to `{key}` yet")).hint("name a PATH"))?;
            workspace.read("plan", &last.plan).await?
        }
    };
    let graph = Graph::of(&plan);
    match format {
        GraphFormat::Svg => print::drawing(&graph.svg()?)?,
        GraphFormat::Dot => print::drawing(&graph.dot())?,
        GraphFormat::Mermaid => print::drawing(&graph.mermaid())?,
        GraphFormat::Json => print::structured(Format::Json, &graph)?,
    }
    Ok(Code::Done)
}
