//! The built-in table of Kubernetes kinds.

use windlass_model::platform::Scope;

/// What is known of one kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The group, empty for the core.
    pub group: &'static str,
    /// The versions that are known.
    pub versions: &'static [&'static str],
    /// The kind.
    pub kind: &'static str,
    /// Its plural in URLs.
    pub plural: &'static str,
    /// Whether objects live in a namespace.
    pub scope: Scope,
    /// Order among objects that don't depend on each other.
    pub rank: u16,
}

const fn namespaced(group: &'static str, versions: &'static [&'static str], kind: &'static str, plural: &'static str, rank: u16) -> Kind {
    Kind { group, versions, kind, plural, scope: Scope::Namespaced, rank }
}

const fn cluster(group: &'static str, versions: &'static [&'static str], kind: &'static str, plural: &'static str, rank: u16) -> Kind {
    Kind { group, versions, kind, plural, scope: Scope::Cluster, rank }
}

const V1: &[&str] = &["v1"];

/// Order: namespaces, accounts and quotas, configuration and claims, services, workloads, scaling, routes.
static KINDS: &[Kind] = &[
    cluster("", V1, "Namespace", "namespaces", 0),
    cluster("apiextensions.k8s.io", V1, "CustomResourceDefinition", "customresourcedefinitions", 5),
    cluster("scheduling.k8s.io", V1, "PriorityClass", "priorityclasses", 5),
    cluster("storage.k8s.io", V1, "StorageClass", "storageclasses", 5),
    cluster("rbac.authorization.k8s.io", V1, "ClusterRole", "clusterroles", 8),
    cluster("rbac.authorization.k8s.io", V1, "ClusterRoleBinding", "clusterrolebindings", 9),
    cluster("admissionregistration.k8s.io", V1, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", 90),
    cluster("admissionregistration.k8s.io", V1, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", 90),
    cluster("apiregistration.k8s.io", V1, "APIService", "apiservices", 90),
    cluster("", V1, "PersistentVolume", "persistentvolumes", 20),
    cluster("gateway.networking.k8s.io", &["v1", "v1beta1"], "GatewayClass", "gatewayclasses", 5),
    namespaced("", V1, "ServiceAccount", "serviceaccounts", 10),
    namespaced("", V1, "ResourceQuota", "resourcequotas", 10),
    namespaced("", V1, "LimitRange", "limitranges", 10),
    namespaced("rbac.authorization.k8s.io", V1, "Role", "roles", 11),
    namespaced("rbac.authorization.k8s.io", V1, "RoleBinding", "rolebindings", 12),
    namespaced("networking.k8s.io", V1, "NetworkPolicy", "networkpolicies", 15),
    namespaced("", V1, "Secret", "secrets", 20),
    namespaced("", V1, "ConfigMap", "configmaps", 20),
    namespaced("", V1, "PersistentVolumeClaim", "persistentvolumeclaims", 20),
    namespaced("", V1, "Service", "services", 30),
    namespaced("", V1, "Endpoints", "endpoints", 31),
    namespaced("discovery.k8s.io", V1, "EndpointSlice", "endpointslices", 31),
    namespaced("apps", V1, "Deployment", "deployments", 40),
    namespaced("apps", V1, "StatefulSet", "statefulsets", 40),
    namespaced("apps", V1, "DaemonSet", "daemonsets", 40),
    namespaced("apps", V1, "ReplicaSet", "replicasets", 40),
    namespaced("", V1, "Pod", "pods", 40),
    namespaced("", V1, "ReplicationController", "replicationcontrollers", 40),
    namespaced("batch", V1, "Job", "jobs", 41),
    namespaced("batch", V1, "CronJob", "cronjobs", 41),
    namespaced("policy", V1, "PodDisruptionBudget", "poddisruptionbudgets", 45),
    namespaced("autoscaling", &["v2", "v1"], "HorizontalPodAutoscaler", "horizontalpodautoscalers", 45),
    namespaced("gateway.networking.k8s.io", &["v1", "v1beta1"], "Gateway", "gateways", 70),
    namespaced("gateway.networking.k8s.io", &["v1", "v1beta1"], "HTTPRoute", "httproutes", 75),
    namespaced("gateway.networking.k8s.io", V1, "GRPCRoute", "grpcroutes", 75),
    namespaced("gateway.networking.k8s.io", &["v1beta1"], "ReferenceGrant", "referencegrants", 70),
    namespaced("networking.k8s.io", V1, "Ingress", "ingresses", 75),
];

/// Finds a kind.
#[must_use]
pub fn find(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    KINDS.iter().find(|known| known.kind == kind && known.group == group && known.versions.contains(&version))
}
