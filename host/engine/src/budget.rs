//! The budget of driver calls: each host call is paid for by the memory and time that it costs the host, not by the bytes that cross.
//!
//! A call has a budget of its own, and all calls of one plan share another.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;
use windlass_model::{limits, sealed::SealedLimit};

/// A limit that a call met inside the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("passes the limit `{limit}` of {value}")]
pub struct LimitReached {
    /// The limit's name.
    pub limit: &'static str,
    /// Its value, for people.
    pub value: String,
}

impl LimitReached {
    /// Names a limit with its value.
    pub fn new(limit: &'static str, value: impl ToString) -> Self {
        Self { limit, value: value.to_string() }
    }
}

impl From<SealedLimit> for LimitReached {
    fn from(SealedLimit { name, max }: SealedLimit) -> Self {
        Self::new(name, max)
    }
}

/// Kinds of cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Calls into the host.
    Calls,
    /// Bytes handed to the host.
    OutputBytes,
    /// JSON values handed to the host.
    JsonValues,
    /// Bytes of sealed values in plan JSON.
    SealedBytes,
    /// Rounds of bcrypt, spent when the plan is applied.
    HashRounds,
}

const KINDS: usize = 5;

/// A limit with its name.
type Limit = (&'static str, usize);

impl Cost {
    fn call_limit(self) -> Limit {
        match self {
            Self::Calls => ("host calls", limits::HOST_CALLS_MAX),
            Self::OutputBytes => ("output bytes", limits::DRIVER_OUTPUT_BYTES_MAX),
            Self::JsonValues => ("JSON values", limits::DRIVER_VALUES_MAX),
            Self::SealedBytes => ("sealed bytes", limits::DRIVER_SEALED_BYTES_MAX),
            Self::HashRounds => ("hash rounds", limits::DRIVER_HASH_ROUNDS_MAX),
        }
    }

    /// Returns the limit of all calls together; calls and JSON values cost nothing once a call is over.
    fn plan_limit(self) -> Option<Limit> {
        match self {
            Self::Calls | Self::JsonValues => None,
            Self::OutputBytes => Some(("output bytes of the plan", limits::PLAN_OUTPUT_BYTES_MAX)),
            Self::SealedBytes => Some(("sealed bytes of the plan", limits::PLAN_SEALED_BYTES_MAX)),
            Self::HashRounds => Some(("hash rounds of the plan", limits::DEPLOYMENT_HASH_ROUNDS_MAX)),
        }
    }
}

/// What all calls of one plan spent.
#[derive(Debug, Default)]
pub struct PlanBudget([AtomicUsize; KINDS]);

/// What one call spent.
#[derive(Debug, Default)]
pub struct CallBudget {
    spent: [usize; KINDS],
    plan: Arc<PlanBudget>,
}

impl CallBudget {
    /// Begins a call of a plan.
    #[must_use]
    pub fn new(plan: Arc<PlanBudget>) -> Self {
        Self { spent: [0; KINDS], plan }
    }

    /// Pays for something before it is done.
    ///
    /// # Errors
    ///
    /// The limit of the call, or of the plan, that is passed.
    pub fn spend(&mut self, cost: Cost, amount: usize) -> Result<(), LimitReached> {
        let within = |(name, max): Limit, spent: usize| if spent > max { Err(LimitReached::new(name, max)) } else { Ok(()) };
        if let Some(spent) = self.spent.get_mut(cost as usize) {
            *spent = spent.saturating_add(amount);
            within(cost.call_limit(), *spent)?;
        }
        // The sum can't overflow: each addend is within the limit of a call.
        if let (Some(limit), Some(total)) = (cost.plan_limit(), self.plan.0.get(cost as usize)) {
            within(limit, total.fetch_add(amount, Ordering::Relaxed).saturating_add(amount))?;
        }
        Ok(())
    }
}

/// Measures a value as JSON, without escapes.
#[must_use]
pub fn json_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 5,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| json_bytes(item) + 1).sum::<usize>(),
        Value::Object(fields) => 2 + fields.iter().map(|(key, item)| key.len() + json_bytes(item) + 4).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Cost; KINDS] = [Cost::Calls, Cost::OutputBytes, Cost::JsonValues, Cost::SealedBytes, Cost::HashRounds];

    #[test]
    fn each_cost_is_paid_up_to_its_limit_and_not_above() {
        for cost in ALL {
            let (name, max) = cost.call_limit();
            let mut budget = CallBudget::default();
            assert_eq!(budget.spend(cost, max), Ok(()), "{name}");
            assert_eq!(budget.spend(cost, 1), Err(LimitReached::new(name, max)));
            assert!(ALL.iter().all(|other| *other == cost || budget.spend(*other, 1).is_ok()), "{name} is paid for alone");
        }
    }

    #[test]
    fn calls_share_the_budget_of_their_plan() {
        for (cost, (name, max)) in ALL.into_iter().filter_map(|cost| Some((cost, cost.plan_limit()?))) {
            let plan = Arc::new(PlanBudget::default());
            let (_, call_max) = cost.call_limit();
            for _ in 0..max / call_max {
                assert_eq!(CallBudget::new(Arc::clone(&plan)).spend(cost, call_max), Ok(()), "{name}");
            }
            assert_eq!(CallBudget::new(plan).spend(cost, 1), Err(LimitReached::new(name, max)));
            assert_eq!(CallBudget::default().spend(cost, 1), Ok(()), "another plan has its own");
        }
    }
}
