//! What one deployment spends on its values: hashes and expanded bytes, beside the wish to stop and the deadline.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use windlass_model::{ActionId, limits};

use crate::{
    derive::hash_rounds,
    session::{Cancel, CapabilityError, CapabilityErrorKind as Kind, Secret, SecretStore},
};

/// How often a hash under way looks whether it is still wanted.
const INTERRUPT_WITHIN: Duration = Duration::from_millis(50);

/// The account of one deployment.
pub(crate) struct Spending {
    cancel: Cancel,
    deadline: Instant,
    hash_rounds: AtomicUsize,
    /// Hashes that were made, by function, label and value under the key of the store: equal ones are made once.
    hashes: Mutex<BTreeMap<String, Secret>>,
    expanded: Mutex<Expanded>,
}

/// Bytes of the values of each action.
#[derive(Default)]
struct Expanded {
    total: usize,
    by_action: BTreeMap<ActionId, usize>,
}

impl Spending {
    /// Begins an account.
    pub(crate) fn new(deadline: Instant, cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), deadline, hash_rounds: AtomicUsize::new(0), hashes: Mutex::default(), expanded: Mutex::default() }
    }

    /// Returns when the deployment stops waiting.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Pays for the values of an action; what is resolved again is paid for once.
    ///
    /// # Errors
    ///
    /// `Quota` if the values of the deployment pass their limit.
    pub(crate) fn expand(&self, action: &ActionId, bytes: usize) -> Result<(), CapabilityError> {
        if bytes == 0 {
            return Ok(());
        }
        let mut expanded = lock(&self.expanded);
        let before = expanded.by_action.insert(action.clone(), bytes).unwrap_or_default();
        expanded.total = expanded.total.saturating_sub(before).saturating_add(bytes);
        if expanded.total > limits::DEPLOYMENT_EXPANDED_BYTES_MAX {
            return Err(passed("expanded bytes of the deployment", limits::DEPLOYMENT_EXPANDED_BYTES_MAX));
        }
        Ok(())
    }

    /// Derives a value. What takes time is made on a thread for blocking work, and once for equal values.
    ///
    /// # Errors
    ///
    /// `Uncertain` if somebody asked to stop or the time is up; `Quota` if the hashes of the deployment pass their limit; `Invalid` for a
    /// cost of bcrypt that is out of its range.
    pub(crate) async fn derive(
        &self,
        store: &Arc<dyn SecretStore>,
        op: &str,
        label: &str,
        values: Vec<Secret>,
    ) -> Result<Secret, CapabilityError> {
        let rounds = hash_rounds(op).ok_or_else(|| {
            let range = format!("{} to {}", limits::BCRYPT_COST_MIN, limits::BCRYPT_COST_MAX);
            CapabilityError::new(Kind::Invalid, format!("`{op}`: the cost of bcrypt is {range}"))
        })?;
        if rounds == 0 {
            return store.derive(op, label, &values);
        }
        let key = key(store.as_ref(), op, label, &values);
        if let Some(known) = lock(&self.hashes).get(&key) {
            return Ok(known.clone());
        }
        self.pay_rounds(rounds)?;
        let (worker, op, label) = (Arc::clone(store), op.to_owned(), label.to_owned());
        let hash = self.off_the_async_threads(move || worker.derive(&op, &label, &values)).await??;
        lock(&self.hashes).insert(key, hash.clone());
        Ok(hash)
    }

    fn pay_rounds(&self, rounds: usize) -> Result<(), CapabilityError> {
        match self.hash_rounds.fetch_add(rounds, Ordering::Relaxed).saturating_add(rounds) > limits::DEPLOYMENT_HASH_ROUNDS_MAX {
            true => Err(passed("hash rounds of the deployment", limits::DEPLOYMENT_HASH_ROUNDS_MAX)),
            false => Ok(()),
        }
    }

    /// Does work on a thread for blocking work, and leaves it behind when the deployment is to stop.
    async fn off_the_async_threads<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, CapabilityError> {
        self.check()?;
        let mut work = tokio::task::spawn_blocking(work);
        loop {
            match tokio::time::timeout(INTERRUPT_WITHIN, &mut work).await {
                Ok(done) => return done.map_err(|error| CapabilityError::new(Kind::Failed, format!("a hash was not made: {error}"))),
                Err(_) => self.check()?,
            }
        }
    }

    fn check(&self) -> Result<(), CapabilityError> {
        match (self.cancel.is_cancelled(), Instant::now() >= self.deadline) {
            (true, _) => Err(CapabilityError::new(Kind::Uncertain, "its values were not made: the deployment was cancelled")),
            (false, true) => Err(CapabilityError::new(Kind::Uncertain, "its values were not made within the time of the deployment")),
            (false, false) => Ok(()),
        }
    }
}

/// Bytes that the values of one spec took so far, intermediate texts included.
#[derive(Default)]
pub(crate) struct Expansion(AtomicUsize);

impl Expansion {
    /// Pays for bytes before they are copied.
    ///
    /// # Errors
    ///
    /// `Quota` if the values of the action pass their limit.
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), CapabilityError> {
        match self.0.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > limits::ACTION_EXPANDED_BYTES_MAX {
            true => Err(passed("expanded bytes of an action", limits::ACTION_EXPANDED_BYTES_MAX)),
            false => Ok(()),
        }
    }

    /// Pays for a piece of a text that has `before` bytes already.
    ///
    /// # Errors
    ///
    /// `Quota` if the text, or the values of the action, pass their limit.
    pub(crate) fn spend_text(&self, before: usize, piece: &str) -> Result<(), CapabilityError> {
        if before.saturating_add(piece.len()) > limits::SEALED_TEXT_BYTES_MAX {
            return Err(passed("sealed text bytes", limits::SEALED_TEXT_BYTES_MAX));
        }
        self.spend(piece.len())
    }

    /// Begins the next spec; returns what the one before took.
    pub(crate) fn reset(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Says that a limit was passed.
pub(crate) fn passed(limit: &str, max: usize) -> CapabilityError {
    CapabilityError::new(Kind::Quota, format!("the values pass the limit `{limit}` of {max}"))
        .hint("the driver that made the action, or the text around its values, must be smaller")
}

/// Returns whether an error about a value says more than that the value is not known yet: it ends the action, or the run.
pub(crate) fn is_final(error: &CapabilityError) -> bool {
    matches!(error.kind, Kind::Quota | Kind::Uncertain)
}

fn key(store: &dyn SecretStore, op: &str, label: &str, values: &[Secret]) -> String {
    let texts = [op, label].into_iter().chain(values.iter().map(Secret::expose));
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend_from_slice(&text.len().to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    store.mac(&bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(result: Result<(), CapabilityError>) -> Option<String> {
        let error = result.err()?;
        assert_eq!(error.kind, Kind::Quota);
        Some(error.message.split('`').nth(1).unwrap_or_default().to_owned())
    }

    fn account(left: Duration) -> (Spending, Cancel) {
        let cancel = Cancel::default();
        (Spending::new(Instant::now() + left, &cancel), cancel)
    }

    #[test]
    fn a_deployment_pays_up_to_its_limits_and_not_above() {
        let (spending, _) = account(Duration::from_secs(60));
        assert_eq!(name(spending.pay_rounds(limits::DEPLOYMENT_HASH_ROUNDS_MAX)), None);
        assert_eq!(name(spending.pay_rounds(1)).as_deref(), Some("hash rounds of the deployment"));
        let id = |name: &str| ActionId::new(&"db.default#x".parse().unwrap(), name);
        assert_eq!(name(spending.expand(&id("object/a"), limits::DEPLOYMENT_EXPANDED_BYTES_MAX)), None);
        assert_eq!(name(spending.expand(&id("object/a"), limits::DEPLOYMENT_EXPANDED_BYTES_MAX - 1)), None, "resolved again, paid once");
        assert_eq!(name(spending.expand(&id("object/b"), 1)), None);
        assert_eq!(name(spending.expand(&id("object/c"), 1)).as_deref(), Some("expanded bytes of the deployment"));
    }

    #[test]
    fn an_action_and_a_text_pay_up_to_their_limits_and_not_above() {
        let expansion = Expansion::default();
        assert_eq!(name(expansion.spend(limits::ACTION_EXPANDED_BYTES_MAX)), None);
        assert_eq!(name(expansion.spend(1)).as_deref(), Some("expanded bytes of an action"));
        expansion.reset();
        assert_eq!(name(expansion.spend_text(limits::SEALED_TEXT_BYTES_MAX - 1, "x")), None);
        assert_eq!(name(expansion.spend_text(limits::SEALED_TEXT_BYTES_MAX, "x")).as_deref(), Some("sealed text bytes"));
    }

    #[tokio::test]
    async fn work_ends_with_the_deadline_and_with_the_wish_to_stop() {
        let slow = || std::thread::sleep(Duration::from_millis(400));
        let (spending, _) = account(Duration::from_millis(100));
        let began = Instant::now();
        assert_eq!(spending.off_the_async_threads(slow).await.unwrap_err().kind, Kind::Uncertain);
        assert!(began.elapsed() < Duration::from_millis(350), "{:?}", began.elapsed());

        let (spending, cancel) = account(Duration::from_secs(60));
        let stop = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            cancel.cancel();
        };
        let began = Instant::now();
        let (result, ()) = tokio::join!(spending.off_the_async_threads(slow), stop);
        assert_eq!(result.unwrap_err().kind, Kind::Uncertain);
        assert!(began.elapsed() < Duration::from_millis(350), "{:?}", began.elapsed());
        assert!(spending.off_the_async_threads(|| ()).await.is_err(), "nothing begins behind it");
    }
}
