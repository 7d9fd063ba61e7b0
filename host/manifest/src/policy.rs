//! The manifest policy: what a grant does not allow is refused while planning, whoever wrote the driver.

mod fields;
mod metadata;

use serde_json::Value;
use windlass_model::{
    Diagnostic,
    platform::{DeclaredKind, KindGrant, PolicyException, Scope},
    pointer, sealed,
};

use crate::{baseline, find, scope_of, shape};

pub(crate) use fields::each;
pub use metadata::{RESOURCE_LABEL, pod_marks};

/// What a manifest is checked against.
#[derive(Clone, Copy, Debug)]
pub struct PolicyContext<'a> {
    /// The application.
    pub application: &'a str,
    /// The environment.
    pub environment: &'a str,
    /// The workload that is rendered; none for a resource.
    pub workload: Option<&'a str>,
    /// The environment's namespace; absent for what makes it.
    pub namespace: Option<&'a str>,
    /// The object as an earlier stage of the same pipeline rendered it.
    pub before: Option<&'a Value>,
}

/// What a grant allows.
#[derive(Clone, Copy, Debug)]
pub struct PolicyInput<'a> {
    /// The listed kinds.
    pub kinds: &'a [KindGrant],
    /// Which rules are lifted.
    pub exceptions: &'a [PolicyException],
    /// Keys of labels and annotations beyond the ordinary ones.
    pub metadata: &'a [String],
}

const SECRET_TOKEN: &str = "kubernetes.io/service-account-token";

/// Checks one manifest; every breach is a finding.
#[must_use]
pub fn check(manifest: &Value, input: &PolicyInput<'_>, context: &PolicyContext<'_>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let text = |at: &str| pointer::find(manifest, at).and_then(Value::as_str);
    let (Some(api_version), Some(kind), Some(name)) = (text("/apiVersion"), text("/kind"), text("/metadata/name")) else {
        return vec![Diagnostic::error("manifest-shape", "a manifest needs `apiVersion`, `kind` and `metadata.name` as plain text")];
    };
    let declared: Vec<&DeclaredKind> =
        input.kinds.iter().filter_map(|grant| if let KindGrant::Declared(kind) = grant { Some(kind) } else { None }).collect();
    let Some(scope) = scope_of(manifest, &declared) else {
        return vec![
            Diagnostic::error("unknown-kind", format!("`{api_version}/{kind}` is not known"))
                .at("/kind")
                .hint("declare it in the grant: `{ apiVersion, kind, plural, scope }`"),
        ];
    };
    let listed = input.kinds.iter().any(|grant| match grant {
        KindGrant::Name(name) => *name == format!("{api_version}/{kind}"),
        KindGrant::Declared(known) => known.api_version == api_version && known.kind == kind,
    });
    let lifted = |exception: PolicyException| input.exceptions.contains(&exception);
    if !listed {
        problems.push(
            Diagnostic::error("kind-not-granted", format!("`{api_version}/{kind}` is not granted"))
                .at("/kind")
                .hint(format!("add `{api_version}/{kind}` to the grant's `kinds`")),
        );
    }
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    if group == "rbac.authorization.k8s.io" && !(listed && lifted(PolicyException::Rbac)) {
        problems.push(
            Diagnostic::error("policy-rbac", format!("a {kind} may not be staged"))
                .at("/kind")
                .hint("a grant lifts this with `allow: [rbac]`"),
        );
    }
    if matches!(group, "admissionregistration.k8s.io" | "apiregistration.k8s.io" | "apiextensions.k8s.io") {
        problems.push(
            Diagnostic::error("policy-cluster-extension", format!("a {kind} changes the cluster for everybody and is never staged"))
                .at("/kind"),
        );
    }
    match scope {
        Scope::Cluster if group != "rbac.authorization.k8s.io" && !lifted(PolicyException::ClusterScoped) => {
            problems.push(
                Diagnostic::error("policy-cluster-scoped", format!("a {kind} belongs to the whole cluster"))
                    .at("/kind")
                    .hint("a grant lifts this with `allow: [clusterScoped]`"),
            );
        }
        Scope::Cluster => {
            if pointer::find(manifest, "/metadata/namespace").is_some() {
                problems.push(Diagnostic::error("manifest-shape", format!("a {kind} has no namespace")).at("/metadata/namespace"));
            }
        }
        Scope::Namespaced => {
            check_namespace(text("/metadata/namespace"), context, lifted(PolicyException::ForeignNamespaces), &mut problems)
        }
    }
    let known_kind = if find(api_version, kind).is_some() { kind } else { "" };
    let pods = shape::pods(manifest, known_kind.is_empty());
    metadata::check(manifest, &pods, input, context, &mut problems);
    if name.starts_with("system:") || name.starts_with("kube-") {
        problems
            .push(Diagnostic::error("policy-system-name", format!("the name `{name}` belongs to the cluster itself")).at("/metadata/name"));
    }
    shape::check(manifest, api_version, kind, name, &mut problems);
    if kind == "Secret" && text("/type") == Some(SECRET_TOKEN) && !lifted(PolicyException::TokenSecrets) {
        problems.push(
            Diagnostic::error("policy-token-secret", "a Secret of this type would be filled with a service account's token")
                .at("/type")
                .hint("a grant lifts this with `allow: [tokenSecrets]`"),
        );
    }
    if kind == "Secret"
        && pointer::find(manifest, "/metadata/annotations/kubernetes.io~1service-account.name").is_some()
        && !lifted(PolicyException::TokenSecrets)
    {
        problems.push(Diagnostic::error("policy-token-secret", "a Secret may not name a service account").at("/metadata/annotations"));
    }
    if !lifted(PolicyException::PrivilegedPods) {
        for at in &pods {
            if let Some(pod) = pointer::find(manifest, at) {
                baseline::check(pod, at, &mut problems);
            }
        }
    }
    fields::check(manifest, known_kind, &pods, &lifted, &mut problems);
    check_known(manifest, known_kind, &pods, &lifted, &mut problems);
    problems
}

/// Whatever the policy goes by stands in the plan: a value that turns up later would never be looked at.
fn check_known(manifest: &Value, kind: &str, pods: &[String], lifted: &dyn Fn(PolicyException) -> bool, problems: &mut Vec<Diagnostic>) {
    sealed::visit(manifest, &mut |at, sealed| {
        let is_of_baseline = !lifted(PolicyException::PrivilegedPods) && baseline::decides(pods, at);
        if shape::is_naming(at) || is_of_baseline || fields::decides(kind, pods, lifted, at) {
            problems.push(
                Diagnostic::error(
                    "policy-unknown",
                    format!("{} is known only later, and what stands here decides what the object may do", sealed.display()),
                )
                .at(at)
                .hint("write it out; values that are known later may stand in names of images, variables, arguments and the like"),
            );
        }
    });
}

fn check_namespace(namespace: Option<&str>, context: &PolicyContext<'_>, foreign_allowed: bool, problems: &mut Vec<Diagnostic>) {
    match (namespace, context.namespace) {
        (Some(namespace), Some(own)) if namespace == own => {}
        (Some(namespace), _) if namespace.starts_with("kube-") => {
            problems.push(
                Diagnostic::error("policy-foreign-namespace", format!("the namespace `{namespace}` belongs to the cluster itself"))
                    .at("/metadata/namespace"),
            );
        }
        (Some(_), _) if foreign_allowed => {}
        (Some(namespace), own) => {
            let own = own.map_or_else(|| "that of the environment".to_owned(), |own| format!("`{own}`"));
            problems.push(
                Diagnostic::error("policy-foreign-namespace", format!("the namespace `{namespace}` is not {own}"))
                    .at("/metadata/namespace")
                    .hint("leave it out: the host puts the environment's namespace in"),
            );
        }
        (None, _) => {
            problems.push(Diagnostic::error("manifest-shape", "the object needs a namespace as plain text").at("/metadata/namespace"))
        }
    }
}

#[cfg(test)]
mod tests;
