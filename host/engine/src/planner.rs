//! Planners: the pure half of each capability.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value;
use windlass_model::{
    ActionId, Diagnostic,
    plan::Change,
    platform::{Family, Grant, KindGrant, PolicyException},
    reference::Reference,
    spec::Spec,
};

/// The pure half of one interface: no client, no clock.
pub trait Planner: Send + Sync {
    /// Describes the interface: the recorder is driven by this table.
    fn descriptor(&self) -> &'static CapabilityDescriptor;
    /// Puts a spec into its one form: defaults that the context gives, no aliases, the resource's name where there are several.
    fn normalise(&self, resource: &str, spec: Value, authority: &Authority, context: &SpecContext) -> Value;
    /// Checks a normalised spec: shape, policy, grant.
    fn check(&self, spec: &Value, authority: &Authority, context: &SpecContext) -> Vec<Diagnostic>;
    /// Checks a normalised spec that a stage made of the one that an earlier stage rendered, with a grant of its own.
    fn check_change(&self, spec: &Value, _before: &Value, authority: &Authority, context: &SpecContext) -> Vec<Diagnostic> {
        self.check(spec, authority, context)
    }
    /// Lists what a normalised spec refers to by name without containing it.
    fn references(&self, _spec: &Value) -> Vec<Reference> {
        Vec::new()
    }
    /// Lists the identities of further things that the system makes for a normalised spec, which others may refer to.
    fn yields(&self, _spec: &Value) -> Vec<String> {
        Vec::new()
    }
    /// Lists the marks of a normalised spec by which others find it, such as the label by which a Service finds pods: one mark belongs to
    /// one node.
    fn marks(&self, _spec: &Spec) -> Vec<String> {
        Vec::new()
    }
    /// Returns what the system calls it; unique in its connection.
    fn identity(&self, spec: &Value, action: &ActionId, context: &SpecContext) -> String;
    /// Calls an action: as its driver does, or by the thing itself where another thing comes beside the one before it, not in its place.
    fn action_name(&self, name: &str, _spec: &Value) -> String {
        name.to_owned()
    }
    /// Tells whether losing it loses data.
    fn holds_data(&self, spec: &Value) -> bool;
    /// Lists patterns of pointers where secrets may stand.
    fn secret_sinks(&self, spec: &Value) -> Vec<&'static str>;
    /// Lists patterns of pointers where nothing sealed may stand: names, labels, selectors.
    fn open_only(&self, spec: &Value) -> Vec<&'static str>;
    /// Compares a recorded spec with a planned one.
    fn classify(&self, recorded: &Value, planned: &Value) -> Change;
    /// Judges a change: errors for what the system can make neither in place nor by a replacement, with the way to get there; warnings for
    /// what it keeps though the planned spec does not ask for it any more.
    fn judge_change(&self, _recorded: &Value, _planned: &Value) -> Vec<Diagnostic> {
        Vec::new()
    }
    /// Returns the JSON Schema of a resource's spec, where this build has one of its own.
    fn schema(&self, _resource: &str) -> Option<Value> {
        None
    }
    /// Tells whether a resource only reads what others may have changed: it is read anew in each deployment.
    fn reads(&self, _resource: &str) -> bool {
        false
    }
    /// Tells whether a new version of a secret in the spec becomes the valid one without locking anybody out.
    fn rotates(&self, _spec: &Value) -> bool {
        false
    }
    /// Orders actions that don't depend on each other; lower ones come first.
    fn rank(&self, spec: &Value) -> u16;
    /// Says what a method of a handle yields.
    fn output(
        &self,
        spec: &Value,
        method: &str,
        argument: Option<&str>,
        authority: &Authority,
        context: &SpecContext,
    ) -> Result<OutputDeclaration, Diagnostic>;
}

/// Describes one interface of a WIT package.
#[derive(Debug, PartialEq, Eq)]
pub struct CapabilityDescriptor {
    /// `windlass:kubernetes/objects`.
    pub interface: &'static str,
    /// The version of its package.
    pub version: &'static str,
    /// Counts changes of how its planner normalises and checks: earlier answers are not taken again.
    pub revision: u32,
    /// Which connection it acts through.
    pub family: Family,
    /// Its resources.
    pub kinds: &'static [KindDescriptor],
}

/// Describes one resource of an interface: all have `constructor(name, spec)`, `action()`, `after(action)`.
#[derive(Debug, PartialEq, Eq)]
pub struct KindDescriptor {
    /// `object`.
    pub resource: &'static str,
    /// The methods that yield values.
    pub methods: &'static [MethodDescriptor],
}

/// Describes one method that yields a value.
#[derive(Debug, PartialEq, Eq)]
pub struct MethodDescriptor {
    /// `field`.
    pub name: &'static str,
    /// Whether it takes a string.
    pub argument: bool,
}

/// What a method yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputDeclaration {
    /// The output's name in the action's record.
    pub output: String,
    /// Whether it is a secret.
    pub secret: bool,
    /// Whether the value is made by the action itself and counted by versions.
    pub generated: bool,
}

/// What a driver may do through an interface: the union of the grants that name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    /// Which Kubernetes kinds.
    pub kinds: Vec<KindGrant>,
    /// Which rules of the policy are lifted.
    pub exceptions: Vec<PolicyException>,
    /// Which paths of a store of secrets, beyond those of the environment.
    pub paths: Vec<String>,
    /// Which labels and annotations, beyond those that only describe.
    pub metadata: Vec<String>,
    /// Which objects may be referred to, beyond those of the node and its dependencies.
    pub uses: Vec<String>,
    /// Which host names, beyond those of the node's `dns` dependencies.
    pub hosts: Vec<String>,
    /// Which DNS records, as the grants write them.
    pub records: Vec<String>,
    /// The inputs that the definition's own text decides, without those that hold a value of a developer or another resource.
    pub inputs: Arc<Value>,
}

impl Authority {
    /// Joins the grants of an interface.
    #[must_use]
    pub fn of(grants: &[Grant], interface: &str) -> Self {
        let mut authority = Self::default();
        for grant in grants.iter().filter(|grant| grant.import == interface) {
            authority.kinds.extend_from_slice(&grant.kinds);
            authority.exceptions.extend_from_slice(&grant.allow);
            authority.paths.extend_from_slice(&grant.paths);
            authority.metadata.extend_from_slice(&grant.metadata);
            authority.uses.extend_from_slice(&grant.uses);
            authority.hosts.extend_from_slice(&grant.hosts);
            authority.records.extend_from_slice(&grant.records);
        }
        authority
    }
}

/// What a spec is seen against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecContext {
    /// The application.
    pub application: String,
    /// The environment.
    pub environment: String,
    /// The workload that is rendered; none for a resource.
    pub workload: Option<String>,
    /// The namespace, if it is known.
    pub namespace: Option<String>,
    /// The kind of the connection: `directory`, `kubernetes`.
    pub connection_kind: &'static str,
}

/// All planners, by interface; a clone is another handle on them.
#[derive(Clone, Default)]
pub struct Planners {
    planners: Arc<BTreeMap<&'static str, Arc<dyn Planner>>>,
    pub(crate) schemas: Arc<crate::schema::SchemaCache>,
}

impl Planners {
    /// Takes planners.
    #[must_use]
    pub fn new(planners: impl IntoIterator<Item = Arc<dyn Planner>>) -> Self {
        let planners: BTreeMap<_, _> = planners.into_iter().map(|planner| (planner.descriptor().interface, planner)).collect();
        Self { planners: Arc::new(planners), schemas: Arc::default() }
    }

    /// Returns the planner of an interface.
    #[must_use]
    pub fn get(&self, interface: &str) -> Option<&Arc<dyn Planner>> {
        self.planners.get(interface)
    }

    /// Returns the revisions of the rules of some interfaces: those of workloads' objects always count.
    #[must_use]
    pub fn revisions<'g>(&self, granted: impl Iterator<Item = &'g str>) -> BTreeMap<&'static str, u32> {
        granted
            .chain([crate::plan::OBJECTS])
            .filter_map(|interface| self.get(interface))
            .map(|planner| (planner.descriptor().interface, planner.descriptor().revision))
            .collect()
    }

    /// Lists the descriptors.
    pub fn descriptors(&self) -> impl Iterator<Item = &'static CapabilityDescriptor> + '_ {
        self.planners.values().map(|planner| planner.descriptor())
    }
}

impl fmt::Debug for Planners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.planners.keys()).finish()
    }
}

impl CapabilityDescriptor {
    /// Finds a resource.
    #[must_use]
    pub fn kind(&self, resource: &str) -> Option<&'static KindDescriptor> {
        self.kinds.iter().find(|kind| kind.resource == resource)
    }
}
