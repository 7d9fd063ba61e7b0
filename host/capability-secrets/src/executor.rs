//! Makes generated values: once, kept before anybody else sees them.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use windlass_engine::session::{
    ActionRef, CapabilityError, CapabilityErrorKind as Kind, Depth, EffectCx, Executor, Observation, Observed, OpenConnection, Owner,
    Ownership, Phase, Preflight, ResolvedAction, Secret, SecretStore, Session, Step, generated_name,
};
use windlass_model::{
    ActionId,
    state::{EnvironmentKey, RecordedAction},
};

use crate::{keyring::random, planner::Policy};

/// Opens the embedded store for generated values.
#[derive(Clone)]
pub struct GeneratedExecutor {
    secrets: Arc<dyn SecretStore>,
}

impl GeneratedExecutor {
    /// Takes the store of secrets.
    #[must_use]
    pub fn new(secrets: Arc<dyn SecretStore>) -> Self {
        Self { secrets }
    }
}

#[async_trait]
impl Executor for GeneratedExecutor {
    fn interface(&self) -> &'static str {
        "windlass:secrets/generated"
    }

    fn connection_kind(&self) -> &'static str {
        "secrets"
    }

    async fn open(&self, connection: &OpenConnection) -> Result<Arc<dyn Session>, CapabilityError> {
        Ok(Arc::new(GeneratedSession { secrets: Arc::clone(&self.secrets), environment: connection.environment.clone() }))
    }
}

struct GeneratedSession {
    secrets: Arc<dyn SecretStore>,
    environment: EnvironmentKey,
}

/// Draws a value without bias: characters beyond the alphabet's last whole multiple are drawn again.
fn draw(policy: &Policy) -> Result<Secret, CapabilityError> {
    let alphabet = policy.characters();
    let limit = 256 - 256 % alphabet.len();
    let mut out = String::with_capacity(policy.length);
    let mut buffer = [0; 64];
    while out.chars().count() < policy.length {
        random(&mut buffer).map_err(|error| CapabilityError::new(Kind::Failed, error.to_string()))?;
        for byte in buffer.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit) {
            if out.chars().count() == policy.length {
                break;
            }
            out.extend(alphabet.get(byte % alphabet.len()));
        }
    }
    Ok(Secret::new(out))
}

/// Draws a value by a policy that a plan lists.
pub fn generate(spec: &Value) -> Result<Secret, CapabilityError> {
    draw(&Policy::parse(spec).map_err(|problem| CapabilityError::new(Kind::Invalid, problem.message))?)
}

impl GeneratedSession {
    async fn draw_one(&self, id: &ActionId, spec: &Value) -> Result<Option<Secret>, CapabilityError> {
        match self.secrets.read(&self.environment, &generated_name(id), None).await? {
            Some(_) => Ok(None),
            None => generate(spec).map(Some),
        }
    }

    async fn ensure_one(&self, action: &ResolvedAction) -> Result<Step, CapabilityError> {
        let name = generated_name(&action.id);
        let known = self.secrets.read(&self.environment, &name, None).await?;
        let (version, changed) = match known {
            Some((version, _)) => (version, false),
            None => (self.secrets.write_first(&self.environment, &name, &generate(&action.spec)?).await?, true),
        };
        Ok(Step::Done(Observed { handle: json!({ "version": version }), changed, ..Observed::default() }))
    }
}

#[async_trait]
impl Session for GeneratedSession {
    async fn observe(&self, _: &Owner, actions: &[ActionRef<'_>], _: Depth) -> Vec<Result<Observation, CapabilityError>> {
        let known = self.secrets.list(&self.environment).await;
        actions
            .iter()
            .map(|action| {
                let known = known.as_ref().map_err(Clone::clone)?;
                let present = known.contains_key(&generated_name(action.id));
                Ok(match present {
                    true => Observation::ours(action.identity),
                    false => Observation::new(action.identity, Ownership::None, Phase::Absent, Vec::new()),
                })
            })
            .collect()
    }

    async fn preflight(&self, _: &EffectCx<'_>, actions: &[Preflight]) -> Vec<Result<(), CapabilityError>> {
        // A value that is there stays, one that is not is made: nothing can stand in the way but the policy.
        let check = |action: &Preflight| {
            Policy::parse(&action.spec).map(drop).map_err(|problem| CapabilityError::new(Kind::Invalid, problem.message))
        };
        actions.iter().map(check).collect()
    }

    async fn draw(&self, actions: &[(&ActionId, Value)]) -> Vec<Result<Option<Secret>, CapabilityError>> {
        let mut drawn = Vec::with_capacity(actions.len());
        for (id, spec) in actions {
            drawn.push(self.draw_one(id, spec).await);
        }
        drawn
    }

    async fn ensure(&self, _: &EffectCx<'_>, actions: &[ResolvedAction]) -> Vec<Result<Step, CapabilityError>> {
        let mut results = Vec::with_capacity(actions.len());
        for action in actions {
            results.push(self.ensure_one(action).await);
        }
        results
    }

    async fn delete(&self, _: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<Step, CapabilityError>> {
        let mut results = Vec::with_capacity(actions.len());
        for action in actions {
            let removed = self.secrets.remove(&self.environment, &generated_name(&action.id)).await;
            results.push(removed.map(|changed| Step::Done(Observed { changed, ..Observed::default() })));
        }
        results
    }

    async fn release(&self, _: &EffectCx<'_>, actions: &[RecordedAction]) -> Vec<Result<(), CapabilityError>> {
        // The value stays in the store: whoever took over what it guards may ask for it.
        actions.iter().map(|_| Ok(())).collect()
    }

    async fn list_ours(&self, _: &Owner) -> Result<Vec<Observation>, CapabilityError> {
        let known = self.secrets.list(&self.environment).await?;
        Ok(known.keys().filter_map(|name| name.strip_prefix("action/")).map(Observation::ours).collect())
    }
}
