//! Effects under way: one system may take its time while the others go on.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt as _,
    future::{BoxFuture, Either, select},
    stream::FuturesUnordered,
};
use windlass_model::{
    event::DeploymentNumber,
    name::DocumentName,
    state::{EnvironmentKey, RecordedAction},
};

use super::{
    Engine,
    run::{Journal, Notes, Run},
};
use crate::{
    session::{Cancel, CapabilityError, EffectCx, Owner, ResolvedAction, Session, Step},
    store::Fence,
};

/// Which system through which connection.
pub(crate) type System = (String, DocumentName);

/// What is sent to a system. Its intent is on disk.
pub(crate) struct Effect {
    pub system: System,
    pub session: Arc<dyn Session>,
    pub records: Vec<RecordedAction>,
    pub actions: Vec<ResolvedAction>,
}

/// What came of an effect.
pub(crate) struct Answer {
    system: System,
    /// What was sent.
    pub records: Vec<RecordedAction>,
    /// How far each of it is.
    pub steps: Vec<Result<Step, CapabilityError>>,
}

/// What effects of a run may know and use, for as long as they are under way.
pub(crate) struct Scope<'a> {
    engine: &'a Engine,
    environment: EnvironmentKey,
    owner: Owner,
    fence: Fence,
    number: DeploymentNumber,
    allow_destroy: bool,
    deadline: Instant,
    cancel: &'a Cancel,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(run: &Run<'a>, deadline: Instant, cancel: &'a Cancel) -> Self {
        Self {
            engine: run.engine,
            environment: run.environment.clone(),
            owner: run.owner.clone(),
            fence: run.fence,
            number: run.number,
            allow_destroy: run.allow_destroy,
            deadline,
            cancel,
        }
    }

    async fn ensure(&self, effect: Effect) -> Answer {
        let Effect { system, session, records, actions } = effect;
        let notes = Notes(self.engine);
        let journal = Journal { engine: self.engine, environment: &self.environment, fence: self.fence, number: self.number };
        let cx = EffectCx {
            owner: &self.owner,
            fence: self.fence,
            deadline: self.deadline,
            allow_destroy: self.allow_destroy,
            cancel: self.cancel,
            journal: &journal,
            events: &notes,
        };
        self.engine.observer.point("before effect");
        let steps = session.ensure(&cx, &actions).await;
        self.engine.observer.point("after effect");
        Answer { system, records, steps }
    }
}

/// The effects that are under way: of each system one at a time, unless it takes many.
pub(crate) struct Effects<'s> {
    scope: &'s Scope<'s>,
    running: FuturesUnordered<BoxFuture<'s, Answer>>,
    busy: BTreeSet<System>,
    /// What came while something else was done.
    answers: Vec<Answer>,
}

impl<'s> Effects<'s> {
    pub(crate) fn new(scope: &'s Scope<'s>) -> Self {
        Self { scope, running: FuturesUnordered::new(), busy: BTreeSet::new(), answers: Vec::new() }
    }

    /// Begins one; of a system that takes many, one for each action: nothing has to wait for the slowest.
    pub(crate) fn begin(&mut self, effect: Effect) {
        if !effect.session.takes_many() {
            self.busy.insert(effect.system.clone());
            self.running.push(Box::pin(self.scope.ensure(effect)));
            return;
        }
        for (record, action) in effect.records.into_iter().zip(effect.actions) {
            let (system, session) = (effect.system.clone(), Arc::clone(&effect.session));
            self.running.push(Box::pin(self.scope.ensure(Effect { system, session, records: vec![record], actions: vec![action] })));
        }
    }

    /// Tells whether a system is at work.
    pub(crate) fn is_busy(&self, system: &System) -> bool {
        self.busy.contains(system)
    }

    /// Tells whether nothing is under way, and every answer was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.answers.is_empty()
    }

    /// Tells whether there are answers to take.
    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Takes the answers that are there.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        let answers = std::mem::take(&mut self.answers);
        for answer in &answers {
            self.busy.remove(&answer.system);
        }
        answers
    }

    /// Waits for an answer.
    pub(crate) async fn next(&mut self) {
        if self.answers.is_empty() {
            self.answers.extend(self.running.next().await);
        }
    }

    /// Waits for an answer, but no longer than this; without effects, for just as long.
    pub(crate) async fn next_within(&mut self, longest: Duration) {
        if self.running.is_empty() {
            return tokio::time::sleep(longest).await;
        }
        // None is lost where the time is up.
        let _ = tokio::time::timeout(longest, self.next()).await;
    }

    /// Does something else to its end while they go on.
    pub(crate) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        while !self.running.is_empty() {
            match select(work.as_mut(), self.running.next()).await {
                Either::Left((done, _)) => return done,
                Either::Right((answer, _)) => self.answers.extend(answer),
            }
        }
        work.await
    }
}
