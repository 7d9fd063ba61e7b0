//! Which fields of built-in kinds ordinary workloads need, and which exception of a grant lifts each of the others.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use serde_json::Value;
use windlass_model::{
    Diagnostic,
    platform::PolicyException,
    pointer::{self, Pointer},
};

/// The ordinary fields of one place of some kinds. `*` in the place stands for each item of a list.
struct Ordinary {
    kinds: &'static [&'static str],
    at: &'static str,
    fields: &'static [&'static str],
}

/// A field that is refused, or some values of it, and the exception that lifts this.
struct Rule {
    kinds: &'static [&'static str],
    at: &'static str,
    refuses: fn(&Value) -> bool,
    lifted_by: PolicyException,
    why: &'static str,
}

/// Stands in the tables for the pods of all kinds: places are relative to the pod.
const POD_KIND: &str = "(pod)";
const POD: &[&str] = &[POD_KIND];

const fn ordinary(kinds: &'static [&'static str], at: &'static str, fields: &'static [&'static str]) -> Ordinary {
    Ordinary { kinds, at, fields }
}

const fn refused(
    kinds: &'static [&'static str],
    at: &'static str,
    refuses: fn(&Value) -> bool,
    lifted_by: PolicyException,
    why: &'static str,
) -> Rule {
    Rule { kinds, at, refuses, lifted_by, why }
}

const CONTAINER: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "securityContext",
    "startupProbe",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeMounts",
    "workingDir",
];

const CLAIM: &[&str] = &["accessModes", "resources", "storageClassName", "volumeAttributesClassName", "volumeMode"];

#[rustfmt::skip]
static ORDINARY: &[Ordinary] = &[
    ordinary(POD, "", &[
        "activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "containers", "dnsConfig", "dnsPolicy", "enableServiceLinks",
        "hostAliases", "hostname", "imagePullSecrets", "initContainers", "nodeSelector", "os", "readinessGates", "restartPolicy", "securityContext",
        "serviceAccount", "serviceAccountName", "setHostnameAsFQDN", "subdomain", "terminationGracePeriodSeconds", "tolerations",
        "topologySpreadConstraints", "volumes",
        // Judged by the rules of Pod Security.
        "ephemeralContainers", "hostIPC", "hostNetwork", "hostPID",
    ]),
    ordinary(POD, "/containers/*", CONTAINER),
    ordinary(POD, "/initContainers/*", CONTAINER),
    ordinary(POD, "/volumes/*", &[
        "configMap", "downwardAPI", "emptyDir", "name", "persistentVolumeClaim", "projected", "secret",
        // Judged by the rules of Pod Security.
        "hostPath",
    ]),
    ordinary(POD, "/volumes/*/projected/sources/*", &["configMap", "downwardAPI", "secret", "serviceAccountToken"]),
    ordinary(&["Service"], "/spec", &[
        "allocateLoadBalancerNodePorts", "clusterIP", "clusterIPs", "externalTrafficPolicy", "internalTrafficPolicy", "ipFamilies",
        "ipFamilyPolicy", "loadBalancerClass", "loadBalancerSourceRanges", "ports", "publishNotReadyAddresses", "selector", "sessionAffinity",
        "sessionAffinityConfig", "trafficDistribution", "type",
    ]),
    ordinary(&["Deployment"], "/spec", &[
        "minReadySeconds", "paused", "progressDeadlineSeconds", "replicas", "revisionHistoryLimit", "selector", "strategy", "template",
    ]),
    ordinary(&["StatefulSet"], "/spec", &[
        "minReadySeconds", "ordinals", "persistentVolumeClaimRetentionPolicy", "podManagementPolicy", "replicas", "revisionHistoryLimit",
        "selector", "serviceName", "template", "updateStrategy", "volumeClaimTemplates",
    ]),
    ordinary(&["DaemonSet"], "/spec", &["minReadySeconds", "revisionHistoryLimit", "selector", "template", "updateStrategy"]),
    ordinary(&["ReplicaSet", "ReplicationController"], "/spec", &["minReadySeconds", "replicas", "selector", "template"]),
    ordinary(&["Job"], "/spec", JOB),
    ordinary(&["CronJob"], "/spec", &[
        "concurrencyPolicy", "failedJobsHistoryLimit", "jobTemplate", "schedule", "startingDeadlineSeconds", "successfulJobsHistoryLimit",
        "suspend", "timeZone",
    ]),
    ordinary(&["CronJob"], "/spec/jobTemplate/spec", JOB),
    ordinary(&["Ingress"], "/spec", &["defaultBackend", "ingressClassName", "rules", "tls"]),
    ordinary(&["Ingress"], "/spec/defaultBackend", &["service"]),
    ordinary(&["Ingress"], "/spec/rules/*/http/paths/*/backend", &["service"]),
    ordinary(&["NetworkPolicy"], "/spec", &["egress", "ingress", "podSelector", "policyTypes"]),
    ordinary(&["PodDisruptionBudget"], "/spec", &["maxUnavailable", "minAvailable", "selector", "unhealthyPodEvictionPolicy"]),
    ordinary(&["HorizontalPodAutoscaler"], "/spec", &[
        "behavior", "maxReplicas", "metrics", "minReplicas", "scaleTargetRef", "targetCPUUtilizationPercentage",
    ]),
    ordinary(&["PersistentVolumeClaim"], "/spec", CLAIM),
    ordinary(&["StatefulSet"], "/spec/volumeClaimTemplates/*/spec", CLAIM),
    ordinary(&["Gateway"], "/spec", &["gatewayClassName", "infrastructure", "listeners"]),
    ordinary(&["Gateway"], "/spec/infrastructure", &["annotations", "labels"]),
    ordinary(&["Gateway"], "/spec/listeners/*", &["allowedRoutes", "hostname", "name", "port", "protocol", "tls"]),
    ordinary(&["HTTPRoute", "GRPCRoute"], "/spec", &["hostnames", "parentRefs", "rules"]),
    ordinary(&["HTTPRoute", "GRPCRoute"], "/spec/rules/*/filters/*", FILTER),
    ordinary(&["HTTPRoute", "GRPCRoute"], "/spec/rules/*/backendRefs/*/filters/*", FILTER),
    ordinary(&["ServiceAccount"], "", &["apiVersion", "automountServiceAccountToken", "imagePullSecrets", "kind", "metadata", "secrets"]),
];

const JOB: &[&str] = &[
    "activeDeadlineSeconds",
    "backoffLimit",
    "backoffLimitPerIndex",
    "completionMode",
    "completions",
    "manualSelector",
    "maxFailedIndexes",
    "parallelism",
    "podFailurePolicy",
    "podReplacementPolicy",
    "selector",
    "successPolicy",
    "suspend",
    "template",
    "ttlSecondsAfterFinished",
];

const FILTER: &[&str] =
    &["cors", "requestHeaderModifier", "requestMirror", "requestRedirect", "responseHeaderModifier", "type", "urlRewrite"];

/// Places whose value says which objects are referred to: a value that is known only later may not stand there as a whole.
static REFERRING: [Ordinary; 11] = [
    ordinary(POD, "/containers/*/env/*", &["valueFrom"]),
    ordinary(POD, "/containers/*/envFrom/*", &[]),
    ordinary(POD, "/initContainers/*/env/*", &["valueFrom"]),
    ordinary(POD, "/initContainers/*/envFrom/*", &[]),
    ordinary(POD, "/imagePullSecrets/*", &[]),
    ordinary(POD, "/volumes/*", &["secret", "projected", "persistentVolumeClaim"]),
    ordinary(POD, "/volumes/*/projected/sources/*", &["secret"]),
    ordinary(&["Ingress"], "/spec/tls/*", &[]),
    ordinary(&["Gateway"], "/spec/listeners/*/tls/certificateRefs/*", &[]),
    ordinary(&["ServiceAccount"], "/secrets/*", &[]),
    ordinary(&["ServiceAccount"], "/imagePullSecrets/*", &[]),
];

use PolicyException::{ExternalAddresses, ForeignNamespaces, OtherFields, Scheduling, TokenAudiences, Volumes};

#[rustfmt::skip]
static RULES: &[Rule] = &[
    refused(&["Service"], "/spec/type", |kind| !matches!(kind.as_str(), Some("ClusterIP")), ExternalAddresses, "a Service is reached from inside the cluster only"),
    refused(&["Service"], "/spec/externalIPs", is_set, ExternalAddresses, "a Service may not take addresses that are not its own"),
    refused(&["Service"], "/spec/externalName", is_set, ExternalAddresses, "a Service may not stand for a host of its choice"),
    refused(&["Service"], "/spec/loadBalancerIP", is_set, ExternalAddresses, "a Service may not choose its address"),
    refused(&["Service"], "/spec/clusterIP", |ip| !matches!(ip.as_str(), Some("" | "None")), ExternalAddresses, "a Service may not choose its address"),
    refused(&["Service"], "/spec/clusterIPs/*", |ip| !matches!(ip.as_str(), Some("" | "None")), ExternalAddresses, "a Service may not choose its address"),
    refused(&["Service"], "/spec/ports/*/nodePort", |port| port.as_u64() != Some(0), ExternalAddresses, "a Service may not open ports of the nodes"),
    refused(&["Endpoints", "EndpointSlice"], "", is_set, ExternalAddresses, "endpoints send the traffic of a Service to addresses of their choice"),
    refused(&["Gateway"], "/spec/addresses", is_set, ExternalAddresses, "a Gateway may not choose its address"),
    refused(&["Gateway"], "/spec/listeners/*/allowedRoutes/namespaces/from", |from| from.as_str() != Some("Same"), ForeignNamespaces, "a Gateway takes routes of its own namespace only"),
    refused(&["ReferenceGrant"], "", is_set, ForeignNamespaces, "a ReferenceGrant opens the namespace to others"),
    refused(&["PersistentVolumeClaim"], "/spec/volumeName", is_set, Volumes, "a claim may not choose its volume"),
    refused(&["PersistentVolumeClaim"], "/spec/selector", is_set, Volumes, "a claim may not choose its volume"),
    refused(&["PersistentVolumeClaim"], "/spec/dataSource", is_set, Volumes, "a claim may not copy the data of another"),
    refused(&["PersistentVolumeClaim"], "/spec/dataSourceRef", is_set, Volumes, "a claim may not copy the data of another"),
    refused(&["StatefulSet"], "/spec/volumeClaimTemplates/*/spec/volumeName", is_set, Volumes, "a claim may not choose its volume"),
    refused(&["StatefulSet"], "/spec/volumeClaimTemplates/*/spec/selector", is_set, Volumes, "a claim may not choose its volume"),
    refused(&["StatefulSet"], "/spec/volumeClaimTemplates/*/spec/dataSource", is_set, Volumes, "a claim may not copy the data of another"),
    refused(&["StatefulSet"], "/spec/volumeClaimTemplates/*/spec/dataSourceRef", is_set, Volumes, "a claim may not copy the data of another"),
    refused(POD, "/volumes/*", is_special_volume, Volumes, "a pod mounts volumes of its own namespace's objects only"),
    refused(POD, "/volumes/*/projected/sources/*/clusterTrustBundle", is_set, OtherFields, "a pod mounts objects of its own namespace only"),
    refused(POD, "/volumes/*/projected/sources/*/serviceAccountToken/audience", is_set, TokenAudiences, "a token of a pod is for the API server only"),
    refused(POD, "/nodeName", is_set, Scheduling, "a pod may not choose its node"),
    refused(POD, "/priority", is_set, Scheduling, "a pod may not choose its priority"),
    refused(POD, "/priorityClassName", is_set, Scheduling, "a pod may not choose its priority"),
    refused(POD, "/preemptionPolicy", is_set, Scheduling, "a pod may not choose its priority"),
    refused(POD, "/runtimeClassName", is_set, Scheduling, "a pod may not choose its runtime"),
    refused(POD, "/schedulerName", |name| name.as_str() != Some("default-scheduler"), Scheduling, "a pod may not choose its scheduler"),
    refused(POD, "/tolerations/*", tolerates_any, Scheduling, "a pod may not tolerate every taint, nor those of the cluster's own nodes"),
];

fn is_set(value: &Value) -> bool {
    !value.is_null()
}

/// Volumes that are neither in the table of ordinary ones nor judged elsewhere.
fn is_special_volume(volume: &Value) -> bool {
    const KNOWN: [&str; 8] = ["configMap", "downwardAPI", "emptyDir", "hostPath", "name", "persistentVolumeClaim", "projected", "secret"];
    volume.as_object().is_some_and(|fields| fields.keys().any(|field| !KNOWN.contains(&field.as_str())))
}

/// Taints whose toleration only says how long a pod stays on a node in trouble.
const TROUBLES: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
/// Domains of taints by which Kubernetes keeps pods off nodes.
const SYSTEM_TAINTS: [&str; 3] = ["node-role.kubernetes.io/", "node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"];

fn tolerates_any(toleration: &Value) -> bool {
    match toleration.get("key").map(Value::as_str) {
        None | Some(None | Some("")) => true,
        Some(Some(key)) => SYSTEM_TAINTS.iter().any(|domain| key.starts_with(domain)) && !TROUBLES.contains(&key),
    }
}

/// What the tables say about one kind; about pods, under [`POD`].
#[derive(Default)]
struct Tables {
    rules: Vec<&'static Rule>,
    ordinary: Vec<&'static Ordinary>,
    referring: Vec<&'static Ordinary>,
}

/// The tables by kind: each object is of one kind, and the tables are about many.
static BY_KIND: LazyLock<BTreeMap<&'static str, Tables>> = LazyLock::new(|| {
    let mut by_kind: BTreeMap<&'static str, Tables> = BTreeMap::new();
    for rule in RULES {
        rule.kinds.iter().for_each(|kind| by_kind.entry(kind).or_default().rules.push(rule));
    }
    for table in ORDINARY {
        table.kinds.iter().for_each(|kind| by_kind.entry(kind).or_default().ordinary.push(table));
    }
    for table in &REFERRING {
        table.kinds.iter().for_each(|kind| by_kind.entry(kind).or_default().referring.push(table));
    }
    by_kind
});

/// Returns the tables that apply to an object, each with where: at the object itself, or at each pod in it.
fn tables<'p>(kind: &str, pods: &'p [String]) -> impl Iterator<Item = (&'p str, &'static Tables)> {
    let of_pods = BY_KIND.get(POD_KIND).into_iter().flat_map(move |tables| pods.iter().map(move |pod| (pod.as_str(), tables)));
    BY_KIND.get(kind).map(|tables| ("", tables)).into_iter().chain(of_pods)
}

/// Checks the fields of an object of a built-in kind (`kind` is empty for another), and of the pods in it.
pub(super) fn check(
    manifest: &Value,
    kind: &str,
    pods: &[String],
    lifted: &dyn Fn(PolicyException) -> bool,
    problems: &mut Vec<Diagnostic>,
) {
    let tables: Vec<(Place<'_>, &Value, &Tables)> = tables(kind, pods)
        .filter_map(|(base, tables)| Some((Place { base, below: Pointer::Root }, pointer::find(manifest, base)?, tables)))
        .collect();
    for (base, start, tables) in &tables {
        for rule in tables.rules.iter().filter(|rule| !lifted(rule.lifted_by)) {
            descend(start, *base, rule.at, &mut |at, value| {
                if !value.is_null() && (rule.refuses)(value) && !is_sealed(value) {
                    problems.push(refusal(rule.why.to_owned(), &at.to_string(), rule.lifted_by));
                }
            });
        }
    }
    for (base, start, tables) in &tables {
        for table in tables.ordinary.iter().filter(|_| !lifted(OtherFields)) {
            descend(start, *base, table.at, &mut |at, value| {
                let fields = value.as_object().filter(|_| !is_sealed(value)).into_iter().flatten();
                for (field, _) in fields.filter(|(field, value)| !table.fields.contains(&field.as_str()) && !value.is_null()) {
                    if !has_rule(table, field) {
                        let at = format!("{at}/{}", pointer::escape(field));
                        problems.push(refusal(format!("`{field}` is no field that ordinary workloads need"), &at, OtherFields));
                    }
                }
            });
        }
    }
}

/// Returns whether a rule of its own judges a field, or the item that holds it.
fn has_rule(table: &Ordinary, field: &str) -> bool {
    RULES
        .iter()
        .filter(|rule| rule.kinds == table.kinds || rule.kinds.iter().any(|kind| table.kinds.contains(kind)))
        .any(|rule| rule.at == table.at || rule.at.strip_prefix(table.at).and_then(|rest| rest.strip_prefix('/')) == Some(field))
}

fn refusal(why: String, at: &str, lifted_by: PolicyException) -> Diagnostic {
    let name = serde_json::to_value(lifted_by).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
    Diagnostic::error("policy-field", why).at(at).hint(format!("a grant lifts this with `allow: [{name}]`"))
}

/// Returns whether a value that is known only later would decide what these tables judge.
pub(super) fn decides(kind: &str, pods: &[String], lifted: &dyn Fn(PolicyException) -> bool, at: &str) -> bool {
    let judges = |below: &str, tables: &Tables| {
        tables.ordinary.iter().filter(|_| !lifted(OtherFields)).any(|table| is_above(below, table.at, None))
            || tables.rules.iter().filter(|rule| !lifted(rule.lifted_by)).any(|rule| is_above(below, rule.at, None))
            || tables
                .referring
                .iter()
                .any(|table| is_above(below, table.at, None) || table.fields.iter().any(|field| is_above(below, table.at, Some(field))))
    };
    tables(kind, pods).any(|(base, tables)| match below(at, base) {
        Some(below) => judges(below, tables) || !lifted(Scheduling) && !base.is_empty() && below.starts_with("/tolerations/"),
        // The place holds the whole base.
        None => base.strip_prefix(at).is_some_and(|rest| rest.starts_with('/')),
    })
}

/// Returns the rest of a pointer below a base.
fn below<'a>(at: &'a str, base: &str) -> Option<&'a str> {
    at.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether a place holds a place of a pattern, or is one; the pattern may go on with a field.
fn is_above(at: &str, pattern: &str, field: Option<&str>) -> bool {
    let mut wanted = pointer::raw_steps(pattern).chain(field);
    pointer::raw_steps(at).all(|step| wanted.next().is_some_and(|known| known == "*" || known == step))
}

fn is_sealed(value: &Value) -> bool {
    windlass_model::sealed::Sealed::from_json(value).is_some()
}

/// A place below a base. Its text is written only where there is something to say: nearly all objects pass.
#[derive(Clone, Copy)]
pub(crate) struct Place<'p> {
    base: &'p str,
    below: Pointer<'p>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.base, self.below)
    }
}

/// Visits every place of a pattern below a base.
pub(crate) fn each<'v>(manifest: &'v Value, base: &str, pattern: &str, visit: &mut dyn FnMut(Place<'_>, &'v Value)) {
    let Some(start) = pointer::find(manifest, base) else { return };
    descend(start, Place { base, below: Pointer::Root }, pattern, visit);
}

fn descend<'v>(value: &'v Value, at: Place<'_>, pattern: &str, visit: &mut dyn FnMut(Place<'_>, &'v Value)) {
    let Some((step, rest)) = pointer::first_step(pattern) else { return visit(at, value) };
    match (step, value) {
        ("*", Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                descend(item, Place { below: at.below.element(index), ..at }, rest, visit);
            }
        }
        (step, Value::Object(fields)) => {
            if let Some(field) = fields.get(step) {
                descend(field, Place { below: at.below.field(step), ..at }, rest, visit);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
