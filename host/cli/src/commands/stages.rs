//! The stages of a deployment: when one is ready, the next is planned with what it yielded, shown, and applied.

use std::{collections::BTreeSet, sync::Arc};

use windlass_engine::{
    Follows,
    apply::{Engine, Outcome, Request},
    session::Cancel,
};
use windlass_model::{ActionId, event::DeploymentNumber, identity::shown, plan::Plan};

use super::{
    apply::confirm,
    plan::{finish, show},
};
use crate::{
    arguments::{Applying, Format},
    exit::{Code, Failure},
    print,
    workspace::{Planned, Workspace},
};

/// A definition that needs more stages than this chases its own tail.
const STAGES_MAX: usize = 16;

/// A deployment under way, with what it takes to go on with it.
pub(crate) struct Deploying<'a> {
    pub workspace: &'a Workspace,
    pub engine: &'a Engine,
    pub applying: &'a Applying,
    pub cancel: &'a Cancel,
    pub format: Format,
}

impl Deploying<'_> {
    /// Goes on from stage to stage until there is an end.
    pub(crate) async fn to_the_end(
        &self,
        mut planned: Planned,
        mut request: Request,
        mut outcome: Outcome,
    ) -> Result<(Outcome, Arc<Plan>), Failure> {
        for _ in 0..STAGES_MAX {
            let Outcome::Staged(number) = outcome else { return Ok((outcome, planned.plan)) };
            let next = match next(self.workspace, &planned).await {
                Ok(next) => next,
                Err(failure) => {
                    self.engine.give_up(&request, number, "the next stage can't be planned").await?;
                    return Err(failure);
                }
            };
            print::note(&format!("A stage of deployment {number} is ready; the next one is planned with what it yielded."));
            show(&next, self.format)?;
            self.approve(&planned, &next, number)?;
            request = self.workspace.request(&next, request.verb, self.applying, request.rollback_to)?;
            outcome = self.engine.advance(&request, number, self.cancel).await?;
            planned = next;
        }
        let reason = format!("still not everything is known after {STAGES_MAX} stages");
        if let Outcome::Staged(number) = outcome {
            self.engine.give_up(&request, number, &reason).await?;
        }
        Err(Failure::failed(reason).hint("resources that wait for each other's values never end: give one of them in a definition"))
    }

    /// Asks where somebody is asked; what nobody approved is not destroyed on the quiet.
    fn approve(&self, before: &Planned, next: &Planned, number: DeploymentNumber) -> Result<(), Failure> {
        let environment = &next.plan.environment;
        let approved: BTreeSet<&ActionId> = before.plan.destroys.iter().map(|destroy| &destroy.id).collect();
        let unlisted = next.plan.destroys.iter().find(|destroy| !approved.contains(&destroy.id));
        if let Some(destroy) = unlisted.filter(|_| before.is_exact && !self.applying.allow_destroy) {
            return Err(Failure::new(
                Code::Waiting,
                format!(
                    "deployment {number} waits: its next stage destroys `{}`, which the approved plan did not list",
                    shown(&destroy.identity)
                ),
            )
            .hint(format!("`windlass resume -e {environment} --yes` goes on")));
        }
        confirm(self.applying).map_err(|_| {
            Failure::new(Code::Waiting, format!("deployment {number} waits for your word on its next stage"))
                .hint(format!("`windlass resume -e {environment}` asks again; `windlass deploy` takes over"))
        })
    }
}

/// Plans the stage behind one that is ready.
async fn next(workspace: &Workspace, before: &Planned) -> Result<Planned, Failure> {
    let key = before.plan.environment_key();
    let state = workspace.state(&key).await?;
    let mut input = before.input.clone();
    let digest = before.plan.digest().map_err(Failure::failed)?;
    input.follows = Some(Follows::behind(digest, &before.plan, before.input.follows.as_ref()));
    input.recorded = state.recorded;
    input.claims = Arc::new(workspace.store.claims().await?);
    input.secrets = workspace.secret_versions(&key).await?;
    let next = finish(workspace, input, before.provenance.clone())?;
    Ok(Planned { is_exact: before.is_exact, ..next })
}

/// Finds out what the stages before a plan did.
pub(crate) async fn follows(workspace: &Workspace, plan: &Plan) -> Result<Option<Follows>, Failure> {
    let Some(first) = plan.follows else { return Ok(None) };
    let mut done = Follows { plan: first, done: BTreeSet::new() };
    let mut digest = Some(first);
    while let Some(earlier) = digest {
        let plan: Plan = workspace.read("plan", &earlier).await?;
        done.done.extend(Follows::behind(earlier, &plan, None).done);
        digest = plan.follows;
    }
    Ok(Some(done))
}
