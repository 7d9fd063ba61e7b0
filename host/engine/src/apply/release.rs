//! Lets go of things: our marks are taken from them, our records forget them, and they stay as they are.

use std::time::{Duration, Instant};

use windlass_model::{
    NodeKey,
    event::{Actor, DeploymentStatus, Event, Verb},
    state::{EnvironmentKey, RecordedAction, Status},
};

use super::{
    ApplyError, Engine,
    order::{self, Group},
    run::{Journal, Notes},
};
use crate::{
    authorize::Target,
    session::{Cancel, EffectCx, Owner},
    store::StoreError,
};

/// How long taking marks away may take.
const WITHIN: Duration = Duration::from_secs(120);

impl Engine {
    /// Lets go of what is retained of a node. What is still deployed stays ours: the next deployment would want it.
    pub async fn release(&self, actor: &Actor, environment: &EnvironmentKey, node: &NodeKey) -> Result<Vec<RecordedAction>, ApplyError> {
        let state = self.state(environment).await?;
        let target = Target::new(environment, &state.record.environment_type);
        self.authorize.authorize(actor, Verb::Release, &target)?;
        let lease = self.store.lock(environment).await?;
        let state = self.state(environment).await?;
        let Some(last) = state.last.as_ref().filter(|last| last.status != DeploymentStatus::Running) else {
            return Err(StoreError::Missing("a deployment that ended".to_owned()).into());
        };
        let owner = Owner { installation: self.store.installation().to_owned(), environment: environment.clone() };
        let is_left = |record: &RecordedAction| record.status == Status::Retained && record.id.node().is_ok_and(|of| of == *node);
        let left = state.recorded.actions.into_values().filter(is_left);
        let (cancel, notes) = (Cancel::default(), Notes(self));
        let mut released = Vec::new();
        for Group { interface, connection, settings, records } in order::by_connection(left) {
            let session = self.open(&interface, &connection, &settings, environment).await?;
            let journal = Journal { engine: self, environment, fence: lease.fence(), number: last.number };
            let cx = EffectCx {
                owner: &owner,
                fence: lease.fence(),
                deadline: Instant::now() + WITHIN,
                allow_destroy: false,
                cancel: &cancel,
                journal: &journal,
                events: &notes,
            };
            let answers = session.release(&cx, &records).await;
            let mut gone = Vec::new();
            let mut failure = None;
            for (record, answer) in records.into_iter().zip(answers) {
                match answer {
                    Ok(()) => gone.push(record),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            if !gone.is_empty() {
                let event = Event::Released { ids: gone.iter().map(|record| record.id.clone()).collect() };
                self.store.append(environment, lease.fence(), last.number, std::slice::from_ref(&event), &[]).await?;
                self.observer.event(&event);
                released.extend(gone);
            }
            if let Some(error) = failure {
                return Err(ApplyError::of(&connection, error));
            }
        }
        Ok(released)
    }
}
