//! What an object refers to by name without containing it: Secrets, claims, accounts, objects of other namespaces, host names.
//!
//! The walk knows no kinds: it goes by the names of fields, as the API conventions of Kubernetes have them, so that kinds outside
//! the table are seen too. A field that only looks like a reference is refused at worst, and a grant can list it.

use std::fmt;

use serde_json::{Map, Value};
use windlass_model::{
    pointer::{self, Pointer},
    reference::{Reference, ReferenceKind, ReferenceName},
    sealed::Sealed,
};

/// Fields whose keys are free text, not names of fields, where the values are text.
const FREE_MAPS: [&str; 14] = [
    "annotations",
    "binaryData",
    "data",
    "encryptedData",
    "hard",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "parameters",
    "requests",
    "selector",
    "status",
    "stringData",
];

/// Kinds that hold data, and kinds whose rules name kinds of objects: the exception `rbac` lets them pass as a whole.
fn has_no_references(api_version: &str, kind: &str) -> bool {
    api_version == "v1" && matches!(kind, "ConfigMap" | "Secret") || api_version.starts_with("rbac.authorization.k8s.io/")
}

/// Lists the references of a normalised manifest.
#[must_use]
pub fn references(manifest: &Value) -> Vec<Reference> {
    let text = |at: &str| pointer::find(manifest, at).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    let mut walk = Walk { namespace: pointer::find(manifest, "/metadata/namespace").and_then(Value::as_str), found: Vec::new() };
    let Some(fields) = manifest.as_object().filter(|_| !has_no_references(api_version, kind)) else { return walk.found };
    let is_account = api_version == "v1" && kind == "ServiceAccount";
    for (key, value) in fields.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status")) {
        walk.field(key, value, &Pointer::Root.field(key));
    }
    // Secrets that a controller writes are made, not read.
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let made = yielded(group, kind);
    walk.found.retain(|reference| !is_account || reference.kind == ReferenceKind::Secret);
    walk.found.retain(|reference| made.is_none_or(|(at, _)| at != reference.pointer || text(at).is_empty()));
    walk.hosts(group, kind, manifest);
    walk.found
}

struct Walk<'m> {
    namespace: Option<&'m str>,
    found: Vec<Reference>,
}

impl Walk<'_> {
    fn field(&mut self, key: &str, value: &Value, at: &Pointer<'_>) {
        match value {
            Value::String(_) => self.note(kind_of_field(key).filter(|kind| is_name_field(key, kind)), None, value, at),
            Value::Object(fields) => {
                let is_sealed = Sealed::from_json(value).is_some();
                if !is_sealed && FREE_MAPS.contains(&key) {
                    for (key, entry) in fields.iter().filter(|(_, entry)| !entry.is_string()) {
                        self.field(key, entry, &at.field(key));
                    }
                } else if is_sealed && !key.to_ascii_lowercase().ends_with("key") {
                    self.note(kind_of_field(key), None, value, at);
                } else {
                    self.object(key, fields, at);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.field(key, item, &at.element(index));
                }
            }
            _ => {}
        }
    }

    /// An object that names another, by a `name` beside a kind or below a field that says the kind.
    fn object(&mut self, key: &str, fields: &Map<String, Value>, at: &Pointer<'_>) {
        let said = fields.get("kind").and_then(Value::as_str);
        let by_key = kind_of_field(key);
        let kind = match said {
            Some("Secret") => Some(ReferenceKind::Secret),
            Some("PersistentVolumeClaim") => Some(ReferenceKind::PersistentVolumeClaim),
            Some(_) => None,
            None => by_key,
        };
        let foreign = fields.get("namespace").filter(|namespace| namespace.as_str() != self.namespace && !namespace.is_null());
        if let Some(name) = fields.get("name").filter(|_| !fields.contains_key("spec")) {
            match (foreign, kind) {
                (Some(namespace), kind) => {
                    let kind = said.map(str::to_owned).or(kind.map(|kind| kind.as_str().to_owned())).unwrap_or_else(|| singular(key));
                    self.note(Some(ReferenceKind::Foreign(kind)), Some(namespace), name, &at.field("name"));
                }
                (None, Some(kind)) => self.note(Some(kind), None, name, &at.field("name")),
                (None, None) => {}
            }
        } else if let Some(namespace) = foreign.filter(|_| key != "metadata") {
            let kind = ReferenceKind::Foreign(said.map_or_else(|| singular(key), str::to_owned));
            self.note(Some(kind), Some(namespace), &Value::String("*".to_owned()), &at.field("namespace"));
        }
        let is_about_itself = |key: &str, value: &Value| matches!(key, "name" | "kind") || key == "metadata" && value.is_object();
        for (key, value) in fields.iter().filter(|(key, value)| !is_about_itself(key, value)) {
            self.field(key, value, &at.field(key));
        }
    }

    fn note(&mut self, kind: Option<ReferenceKind>, namespace: Option<&Value>, name: &Value, at: &dyn fmt::Display) {
        let Some(kind) = kind else { return };
        let name = match (name, Sealed::from_json(name)) {
            (_, Some(sealed)) => ReferenceName::Sealed(sealed),
            // Every pod may be its namespace's own account, which has no rights unless somebody gives it some.
            (Value::String(name), None) if name.is_empty() || kind == ReferenceKind::ServiceAccount && name == "default" => return,
            (Value::String(name), None) => ReferenceName::Text(name.clone()),
            _ => return,
        };
        let namespace = namespace.map_or(self.namespace, Value::as_str).map(str::to_owned);
        self.found.push(Reference { kind, namespace, name, pointer: at.to_string() });
    }

    fn hosts(&mut self, group: &str, kind: &str, manifest: &Value) {
        for row in HOSTS.iter().filter(|row| row.group == group && row.kind == kind) {
            let before = self.found.len();
            crate::policy::each(manifest, "", row.at, &mut |at, value| {
                if !row.is_local(value) {
                    self.note(Some(ReferenceKind::Host), None, value, &at);
                }
            });
            if row.needed && self.found.len() == before {
                self.note(Some(ReferenceKind::Host), None, &Value::String(ANY.to_owned()), &"/spec");
            }
        }
        if TRAEFIK.contains(&group) && kind.starts_with("IngressRoute") {
            crate::policy::each(manifest, "", "/spec/routes/*/match", &mut |at, rule| {
                for host in rule.as_str().map_or_else(|| vec![ANY], matched_hosts) {
                    self.note(Some(ReferenceKind::Host), None, &Value::String(host.to_owned()), &at);
                }
            });
        }
        if kind == "Ingress" && group == "networking.k8s.io" {
            let any = Value::String(ANY.to_owned());
            if manifest.pointer("/spec/defaultBackend").is_some() {
                self.note(Some(ReferenceKind::Host), None, &any, &"/spec/defaultBackend");
            }
            for (index, rule) in manifest.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten().enumerate() {
                if rule.get("host").is_none_or(|host| host.as_str() == Some("")) {
                    self.note(Some(ReferenceKind::Host), None, &any, &format!("/spec/rules/{index}"));
                }
            }
        }
    }
}

/// Where a kind claims host names.
struct HostRow {
    group: &'static str,
    kind: &'static str,
    at: &'static str,
    /// An object without any claims all.
    needed: bool,
    /// Names without a dot are Services of the namespace.
    local: bool,
}

impl HostRow {
    fn is_local(&self, host: &Value) -> bool {
        self.local && host.as_str().is_some_and(|host| !host.contains('.') && host != "*")
    }
}

const fn hosts(group: &'static str, kind: &'static str, at: &'static str, needed: bool, local: bool) -> HostRow {
    HostRow { group, kind, at, needed, local }
}

static HOSTS: [HostRow; 24] = [
    hosts("networking.k8s.io", "Ingress", "/spec/rules/*/host", false, false),
    hosts("networking.k8s.io", "Ingress", "/spec/tls/*/hosts/*", false, false),
    hosts("gateway.networking.k8s.io", "HTTPRoute", "/spec/hostnames/*", true, false),
    hosts("gateway.networking.k8s.io", "GRPCRoute", "/spec/hostnames/*", true, false),
    hosts("gateway.networking.k8s.io", "TLSRoute", "/spec/hostnames/*", true, false),
    hosts("gateway.networking.k8s.io", "Gateway", "/spec/listeners/*/hostname", false, false),
    hosts("cert-manager.io", "Certificate", "/spec/dnsNames/*", false, true),
    hosts("cert-manager.io", "Certificate", "/spec/commonName", false, true),
    hosts("networking.istio.io", "VirtualService", "/spec/hosts/*", true, true),
    hosts("networking.istio.io", "Gateway", "/spec/servers/*/hosts/*", true, false),
    hosts("networking.istio.io", "ServiceEntry", "/spec/hosts/*", true, false),
    hosts("route.openshift.io", "Route", "/spec/host", true, false),
    hosts("projectcontour.io", "HTTPProxy", "/spec/virtualhost/fqdn", false, false),
    hosts("externaldns.k8s.io", "DNSEndpoint", "/spec/endpoints/*/dnsName", true, false),
    hosts("serving.knative.dev", "DomainMapping", "/metadata/name", true, false),
    hosts("gateway.networking.k8s.io", "ListenerSet", "/spec/listeners/*/hostname", true, false),
    hosts("gateway.networking.x-k8s.io", "XListenerSet", "/spec/listeners/*/hostname", true, false),
    hosts("getambassador.io", "Mapping", "/spec/hostname", true, false),
    hosts("getambassador.io", "Host", "/spec/hostname", true, false),
    hosts("k8s.nginx.org", "VirtualServer", "/spec/host", true, false),
    hosts("k8s.nginx.org", "TransportServer", "/spec/host", false, false),
    hosts("apisix.apache.org", "ApisixRoute", "/spec/http/*/match/hosts/*", true, false),
    hosts("gateway.solo.io", "VirtualService", "/spec/virtualHost/domains/*", true, false),
    hosts("networking.gke.io", "ManagedCertificate", "/spec/domains/*", true, false),
];

/// All host names.
const ANY: &str = "*";
/// API groups of Traefik, which reads host names out of the text of a rule.
const TRAEFIK: [&str; 2] = ["traefik.io", "traefik.containo.us"];

/// Lists the host names that a rule of Traefik claims: all of them, unless it is a conjunction that names some.
fn matched_hosts(rule: &str) -> Vec<&str> {
    if rule.contains("||") || rule.contains('!') {
        return vec![ANY];
    }
    let terms = rule.split("&&").map(str::trim);
    let listed = terms.filter_map(|term| term.strip_prefix("Host(").or_else(|| term.strip_prefix("HostSNI("))?.strip_suffix(')'));
    let names: Vec<&str> = listed.flat_map(|list| list.split(',')).map(|name| name.trim().trim_matches(['`', '"', '\''])).collect();
    if names.is_empty() { vec![ANY] } else { names }
}

/// Says what the name below a field names, by the field's own name.
fn kind_of_field(key: &str) -> Option<ReferenceKind> {
    let is = |name: &str| key.eq_ignore_ascii_case(name);
    let begins = |window: &[u8], part: &str| window.first().map(u8::to_ascii_lowercase) == part.bytes().next();
    let is_at = |window: &[u8], part: &str| begins(window, part) && window.eq_ignore_ascii_case(part.as_bytes());
    let holds = |part: &str| key.as_bytes().windows(part.len()).any(|window| is_at(window, part));
    if is("certificaterefs") || is("credentialname") || holds("secret") && !holds("secretstore") {
        Some(ReferenceKind::Secret)
    } else if holds("serviceaccount") {
        Some(ReferenceKind::ServiceAccount)
    } else if is("claimname") || is("existingclaim") {
        Some(ReferenceKind::PersistentVolumeClaim)
    } else {
        None
    }
}

/// Returns whether text in a field is itself a name: `secretName` is, `secretKey` is not.
fn is_name_field(key: &str, kind: &ReferenceKind) -> bool {
    let key = key.to_ascii_lowercase();
    match kind {
        ReferenceKind::Secret => ["secret", "secretname", "secrets", "secretnames", "secretref", "secretrefname", "credentialname"]
            .iter()
            .any(|end| key.ends_with(end)),
        ReferenceKind::ServiceAccount => ["serviceaccount", "serviceaccountname"].iter().any(|end| key.ends_with(end)),
        _ => true,
    }
}

/// Names the kind below a field that says no kind: `parentRefs` of a route are Gateways.
fn singular(key: &str) -> String {
    match key {
        "parentRefs" => "Gateway".to_owned(),
        "backendRefs" | "backendRef" => "Service".to_owned(),
        other => other.to_owned(),
    }
}

/// Where an object of a kind says how its controller calls the Secret that it writes, and whether that is the object's own name by default.
fn yielded(group: &str, kind: &str) -> Option<(&'static str, bool)> {
    match (group, kind) {
        ("cert-manager.io", "Certificate") => Some(("/spec/secretName", false)),
        ("external-secrets.io", "ExternalSecret") => Some(("/spec/target/name", true)),
        ("secrets.hashicorp.com", "VaultStaticSecret" | "VaultDynamicSecret" | "VaultPKISecret") => Some(("/spec/destination/name", false)),
        ("bitnami.com", "SealedSecret") => Some(("/spec/template/metadata/name", true)),
        ("onepassword.com", "OnePasswordItem") => Some(("/metadata/name", true)),
        _ => None,
    }
}

/// Lists the identities of the Secrets that a controller makes for a normalised manifest.
#[must_use]
pub fn yields(manifest: &Value) -> Vec<String> {
    let text = |at: &str| pointer::find(manifest, at).and_then(Value::as_str);
    let (Some(api_version), Some(kind)) = (text("/apiVersion"), text("/kind")) else { return Vec::new() };
    let Some((at, is_own_name)) = yielded(api_version.rsplit_once('/').map_or("", |(group, _)| group), kind) else { return Vec::new() };
    let name = text(at).or_else(|| text("/metadata/name").filter(|_| is_own_name));
    let namespace = text("/metadata/namespace").unwrap_or_default();
    name.map(|name| format!("/Secret/{namespace}/{name}")).into_iter().collect()
}

#[cfg(test)]
mod tests;
