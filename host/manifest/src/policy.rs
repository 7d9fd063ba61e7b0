//! The manifest policy: what a grant does not allow is refused while planning, whoever wrote the driver.

use serde_json::Value;
use windlass_model::{
    Diagnostic,
    platform::{DeclaredKind, KindGrant, PolicyException, Scope},
    pointer, sealed,
};

use crate::{baseline, find, scope_of, shape};

/// What a manifest is checked against.
#[derive(Clone, Copy, Debug)]
pub struct PolicyContext<'a> {
    /// The environment's namespace; absent for what makes it.
    pub namespace: Option<&'a str>,
}

/// What a grant allows.
#[derive(Clone, Copy, Debug)]
pub struct PolicyInput<'a> {
    /// The listed kinds.
    pub kinds: &'a [KindGrant],
    /// Built-in namespaced kinds are allowed without being listed: workloads.
    pub namespaced_kinds: bool,
    /// Which rules are lifted.
    pub exceptions: &'a [PolicyException],
}

/// Labels and annotations that only the host writes.
const OUR_PREFIX: &str = "windlass.dev/";
/// The ones of them that drivers do write: what selectors carry, and what explains.
const OURS_ALLOWED: [&str; 5] =
    ["windlass.dev/application", "windlass.dev/environment", "windlass.dev/workload", "windlass.dev/resource", "windlass.dev/fingerprint"];
/// Marks of other owners.
const FOREIGN_PREFIXES: [&str; 4] =
    ["argocd.argoproj.io/tracking-id", "kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name", "meta.helm.sh/release-"];
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
    let always = input.namespaced_kinds && scope == Scope::Namespaced && find(api_version, kind).is_some();
    if !listed && !always {
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
    check_metadata(manifest, &mut problems);
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
        for at in shape::PODS {
            if let Some(pod) = pointer::find(manifest, at).filter(|pod| pod.get("containers").is_some()) {
                baseline::check(pod, at, &mut problems);
            }
        }
    }
    check_known(manifest, lifted(PolicyException::PrivilegedPods), &mut problems);
    problems
}

/// Whatever the policy goes by stands in the plan: a value that turns up later would never be looked at.
fn check_known(manifest: &Value, any_pod: bool, problems: &mut Vec<Diagnostic>) {
    sealed::visit(manifest, &mut |at, sealed| {
        if shape::is_naming(at) || !any_pod && baseline::decides(manifest, at) {
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

fn check_metadata(manifest: &Value, problems: &mut Vec<Diagnostic>) {
    let metadata = manifest.get("metadata");
    for field in
        ["finalizers", "ownerReferences", "managedFields", "generateName", "uid", "resourceVersion", "creationTimestamp", "selfLink"]
    {
        if metadata.is_some_and(|metadata| metadata.get(field).is_some()) {
            problems.push(Diagnostic::error("policy-metadata", format!("`{field}` may not be set")).at(format!("/metadata/{field}")));
        }
    }
    for (base, metadata) in shape::metadata(manifest) {
        // What is made of a template is not held back, nor tied to others.
        for field in ["finalizers", "ownerReferences"].into_iter().filter(|_| base != "/metadata") {
            if metadata.get(field).is_some_and(|value| !value.is_null()) {
                problems.push(Diagnostic::error("policy-metadata", format!("`{field}` may not be set")).at(format!("{base}/{field}")));
            }
        }
        for field in ["labels", "annotations"] {
            let Some(entries) = metadata.get(field).and_then(Value::as_object) else { continue };
            for key in entries.keys() {
                let place = || format!("{base}/{field}/{}", pointer::escape(key));
                if key.starts_with(OUR_PREFIX) && !OURS_ALLOWED.contains(&key.as_str()) {
                    problems.push(Diagnostic::error("policy-our-label", format!("`{key}` is written by the host alone")).at(place()));
                }
                if FOREIGN_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
                    problems.push(
                        Diagnostic::error("policy-foreign-mark", format!("`{key}` would hand the object to another tool")).at(place()),
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_model::sealed::{Encoding, Origin, Part, Sealed, SealedPart};

    use super::*;

    const CONTEXT: PolicyContext<'_> = PolicyContext { namespace: Some("shop-dev") };

    fn workload(manifest: Value) -> Vec<String> {
        check(&manifest, &PolicyInput { kinds: &[], namespaced_kinds: true, exceptions: &[] }, &CONTEXT)
            .iter()
            .map(|problem| format!("{} {}", problem.code, problem.pointer))
            .collect()
    }

    fn pod(spec: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop-dev"}, "spec": {"template": {"spec": spec}}})
    }

    #[test]
    fn refuses_what_would_reach_beyond_the_namespace() {
        let object = |api: &str, kind: &str, more: Value| {
            let mut value = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x", "namespace": "shop-dev"}});
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            value
        };
        let cases = [
            object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", json!({"metadata": {"name": "x"}})),
            object("rbac.authorization.k8s.io/v1", "RoleBinding", json!({})),
            object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", json!({"metadata": {"name": "x"}})),
            object("v1", "Namespace", json!({"metadata": {"name": "other"}})),
            object("v1", "Secret", json!({"type": "kubernetes.io/service-account-token"})),
            object("v1", "ConfigMap", json!({"metadata": {"name": "x", "namespace": "kube-system"}})),
            object("v1", "ConfigMap", json!({"metadata": {"name": "x", "namespace": "other"}})),
            object("v1", "ConfigMap", json!({"metadata": {"name": "x", "namespace": "shop-dev", "labels": {"windlass.dev/owner": "me"}}})),
            object(
                "v1",
                "ConfigMap",
                json!({"metadata": {"name": "x", "namespace": "shop-dev", "finalizers": ["a/b"], "ownerReferences": []}}),
            ),
            object(
                "v1",
                "ConfigMap",
                json!({"metadata": {"name": "x", "namespace": "shop-dev", "annotations": {"argocd.argoproj.io/tracking-id": "x"}}}),
            ),
            object("example.com/v1", "Widget", json!({})),
            pod(
                json!({"hostNetwork": true, "containers": [{"securityContext": {"privileged": true, "capabilities": {"add": ["SYS_ADMIN", "NET_BIND_SERVICE"]}}, "ports": [{"hostPort": 80}]}], "volumes": [{"hostPath": {"path": "/"}}]}),
            ),
            pod(json!({
                "securityContext": {
                    "seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}, "seLinuxOptions": {"user": "root", "type": "spc_t"},
                    "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": "kernel.msgmax", "value": "1"}], "windowsOptions": {"hostProcess": true},
                },
                "containers": [{
                    "securityContext": {"procMount": "Unmasked", "seccompProfile": {"type": "Unconfined"}},
                    "livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}, "lifecycle": {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}},
                }],
            })),
            object(
                "apps/v1",
                "StatefulSet",
                json!({"spec": {
                    "template": {"metadata": {"finalizers": ["a/b"]}, "spec": {"containers": []}},
                    "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"windlass.dev/owner": "me"}, "ownerReferences": []}}],
                }}),
            ),
            object("batch/v1", "CronJob", json!({"spec": {"jobTemplate": {"metadata": {"annotations": {"windlass.dev/mark": "x"}}}}})),
            json!({"apiVersion": "v1", "kind": "ConfigMap"}),
            object("v1", "ConfigMap", json!({"metadata": {"name": "Not Valid", "namespace": "shop-dev", "labels": {"a": "sha256:x"}}})),
        ];
        insta::assert_json_snapshot!(cases.map(workload));
    }

    #[test]
    fn pods_of_declared_kinds_are_pods() {
        let declared = json!([{ "apiVersion": "v1", "kind": "PodTemplate", "plural": "podtemplates", "scope": "Namespaced" }]);
        let kinds: Vec<KindGrant> = serde_json::from_value(declared).unwrap();
        let template = json!({
            "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x", "namespace": "shop-dev"},
            "template": {"metadata": {"labels": {"windlass.dev/owner": "me"}}, "spec": {"hostPID": true, "containers": []}},
        });
        let found = check(&template, &PolicyInput { kinds: &kinds, namespaced_kinds: false, exceptions: &[] }, &CONTEXT);
        let found: Vec<String> = found.iter().map(|problem| format!("{} {}", problem.code, problem.pointer)).collect();
        assert_eq!(
            found,
            ["policy-our-label /template/metadata/labels/windlass.dev~1owner", "policy-privileged-pod /template/spec/hostPID"]
        );
    }

    #[test]
    fn accepts_near_misses() {
        assert!(workload(pod(json!({"hostNetwork": false, "containers": [{"securityContext": {"privileged": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}, "ports": [{"containerPort": 80}]}], "volumes": [{"emptyDir": {}}]}))).is_empty());
        assert!(workload(json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": "x", "namespace": "shop-dev", "labels": {"windlass.dev/workload": "web"}}})).is_empty());
    }

    /// A value that is known only when something else is made, as plans write it.
    fn later() -> Value {
        let origin = Origin::Output { node: "a.default#b".parse().unwrap(), name: "paused".into() };
        Sealed::new([Part::Sealed(Box::new(SealedPart { origin, secret: false, encoding: Encoding::Json }))]).to_json()
    }

    #[test]
    fn what_the_policy_goes_by_is_known_while_planning() {
        let mut spec = json!({"containers": [{"image": later(), "env": [{"name": "A", "value": later()}], "ports": [{"containerPort": later()}]}], "nodeSelector": {"a": later()}});
        assert!(workload(pod(spec.clone())).is_empty(), "{:?}", workload(pod(spec)));
        for (at, value) in [
            ("/hostNetwork", later()),
            ("/volumes", later()),
            ("/volumes", json!([later()])),
            ("/volumes", json!([{"hostPath": {"path": later()}}])),
            ("/securityContext", later()),
            ("/containers", later()),
            ("/containers/0", later()),
            ("/containers/0/securityContext", later()),
            ("/containers/0/securityContext", json!({"privileged": later()})),
            ("/containers/0/securityContext", json!({"capabilities": {"add": [later()]}})),
            ("/containers/0/ports", later()),
            ("/containers/0/ports", json!([{"hostPort": later()}])),
            ("/containers/0/livenessProbe", json!({"httpGet": {"host": later()}})),
            ("/initContainers", later()),
        ] {
            spec = json!({"containers": [{"image": "web:1"}]});
            match at.rsplit_once("/containers/0").map(|(_, rest)| rest.trim_start_matches('/')) {
                Some("") => spec["containers"][0] = value,
                Some(field) => spec["containers"][0][field] = value,
                None => spec[&at[1..]] = value,
            }
            let found = workload(pod(spec.clone()));
            assert!(found.iter().any(|problem| problem.starts_with("policy-")), "{at} passes: {spec}");
            let allowed = PolicyInput { kinds: &[], namespaced_kinds: true, exceptions: &[PolicyException::PrivilegedPods] };
            assert!(check(&pod(spec), &allowed, &CONTEXT).is_empty(), "{at} is refused where a grant lifts it");
        }
        let deployment = |more: Value| {
            let mut value = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x", "namespace": "shop-dev"}});
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            workload(value)
        };
        for whole in [
            json!({"spec": later()}),
            json!({"spec": {"jobTemplate": later()}}),
            json!({"spec": {"jobTemplate": {"spec": {"template": later()}}}}),
            json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": later()}}}}}),
            json!({"metadata": {"name": "x", "namespace": "shop-dev", "annotations": later()}}),
            json!({"spec": {"jobTemplate": {"spec": {"template": {"metadata": later()}}}}}),
            json!({"spec": {"volumeClaimTemplates": later()}}),
            json!({"spec": {"volumeClaimTemplates": [later()]}}),
            json!({"spec": {"volumeClaimTemplates": [{"metadata": {"labels": later()}}]}}),
        ] {
            assert!(deployment(whole.clone()).iter().any(|problem| problem.starts_with("policy-unknown")), "{whole}");
        }
    }
}
