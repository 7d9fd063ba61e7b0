//! The pure half of `windlass:kubernetes/objects`, for every sink of Kubernetes objects.

use serde_json::Value;
use windlass_engine::planner::{
    Authority, CapabilityDescriptor, KindDescriptor, MethodDescriptor, OutputDeclaration, Planner, SpecContext,
};
use windlass_manifest as manifest;
use windlass_model::{
    ActionId, Diagnostic,
    plan::Change,
    platform::{DeclaredKind, Family, KindGrant},
    pointer,
    reference::Reference,
    spec::Spec,
};

/// Plans Kubernetes objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct ObjectsPlanner;

static DESCRIPTOR: CapabilityDescriptor = CapabilityDescriptor {
    interface: "windlass:kubernetes/objects",
    version: "0.1.0",
    revision: 4,
    family: Family::Kubernetes,
    kinds: &[KindDescriptor { resource: "object", methods: &[MethodDescriptor { name: "field", argument: true }] }],
};

fn declared(authority: &Authority) -> Vec<&DeclaredKind> {
    authority.kinds.iter().filter_map(|grant| if let KindGrant::Declared(kind) = grant { Some(kind) } else { None }).collect()
}

fn check(spec: &Value, before: Option<&Value>, authority: &Authority, context: &SpecContext) -> Vec<Diagnostic> {
    let Authority { kinds, exceptions, metadata, .. } = authority;
    let input = manifest::PolicyInput { kinds, exceptions, metadata };
    let context = manifest::PolicyContext {
        application: &context.application,
        environment: &context.environment,
        workload: context.workload.as_deref(),
        namespace: context.namespace.as_deref(),
        before,
    };
    manifest::check(spec, &input, &context)
}

impl Planner for ObjectsPlanner {
    fn descriptor(&self) -> &'static CapabilityDescriptor {
        &DESCRIPTOR
    }

    fn normalise(&self, _: &str, spec: Value, authority: &Authority, context: &SpecContext) -> Value {
        manifest::normalise(spec, context.namespace.as_deref(), &declared(authority))
    }

    fn check(&self, spec: &Value, authority: &Authority, context: &SpecContext) -> Vec<Diagnostic> {
        check(spec, None, authority, context)
    }

    fn check_change(&self, spec: &Value, before: &Value, authority: &Authority, context: &SpecContext) -> Vec<Diagnostic> {
        check(spec, Some(before), authority, context)
    }

    fn references(&self, spec: &Value) -> Vec<Reference> {
        manifest::references(spec)
    }

    fn yields(&self, spec: &Value) -> Vec<String> {
        manifest::yields(spec)
    }

    fn marks(&self, spec: &Spec) -> Vec<String> {
        // Few objects have pods, and this is asked of each.
        let holds = |text| spec.as_str().contains(text);
        if holds("\"containers\":") && holds(manifest::RESOURCE_LABEL) { manifest::pod_marks(&spec.to_value()) } else { Vec::new() }
    }

    fn identity(&self, spec: &Value, _: &ActionId, _: &SpecContext) -> String {
        manifest::identity(spec)
    }

    fn holds_data(&self, spec: &Value) -> bool {
        manifest::holds_data(spec)
    }

    fn action_name(&self, name: &str, spec: &Value) -> String {
        // The namespace before it goes at the end, when everything has moved out of it.
        match (manifest::kind_of(spec).map(|kind| kind.kind), pointer::find(spec, "/metadata/name").and_then(Value::as_str)) {
            (Some("Namespace"), Some(own)) => format!("{name}.{own}"),
            _ => name.to_owned(),
        }
    }

    fn secret_sinks(&self, spec: &Value) -> Vec<&'static str> {
        manifest::secret_sinks(spec)
    }

    fn open_only(&self, _: &Value) -> Vec<&'static str> {
        manifest::open_only()
    }

    fn classify(&self, recorded: &Value, planned: &Value) -> Change {
        match manifest::why_replaced(recorded, planned) {
            Some(why) => Change::Replace { why },
            None => Change::Update,
        }
    }

    fn judge_change(&self, recorded: &Value, planned: &Value) -> Vec<Diagnostic> {
        manifest::refuse_change(recorded, planned).into_iter().collect()
    }

    fn rank(&self, spec: &Value) -> u16 {
        manifest::rank(spec)
    }

    fn output(
        &self,
        spec: &Value,
        method: &str,
        argument: Option<&str>,
        authority: &Authority,
        context: &SpecContext,
    ) -> Result<OutputDeclaration, Diagnostic> {
        let pointer = argument.unwrap_or_default();
        if method != "field" || !pointer.starts_with('/') {
            return Err(Diagnostic::error("field-pointer", format!("`{pointer}` is no JSON Pointer"))
                .hint("write it as `/status/loadBalancer/ingress/0/ip`"));
        }
        if context.connection_kind == "directory" {
            return Err(Diagnostic::error(
                "no-live-object",
                format!("`field(\"{pointer}\")` needs a live object, and this environment's objects go to a folder"),
            )
            .hint("use a Kubernetes connection, or yield a value that is known while planning"));
        }
        // Fields of a Secret are always secret; of kinds outside the table only what the grant names is open.
        let secret = match manifest::kind_of(spec) {
            Some(kind) => kind.kind == "Secret",
            None => {
                let is = |field: &str, wanted: &str| spec.get(field).and_then(Value::as_str) == Some(wanted);
                let declared = declared(authority);
                let mut of_kind = declared.iter().filter(|declared| is("apiVersion", &declared.api_version) && is("kind", &declared.kind));
                !of_kind.any(|declared| declared.readable.iter().any(|readable| readable == pointer))
            }
        };
        Ok(OutputDeclaration { output: pointer.to_owned(), secret, generated: false })
    }
}
