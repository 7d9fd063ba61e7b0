//! Effects under way: one system may take its time while the others go on.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Either, select},
    stream::FuturesUnordered,
};
use windlass_model::{
    event::DeploymentNumber,
    limits,
    name::DocumentName,
    state::{EnvironmentKey, RecordedAction},
};

use super::{
    Engine,
    discretion::SecretsOf,
    run::{Journal, Notes, Run},
};
use crate::{
    session::{Cancel, CapabilityError, EffectCx, Owner, ResolvedAction, Session, Step},
    store::Fence,
};

/// Which system through which connection.
pub(crate) type System = (String, DocumentName);

/// Answers that are noted together, while more is under way than they make room for.
const TOGETHER_MAX: usize = 16;
/// For how long: people see what happens, and what was done is noted.
const TOGETHER_WITHIN: Duration = Duration::from_millis(10);

/// What is sent to a system. Its intent is on disk.
pub(crate) struct Effect {
    pub system: System,
    pub session: Arc<dyn Session>,
    pub records: Vec<RecordedAction>,
    pub actions: Vec<ResolvedAction>,
}

/// What came of an effect.
pub(crate) struct Answer {
    pub system: System,
    /// It was all that was under way in its system.
    pub is_all: bool,
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
        let is_all = session.at_once().is_none();
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
        let sent = records.iter().zip(&actions);
        let guarded = |(step, (record, action)): (Result<Step, CapabilityError>, (&RecordedAction, &ResolvedAction))| {
            step.map_err(|error| SecretsOf::spec(&record.spec, &action.spec).guard(error))
        };
        let steps = steps.into_iter().zip(sent).map(guarded).collect();
        Answer { system, is_all, records, steps }
    }
}

/// The effects that are under way: of each system one batch at a time, or as many actions as it takes at once.
pub(crate) struct Effects<'s> {
    scope: &'s Scope<'s>,
    running: FuturesUnordered<BoxFuture<'s, Answer>>,
    /// Calls that were not answered yet, by system.
    calls: BTreeMap<System, usize>,
    /// What came while something else was done.
    answers: Vec<Answer>,
}

impl<'s> Effects<'s> {
    pub(crate) fn new(scope: &'s Scope<'s>) -> Self {
        Self { scope, running: FuturesUnordered::new(), calls: BTreeMap::new(), answers: Vec::new() }
    }

    /// Begins one; of a system that takes many at once, one for each action: nothing has to wait for the slowest.
    pub(crate) fn begin(&mut self, effect: Effect) {
        if effect.session.at_once().is_none() {
            return self.call(effect);
        }
        for (record, action) in effect.records.into_iter().zip(effect.actions) {
            let (system, session) = (effect.system.clone(), Arc::clone(&effect.session));
            self.call(Effect { system, session, records: vec![record], actions: vec![action] });
        }
    }

    fn call(&mut self, effect: Effect) {
        *self.calls.entry(effect.system.clone()).or_default() += 1;
        self.running.push(Box::pin(self.scope.ensure(effect)));
    }

    /// Says how many more actions a system takes now. One that takes many at once is filled up when half of it is free: intents are
    /// noted in batches.
    pub(crate) fn room(&self, system: &System, session: &dyn Session) -> usize {
        let calls = self.calls.get(system).copied().unwrap_or_default();
        match session.at_once().map(NonZeroUsize::get) {
            Some(most) if calls <= most / 2 => (most - calls).min(limits::EFFECT_BATCH_MAX),
            None if calls == 0 => limits::EFFECT_BATCH_MAX,
            _ => 0,
        }
    }

    /// Tells whether nothing is under way, and every answer was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.answers.is_empty()
    }

    /// Tells whether there are answers to take.
    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Visits the answers that were not taken yet.
    pub(crate) fn answered(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter()
    }

    /// Takes the answers that are there.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        let answers = std::mem::take(&mut self.answers);
        for answer in &answers {
            if let Some(calls) = self.calls.get_mut(&answer.system) {
                *calls = calls.saturating_sub(1);
            }
        }
        answers
    }

    /// Waits for an answer, and takes what came with it.
    pub(crate) async fn next(&mut self) {
        if self.answers.is_empty() {
            self.answers.extend(self.running.next().await);
            while let Some(Some(answer)) = self.running.next().now_or_never() {
                self.answers.push(answer);
            }
        }
    }

    /// Waits for more answers, where each alone is of no use: there is no room yet for what comes next.
    pub(crate) async fn gather(&mut self) {
        let more = async {
            while self.answers.len() < TOGETHER_MAX
                && let Some(answer) = self.running.next().await
            {
                self.answers.push(answer);
            }
        };
        // None is lost where the time is up.
        let _ = tokio::time::timeout(TOGETHER_WITHIN, more).await;
    }

    /// Waits for an answer, but no longer than this; where there is one, not at all; without effects, for just as long.
    pub(crate) async fn next_within(&mut self, longest: Duration) {
        if self.has_answers() {
            return;
        }
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
