//! Reads that end with the run: a system that answers for ever holds neither `--timeout` nor Ctrl-C up.

use std::time::{Duration, Instant};

use super::stop::Stop;
use crate::session::Cancel;

/// How soon a wish to stop is noticed.
const NOTICED_WITHIN: Duration = Duration::from_millis(50);

/// Waits for an answer that changes nothing; a run that is to stop, or has no more time, leaves it.
///
/// # Errors
///
/// [`Stop::Cancelled`], or [`Stop::TimedOut`] with `what` is waited for.
pub(crate) async fn reading<T>(what: &str, deadline: Instant, cancel: &Cancel, answer: impl Future<Output = T>) -> Result<T, Stop> {
    let stopped = async {
        loop {
            if cancel.is_cancelled() {
                return Stop::Cancelled;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Stop::TimedOut(vec![format!("{what}: no answer yet")]);
            }
            tokio::time::sleep(left.min(NOTICED_WITHIN)).await;
        }
    };
    tokio::select! {
        // An answer that is there counts.
        biased;
        answer = answer => Ok(answer),
        stop = stopped => Err(stop),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn read<T>(after: Duration, cancel: &Cancel, answer: impl Future<Output = T>) -> Result<T, Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(reading("the look", Instant::now() + after, cancel, answer))
    }

    #[test]
    fn an_answer_that_never_comes_is_left_at_the_deadline_or_when_asked() {
        let cancel = Cancel::default();
        assert!(matches!(read(Duration::ZERO, &cancel, ready(7)), Ok(7)));
        let late = read(Duration::from_millis(100), &cancel, pending::<()>());
        assert!(matches!(late, Err(Stop::TimedOut(lines)) if lines == ["the look: no answer yet"]));
        cancel.cancel();
        assert!(matches!(read(Duration::from_secs(600), &cancel, pending::<()>()), Err(Stop::Cancelled)));
    }
}
