//! What every node's planning needs: drivers with what they may do, contexts, and actions put under their node.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use windlass_model::{
    ActionId, Diagnostic, Digest, NodeKey, Spec,
    name::DocumentName,
    plan::PlannedAction,
    platform::{ConnectionSettings, DriverReference, Family, Grant, LayerName, OnRemove},
};
use windlass_resolve::{Effective, Graph};

use super::{Connections, OBJECTS, PlanInput, desired, expand::Expansion, flows, memo::Memo, references::Claim};
use crate::{
    budget::PlanBudget,
    driver::{DriverContext, DriverHost, World},
    planner::{Authority, Planners, SpecContext},
    recorder::{RecorderInput, StagedAction, printable},
    schema::TokenSchema,
    tokens::TokenTable,
};

/// What every node's planning needs.
pub(crate) struct Cx<'a> {
    pub input: &'a PlanInput,
    pub graph: &'a Graph<'a>,
    pub effective: &'a Effective<'a>,
    pub planners: &'a Planners,
    pub host: &'a dyn DriverHost,
    pub connections: &'a Connections<'a>,
    pub data_loss_allowed: bool,
    /// Versions of generated secrets, by action: shared by all calls.
    pub secret_versions: Arc<BTreeMap<String, u64>>,
    /// Digest of the environment type and the connections.
    pub policy: Digest,
    /// How much placeholders brought in so far.
    pub expansion: Expansion,
    /// The answers of the last deployment.
    pub memo: Memo<'a>,
    /// What all driver calls share.
    pub budget: Arc<PlanBudget>,
    /// Compiled schemas of types, see [`Cx::type_schema`].
    pub types: Mutex<HashMap<usize, Arc<TokenSchema>>>,
}

/// A driver with its component and what it may do.
#[derive(Clone, Debug)]
pub(crate) struct DriverUse<'a> {
    pub reference: &'a DriverReference,
    pub component: Digest,
    pub grants: Vec<Grant>,
    pub world: World,
}

impl<'a> Cx<'a> {
    /// Compiles a type's schema, once: it is known again by its place in memory, where it stays while the plan is made.
    pub(crate) fn type_schema(&self, schema: &'a Value) -> Result<Arc<TokenSchema>, String> {
        let place = std::ptr::from_ref(schema).addr();
        let types = || self.types.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = types().get(&place) {
            return Ok(Arc::clone(known));
        }
        let compiled = self.planners.schemas.r#type(schema)?;
        types().insert(place, Arc::clone(&compiled));
        Ok(compiled)
    }

    /// Finds a driver's component and checks its imports against grants, before anything runs.
    pub(crate) fn driver(
        &self,
        owner: &str,
        layer: LayerName,
        reference: &'a DriverReference,
        grants: &[Grant],
        world: World,
    ) -> Result<DriverUse<'a>, Vec<Diagnostic>> {
        let component = desired::component(&self.input.layers, layer, reference).ok_or_else(|| {
            vec![Diagnostic::error("driver-missing", format!("the component `{}` is not to be had", reference.component_key())).on(owner)]
        })?;
        let info = self.host.inspect(&component).map_err(|fault| vec![Diagnostic::from(fault).on(owner)])?;
        if info.world != world {
            return Err(vec![
                Diagnostic::error(
                    "driver-world",
                    format!("the component `{}` implements {:?}, {world:?} is needed", reference.component_key(), info.world),
                )
                .on(owner),
            ]);
        }
        let missing: Vec<Diagnostic> = info
            .privileges
            .iter()
            .filter(|interface| !grants.iter().any(|grant| grant.import == **interface))
            .map(|interface| {
                let fault = crate::driver::DriverFault {
                    driver: reference.component_key(),
                    component,
                    fault: crate::driver::Fault::Import(interface.clone()),
                };
                Diagnostic::from(fault).on(owner).hint(format!("add `- {{ import: {interface} }}` to `grants`, or use another driver"))
            })
            .collect();
        if missing.is_empty() { Ok(DriverUse { reference, component, grants: grants.to_vec(), world }) } else { Err(missing) }
    }

    /// Starts a recording for a driver; `inputs` are those that the platform's text decides.
    pub(crate) fn recorder_input(
        &self,
        node: &NodeKey,
        used: &DriverUse<'_>,
        inputs: &Arc<Value>,
        namespace: Option<&str>,
        tokens: TokenTable,
    ) -> Result<RecorderInput, Vec<Diagnostic>> {
        let mut authorities = BTreeMap::new();
        let mut contexts = BTreeMap::new();
        for descriptor in self.planners.descriptors() {
            let grants: Vec<&Grant> = used.grants.iter().filter(|grant| grant.import == descriptor.interface).collect();
            let renders = used.world == World::WorkloadDriver && descriptor.interface == OBJECTS;
            if grants.is_empty() && !renders {
                continue;
            }
            let named = grants.iter().find_map(|grant| grant.connection.as_ref());
            let (_, settings) = self.connections.of(descriptor.family, named).map_err(|problem| vec![problem.on(node)])?;
            let authority = Authority { inputs: Arc::clone(inputs), ..Authority::of(&used.grants, descriptor.interface) };
            authorities.insert(descriptor.interface.to_owned(), authority);
            contexts.insert(descriptor.interface.to_owned(), self.spec_context(node, namespace, settings.kind()));
        }
        let secret_versions = Arc::clone(&self.secret_versions);
        let budget = Arc::clone(&self.budget);
        Ok(RecorderInput { planners: self.planners.clone(), node: node.clone(), authorities, contexts, secret_versions, tokens, budget })
    }

    pub(crate) fn spec_context(&self, node: &NodeKey, namespace: Option<&str>, connection_kind: &'static str) -> SpecContext {
        SpecContext {
            application: self.input.environment.application.to_string(),
            environment: self.input.environment.environment.to_string(),
            workload: if let NodeKey::Workload(name) = node { Some(name.to_string()) } else { None },
            namespace: namespace.map(str::to_owned),
            connection_kind,
        }
    }

    pub(crate) fn driver_context(&self, namespace: Option<&str>) -> DriverContext {
        DriverContext {
            application: self.input.environment.application.to_string(),
            environment: self.input.environment.environment.to_string(),
            environment_type: self.input.environment_type.to_string(),
            namespace: namespace.map(str::to_owned),
        }
    }

    /// Returns the connection that a driver's actions of an interface go through.
    pub(crate) fn connection(
        &self,
        node: &NodeKey,
        interface: &str,
        family: Family,
        grants: &[Grant],
    ) -> Result<(&'a DocumentName, &ConnectionSettings), Vec<Diagnostic>> {
        let named = grants.iter().filter(|grant| grant.import == interface).find_map(|grant| grant.connection.as_ref());
        self.connections.of(family, named).map_err(|problem| vec![problem.on(node)])
    }

    /// Puts staged actions under a node, each with the grants of the driver that staged it.
    pub(crate) fn planned_actions<'g>(
        &self,
        node: &NodeKey,
        staged: impl IntoIterator<Item = (StagedAction, &'g [Grant])>,
        on_remove: Option<OnRemove>,
        namespace: Option<&str>,
    ) -> Result<Vec<PlannedAction>, Vec<Diagnostic>> {
        let staged = staged.into_iter();
        let mut actions = Vec::with_capacity(staged.size_hint().0);
        let (mut known, mut problems) = (BTreeSet::new(), Vec::new());
        for (action, grants) in staged {
            let Some(planner) = self.planners.get(&action.interface) else { continue };
            let (connection, settings) = self.connection(node, &action.interface, planner.descriptor().family, grants)?;
            let id = ActionId::new(node, &action.local);
            if !known.insert(id.clone()) {
                // Recorded state and generated secrets belong to the id.
                problems.push(
                    Diagnostic::error("duplicate-action", format!("`{}` is staged twice", printable(&action.local)))
                        .on(node)
                        .hint("names are unique inside a node, over all stages of a workload profile: give one of them another name"),
                );
                continue;
            }
            let mut depends_on: BTreeSet<ActionId> = action
                .after
                .iter()
                .map(|after| {
                    if after.contains(':') {
                        ActionId::new(node, after.rsplit(':').next().unwrap_or_default())
                    } else {
                        ActionId::new(node, after)
                    }
                })
                .collect();
            depends_on.extend(flows::origins(&action.spec));
            depends_on.remove(&id);
            let context = self.spec_context(node, namespace, settings.kind());
            actions.push(PlannedAction {
                identity: planner.identity(&action.spec, &id, &context),
                capability: action.interface.clone(),
                connection: connection.clone(),
                depends_on: depends_on.into_iter().collect(),
                rank: planner.rank(&action.spec),
                yields: planner.yields(&action.spec),
                holds_data: planner.holds_data(&action.spec),
                on_remove: OnRemove::Delete,
                change: windlass_model::plan::Change::None,
                fields: Vec::new(),
                spec: Spec::new(&action.spec).map_err(|error| vec![Diagnostic::error("canonical", error.to_string()).on(&id)])?,
                id,
            });
        }
        set_on_remove(&mut actions, on_remove, self.data_loss_allowed);
        if problems.is_empty() { Ok(actions) } else { Err(problems) }
    }
}

impl Cx<'_> {
    /// Lists what staged actions refer to by name.
    pub(crate) fn claims(&self, node: &NodeKey, staged: &[StagedAction], grants: &[Grant]) -> Vec<Claim> {
        let mut claims = Vec::new();
        let mut authorities: BTreeMap<&str, Arc<Authority>> = BTreeMap::new();
        for action in staged {
            let Some(planner) = self.planners.get(&action.interface) else { continue };
            for reference in planner.references(&action.spec) {
                let authority = authorities.entry(&action.interface).or_insert_with(|| Arc::new(Authority::of(grants, &action.interface)));
                claims.push(Claim { action: ActionId::new(node, &action.local), reference, authority: Arc::clone(authority) });
            }
        }
        claims
    }
}

/// What happens when nothing needs a node any more. Without a word in the definition, data and the
/// secrets that guard it stay, unless the environment type lets data go.
fn set_on_remove(actions: &mut [PlannedAction], written: Option<OnRemove>, data_loss_allowed: bool) {
    let holds_data = actions.iter().any(|action| action.holds_data);
    for action in actions {
        action.on_remove = match written {
            Some(written) => written,
            None if data_loss_allowed => OnRemove::Delete,
            None if action.holds_data || (holds_data && action.capability != OBJECTS) => OnRemove::Retain,
            None => OnRemove::Delete,
        };
    }
}
