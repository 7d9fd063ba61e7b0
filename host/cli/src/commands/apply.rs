//! `deploy`, `resume`, `rollback`, `destroy`.

use std::{
    io::IsTerminal as _,
    path::Path,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use tokio::signal::unix::{SignalKind, signal};
use windlass_document::{PlanFile, Purpose};
use windlass_engine::{
    apply::{Engine, Outcome, Request},
    plan::rolled_back,
    session::Cancel,
};
use windlass_model::{
    event::{DeploymentNumber, DeploymentStatus, Verb},
    plan::Plan,
    platform::Layers,
    state::{EnvironmentKey, EnvironmentRecord},
};

use super::{
    plan::{finish, plan_destroy, plan_path, show},
    stages::{Deploying, follows},
    turn,
};
use crate::{
    arguments::{Applying, Environment, Format, Global, Planning},
    exit::{Code, Failure},
    page::Page,
    plan_file::{self, check_equal},
    print,
    workspace::{Planned, Workspace, connections, environment_type},
};

pub(crate) async fn deploy(
    global: &Global,
    path: &Path,
    planning: &Planning,
    applying: &Applying,
    format: Format,
) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let carry_out = async |planned: Planned| {
        let verb = if planned.input.destroy { Verb::Destroy } else { Verb::Deploy };
        let request = workspace.request(&planned, verb, applying, None)?;
        ask_and_go(&workspace, planned, request, applying, format).await
    };
    match plan_file::read(path)? {
        // Just this plan, or none.
        Some(file) => carry_out(from_plan_file(&workspace, path, file, planning).await?).await,
        None => turn::take(&workspace, applying, async || carry_out(plan_path(&workspace, path, planning).await?).await).await,
    }
}

/// Plans what a plan file asks for, with this machine's platform, connections and grants; refuses a file that holds another plan.
async fn from_plan_file(workspace: &Workspace, path: &Path, mut file: PlanFile, planning: &Planning) -> Result<Planned, Failure> {
    for (digest, bytes) in file.components().map_err(|error| plan_file::refused(&error, path))? {
        workspace.planning.components.add_known("plan file", digest, Bytes::from(bytes));
    }
    let approved = &file.plan;
    let key = approved.environment_key();
    if planning.environment.env != approved.environment || planning.environment.app.as_ref().is_some_and(|app| *app != approved.application)
    {
        return Err(Failure::usage(format!("the plan is for `{key}`")).hint(format!("say `-e {}`", approved.environment)));
    }
    if file.model.application != approved.application {
        return Err(Failure::new(Code::BadInput, format!("the plan file holds a model of `{}`, not of `{key}`", file.model.application)));
    }
    let planned = match file.purpose {
        Purpose::Destroy => plan_destroy(workspace, &key).await?,
        Purpose::Deploy => {
            let mut provenance = file.provenance;
            let given = file.platform.take().map(|platform| (workspace.planning.with_own_components(platform), provenance.clone()));
            let (layers, places) = workspace.layers(given).await?;
            let state = workspace.store.load(&key).await?;
            let kind = environment_type(&key, state.as_ref(), Some(&approved.environment_type), &layers)?;
            for (document, place) in places.0 {
                provenance.0.entry(document).or_insert(place);
            }
            let input = workspace.plan_input(&key, &kind, state, file.model, layers).await?;
            finish(workspace, input, provenance)?
        }
    };
    check_equal(approved, &planned.plan)?;
    Ok(Planned { is_exact: true, ..planned })
}

pub(crate) async fn resume(global: &Global, environment: &Environment, applying: &Applying) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    let state = workspace.state(&key).await?;
    let Some(last) = state.last.filter(|last| last.status == DeploymentStatus::Running) else {
        return Err(Failure::failed(format!("nothing is under way in `{key}`")));
    };
    let planned = deployed(&workspace, &key, last.number).await?;
    // It goes on through the connections with which it began, if they still apply here today.
    let today = windlass_engine::PlanInput { layers: workspace.todays_layers(&key).await?.0, ..planned.input.clone() };
    connections(&today, &planned.plan)?;
    let request = workspace.request(&planned, last.verb, applying, last.rollback_to)?;
    let cancel = cancel_on_signals()?;
    let engine = workspace.engine();
    let deploying = Deploying { workspace: &workspace, engine: &engine, applying, cancel: &cancel, format: Format::Text };
    let outcome = engine.resume(&request, last.number, &cancel).await?;
    let (outcome, plan) = deploying.to_the_end(planned, request, outcome).await?;
    finish_outcome(&outcome, &plan)
}

/// Loads what a deployment was made of.
pub(crate) async fn deployed(workspace: &Workspace, key: &EnvironmentKey, number: DeploymentNumber) -> Result<Planned, Failure> {
    let documents = workspace.store.documents_of(key, number).await?;
    let layers: Layers = workspace.read("platform", &documents.layers).await?;
    for (_, platform) in &layers.0 {
        workspace.load_components(platform).await?;
    }
    let plan: Plan = workspace.read("plan", &documents.plan).await?;
    let state = workspace.state(key).await?;
    let model = workspace.read("model", &documents.model).await?;
    let is_rollback = state.last.as_ref().is_some_and(|last| last.number == number && last.rollback_to.is_some());
    let layers = if is_rollback { rolled_back(&layers, &workspace.todays_layers(key).await?.0) } else { layers };
    let mut input = workspace.plan_input(key, &plan.environment_type, Some(state), model, layers).await?;
    input.follows = follows(workspace, &plan).await?;
    let provenance = workspace.read("provenance", &documents.provenance).await?;
    Ok(Planned { input, plan: Arc::new(plan), provenance, driver_calls: 0, is_exact: false })
}

pub(crate) async fn rollback(
    global: &Global,
    environment: &Environment,
    deployment: Option<DeploymentNumber>,
    applying: &Applying,
) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    turn::take(&workspace, applying, async || roll_back(&workspace, &key, deployment, applying).await).await
}

async fn roll_back(
    workspace: &Workspace,
    key: &EnvironmentKey,
    deployment: Option<DeploymentNumber>,
    applying: &Applying,
) -> Result<Code, Failure> {
    let state = workspace.state(key).await?;
    let history = workspace.store.deployments(key).await?;
    let target = match deployment {
        Some(number) => history.iter().find(|deployment| deployment.number == number).ok_or_else(|| {
            Failure::new(Code::BadInput, format!("there is no deployment {number} of `{key}`")).hint("`windlass history` lists them")
        })?,
        None => history
            .iter()
            .skip(1)
            .find(|deployment| {
                deployment.status == DeploymentStatus::Succeeded
                    && state.last.as_ref().is_none_or(|last| last.plan != deployment.plan)
                    && deployment.verb != Verb::Destroy
            })
            .ok_or_else(|| Failure::failed(format!("there is no earlier deployment of `{key}` that succeeded")))?,
    };
    let documents = workspace.store.documents_of(key, target.number).await?;
    let then: Layers = workspace.read("platform", &documents.layers).await?;
    let (today, mut provenance) = workspace.todays_layers(key).await?;
    let layers = rolled_back(&then, &today);
    for (_, platform) in &layers.0 {
        workspace.load_components(platform).await?;
    }
    let places: windlass_model::application::Provenance = workspace.read("provenance", &documents.provenance).await?;
    provenance.0.extend(places.0);
    let environment_type = state.record.environment_type.clone();
    let mut input =
        workspace.plan_input(key, &environment_type, Some(state), workspace.read("model", &documents.model).await?, layers).await?;
    // Images that were left open then are those of then.
    let plan_then: Plan = workspace.read("plan", &documents.plan).await?;
    input.last_images.extend(plan_then.images);
    let planned = finish(workspace, input, provenance)?;
    print::note(&format!(
        "Rolling back to deployment {}: its model, definitions and components; today's grants, connections, environment type and secrets.",
        target.number
    ));
    let request = workspace.request(&planned, Verb::Rollback, applying, Some(target.number))?;
    ask_and_go(workspace, planned, request, applying, Format::Text).await
}

pub(crate) async fn destroy(global: &Global, environment: &Environment, applying: &Applying) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    let key = workspace.find(environment).await?;
    turn::take(&workspace, applying, async || {
        let planned = plan_destroy(&workspace, &key).await?;
        let request = workspace.request(&planned, Verb::Destroy, applying, None)?;
        ask_and_go(&workspace, planned, request, applying, Format::Text).await
    })
    .await
}

/// Shows, asks, applies.
async fn ask_and_go(
    workspace: &Workspace,
    planned: Planned,
    request: Request,
    applying: &Applying,
    format: Format,
) -> Result<Code, Failure> {
    show(&planned, format)?;
    if planned.plan.has_changes() {
        confirm(applying)?;
    }
    go(workspace, planned, request, applying, format).await
}

/// Applies, stage by stage.
pub(crate) async fn go(
    workspace: &Workspace,
    planned: Planned,
    request: Request,
    applying: &Applying,
    format: Format,
) -> Result<Code, Failure> {
    // Made now, not before: bad input leaves no empty environment behind.
    let plan = &planned.plan;
    let key = plan.environment_key();
    workspace.store.create_environment(&EnvironmentRecord { key: key.clone(), environment_type: plan.environment_type.clone() }).await?;
    let engine: Engine = workspace.engine();
    let cancel = cancel_on_signals()?;
    let deploying = Deploying { workspace, engine: &engine, applying, cancel: &cancel, format };
    let outcome = engine.apply(&request, || planned.documents(&workspace.planning), &cancel).await?;
    let (outcome, plan) = deploying.to_the_end(planned, request, outcome).await?;
    if outcome != Outcome::NothingToDo {
        workspace.store.forget(&key, workspace.keep_deployments).await?;
    }
    finish_outcome(&outcome, &plan)
}

/// Asks before a plan is applied.
pub(crate) fn confirm(applying: &Applying) -> Result<(), Failure> {
    ask(applying.yes, "Apply this plan?")
}

/// Asks before anything is done that can't be undone.
pub(crate) fn ask(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is there to confirm").hint("say `--yes`"));
    }
    let mut page = Page::default();
    page.blank();
    page.line(format_args!("{question} [y/N] "));
    page.ask();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::failed("not confirmed; nothing was changed")) }
}

fn finish_outcome(outcome: &Outcome, plan: &Plan) -> Result<Code, Failure> {
    let target = format!("{}/{}", plan.application, plan.environment);
    match outcome {
        Outcome::NothingToDo => {
            print::note(&format!("{target} is as it should be; nothing was written."));
            Ok(Code::Done)
        }
        Outcome::Succeeded(number) => {
            print::note(&format!("Deployment {number} of {target} succeeded."));
            Ok(Code::Done)
        }
        Outcome::Failed { number, reason, hint } => {
            let failure = Failure::failed(format!("deployment {number} of {target} failed: {reason}"));
            Err(match hint {
                Some(hint) => failure.hint(hint.clone()),
                None => failure,
            })
        }
        Outcome::Staged(number) => Err(Failure::new(Code::Waiting, format!("deployment {number} of {target} has another stage"))
            .hint(format!("`windlass resume -e {}` goes on", plan.environment))),
        Outcome::Cancelled(number) => {
            Err(Failure::new(Code::Interrupted, format!("deployment {number} of {target} was stopped between two actions"))
                .hint("`deploy` again goes on from here"))
        }
        Outcome::TimedOut { number, awaited } => {
            let awaited: String = awaited.iter().map(|line| format!("\n  {line}")).collect();
            Err(Failure::new(Code::TimedOut, format!("deployment {number} of {target} is still under way{awaited}"))
                .hint(format!("`windlass resume -e {}` waits for it", plan.environment)))
        }
    }
}

/// Ctrl-C, or what CI sends to a job that it ends: once stops between actions, twice at once.
pub(crate) fn cancel_on_signals() -> Result<Cancel, Failure> {
    static OF_THIS_PROCESS: OnceLock<Cancel> = OnceLock::new();
    if let Some(cancel) = OF_THIS_PROCESS.get() {
        return Ok(cancel.clone());
    }
    let cancel = OF_THIS_PROCESS.get_or_init(Cancel::default).clone();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind)?;
        let seen = cancel.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if seen.is_cancelled() {
                    std::process::exit(Code::Interrupted as i32);
                }
                print::note("Stopping between two actions; Ctrl-C again stops at once.");
                seen.cancel();
            }
        });
    }
    Ok(cancel)
}
