//! Taking turns: one process at a time changes an environment, and CI has several.

use std::time::{Duration, Instant};

use windlass_engine::store::StoreError;
use windlass_model::state::EnvironmentKey;

use super::apply::cancel_on_signals;
use crate::{
    arguments::Applying,
    exit::{Code, Failure, Overtaken},
    print,
    workspace::Workspace,
};

/// How often somebody who waits looks whether the turn has come.
const LOOK: Duration = Duration::from_millis(200);

/// Plans and applies. Where another process came first it waits for its end and plans again for what is there then; a person who
/// confirmed one plan is not given another.
pub(crate) async fn take(
    workspace: &Workspace,
    applying: &Applying,
    attempt: impl AsyncFn() -> Result<Code, Failure>,
) -> Result<Code, Failure> {
    let deadline = Instant::now() + applying.timeout;
    loop {
        let failure = match attempt().await {
            Err(failure) if applying.yes && Instant::now() < deadline => failure,
            ended => return ended,
        };
        match &failure.overtaken {
            Some(Overtaken::Locked(environment)) => {
                print::note(&format!("{}; waiting for its end.", failure.message()));
                if !becomes_free(workspace, environment, deadline).await? {
                    return Err(failure);
                }
            }
            Some(Overtaken::Stale) => print::note(&format!("{}; planning again.", failure.message())),
            None => return Err(failure),
        }
    }
}

/// Waits until nobody changes an environment; tells whether that came in time.
async fn becomes_free(workspace: &Workspace, environment: &EnvironmentKey, deadline: Instant) -> Result<bool, Failure> {
    let cancel = cancel_on_signals()?;
    loop {
        match workspace.store.lock(environment).await {
            Ok(_free_again) => return Ok(true),
            Err(StoreError::Locked { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        if cancel.is_cancelled() {
            return Err(Failure::new(Code::Interrupted, format!("stopped while waiting for `{environment}`; nothing was changed")));
        }
        tokio::time::sleep(LOOK).await;
    }
}
