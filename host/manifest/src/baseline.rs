//! What a pod may not do to its node and to other tenants: the rules of Pod Security `baseline`.

use std::fmt::Arguments;

use serde_json::Value;
use windlass_model::{
    Diagnostic,
    pointer::{find, raw_steps},
};

use crate::shape::{CONTAINERS, PODS};

/// Capabilities that a container may add; the runtime gives it the rest of what `baseline` allows anyway.
const CAPABILITIES: [&str; 1] = ["NET_BIND_SERVICE"];
/// Kernel parameters that stay inside of the pod.
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];
const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
/// Where a kubelet can be sent to an address of somebody's choice.
const PROBES: [&str; 5] = ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];

/// Checks the pod at a place of a manifest; every breach is a finding.
pub(crate) fn check(pod: &Value, at: &str, problems: &mut Vec<Diagnostic>) {
    let mut refuse = |place: Arguments<'_>, what: &str| {
        let problem = Diagnostic::error("policy-privileged-pod", what.to_owned()).at(place.to_string());
        problems.push(problem.hint("a grant lifts this with `allow: [privilegedPods]`"));
    };
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if is_true(pod.get(field)) {
            refuse(format_args!("{at}/{field}"), "a pod may not share the host's namespaces");
        }
    }
    for (index, volume) in items(pod.get("volumes")) {
        if volume.get("hostPath").is_some() {
            refuse(format_args!("{at}/volumes/{index}/hostPath"), "a pod may not mount the host's paths");
        }
    }
    if let Some(security) = pod.get("securityContext") {
        check_confinement(security, format_args!("{at}/securityContext"), &mut refuse);
        for (index, sysctl) in items(security.get("sysctls")) {
            if !sysctl.get("name").and_then(Value::as_str).is_some_and(|name| SYSCTLS.contains(&name)) {
                refuse(format_args!("{at}/securityContext/sysctls/{index}"), "a pod may not set parameters of the node's kernel");
            }
        }
    }
    for list in CONTAINERS {
        for (index, container) in items(pod.get(list)) {
            check_container(container, format_args!("{at}/{list}/{index}"), &mut refuse);
        }
    }
}

fn check_container(container: &Value, base: Arguments<'_>, refuse: &mut dyn FnMut(Arguments<'_>, &str)) {
    if let Some(security) = container.get("securityContext") {
        if is_true(security.get("privileged")) {
            refuse(format_args!("{base}/securityContext/privileged"), "a container may not run privileged");
        }
        for (index, capability) in items(find(security, "/capabilities/add")) {
            if !capability.as_str().is_some_and(|capability| CAPABILITIES.contains(&capability)) {
                refuse(format_args!("{base}/securityContext/capabilities/add/{index}"), "a container may not add Linux capabilities");
            }
        }
        if security.get("procMount").and_then(Value::as_str).is_some_and(|mount| mount != "Default") {
            refuse(format_args!("{base}/securityContext/procMount"), "a container may not unmask /proc");
        }
        check_confinement(security, format_args!("{base}/securityContext"), refuse);
    }
    for (index, port) in items(container.get("ports")) {
        if port.get("hostPort").and_then(Value::as_u64).is_some_and(|port| port != 0) {
            refuse(format_args!("{base}/ports/{index}/hostPort"), "a container may not take the host's ports");
        }
    }
    for probe in PROBES {
        for action in ["httpGet", "tcpSocket"] {
            let host = find(container, probe).and_then(|probe| probe.get(action)?.get("host")?.as_str());
            if host.is_some_and(|host| !host.is_empty()) {
                refuse(format_args!("{base}{probe}/{action}/host"), "a probe may not send the node to another host");
            }
        }
    }
}

/// What pods and containers say alike.
fn check_confinement(security: &Value, base: Arguments<'_>, refuse: &mut dyn FnMut(Arguments<'_>, &str)) {
    let text = |around: &str, field: &str| security.get(around).and_then(|around| around.get(field)?.as_str()).unwrap_or_default();
    for profile in ["seccompProfile", "appArmorProfile"] {
        if text(profile, "type") == "Unconfined" {
            refuse(format_args!("{base}/{profile}/type"), "a container may not be unconfined");
        }
    }
    if !SELINUX_TYPES.contains(&text("seLinuxOptions", "type")) {
        refuse(format_args!("{base}/seLinuxOptions/type"), "a container keeps a type of SELinux that is made for containers");
    }
    for field in ["user", "role"] {
        if !text("seLinuxOptions", field).is_empty() {
            refuse(format_args!("{base}/seLinuxOptions/{field}"), "a container does not choose who it is to SELinux");
        }
    }
    if is_true(find(security, "/windowsOptions/hostProcess")) {
        refuse(format_args!("{base}/windowsOptions/hostProcess"), "a pod may not run as a process of the host");
    }
}

/// Returns whether something that these rules go by stands at a place, or anything above it does.
pub(crate) fn decides(pods: &[String], at: &str) -> bool {
    let is_above = |pod: &str| pod.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // Of what only looks like the place of a pod nothing is known.
    PODS.iter().any(|pod| is_above(pod)) || pods.iter().any(|pod| is_above(pod) || at.strip_prefix(pod.as_str()).is_some_and(decides_below))
}

fn decides_below(at: &str) -> bool {
    let steps: Vec<&str> = raw_steps(at).collect();
    match steps.as_slice() {
        ["hostNetwork" | "hostPID" | "hostIPC" | "volumes"] | ["securityContext", ..] | ["volumes", _] | ["volumes", _, "hostPath", ..] => {
            true
        }
        [list, rest @ ..] if CONTAINERS.contains(list) => match rest {
            [] | [_] | [_, "securityContext", ..] | [_, "ports"] | [_, "ports", _] | [_, "ports", _, "hostPort"] => true,
            [_, probe @ ..] => PROBES.iter().any(|known| {
                let known: Vec<&str> = raw_steps(known).collect();
                let below = probe.strip_prefix(known.as_slice());
                known.starts_with(probe) || matches!(below, Some([] | ["httpGet" | "tcpSocket"] | ["httpGet" | "tcpSocket", "host"]))
            }),
        },
        _ => false,
    }
}

fn is_true(value: Option<&Value>) -> bool {
    value == Some(&Value::Bool(true))
}

fn items(value: Option<&Value>) -> impl Iterator<Item = (usize, &Value)> {
    value.and_then(Value::as_array).into_iter().flatten().enumerate()
}
