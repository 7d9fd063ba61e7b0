//! How the lists of a grant are matched: keys of labels and annotations, names of objects, host names.

/// Keys of labels and annotations that describe and that no controller takes for a right; a `/` at the end covers a domain.
const ORDINARY_KEYS: [&str; 9] = [
    "app.kubernetes.io/",
    "compose.score.dev/",
    "k8s.score.dev/",
    "kubectl.kubernetes.io/default-container",
    "kubectl.kubernetes.io/restartedAt",
    "kubernetes.io/description",
    "prometheus.io/",
    "resource.opentelemetry.io/",
    "tags.datadoghq.com/",
];

/// Returns whether a label or annotation may be written: it has no domain, only describes, or the grant lists it or its domain.
#[must_use]
pub fn permits_key(granted: &[String], key: &str) -> bool {
    let covers = |entry: &str| entry == key || entry == "*" || (entry.ends_with('/') && key.starts_with(entry));
    !key.contains('/') || ORDINARY_KEYS.into_iter().any(covers) || granted.iter().any(|entry| covers(entry))
}

/// Returns whether a list of `KIND/NAME` and `KIND/NAMESPACE/NAME` names an object; a `*` at the end stands for the rest of a name.
#[must_use]
pub fn permits_use(granted: &[String], kind: &str, namespace: Option<&str>, name: &str) -> bool {
    granted.iter().any(|entry| {
        let mut parts = entry.split('/');
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        let (in_namespace, pattern) = match (second, third) {
            (Some(namespace), Some(pattern)) => (Some(namespace), pattern),
            (Some(pattern), None) => (None, pattern),
            (None, _) => return false,
        };
        let is_named = pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start));
        first == Some(kind) && in_namespace == namespace && parts.next().is_none() && is_named
    })
}

/// Returns whether a list of host names covers one: equal, `*.DOMAIN` for every name beneath a domain, `*` for all.
#[must_use]
pub fn permits_host(granted: &[String], host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    granted.iter().any(|entry| {
        let entry = entry.to_ascii_lowercase();
        entry == "*" || entry == host || entry.strip_prefix("*.").is_some_and(|domain| is_beneath(&host, domain))
    })
}

/// Returns whether a host name is another one or lies beneath it.
#[must_use]
pub fn is_at_or_beneath(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    host == domain || is_beneath(&host, &domain)
}

fn is_beneath(host: &str, domain: &str) -> bool {
    !domain.is_empty() && host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&entry| entry.to_owned()).collect()
    }

    #[test]
    fn keys_with_a_domain_need_a_grant() {
        for key in ["team", "app.kubernetes.io/name", "prometheus.io/scrape", "k8s.score.dev/kind"] {
            assert!(permits_key(&[], key), "{key}");
        }
        for key in [
            "vault.hashicorp.com/role",
            "iam.amazonaws.com/role",
            "kubernetes.io/ingress.class",
            "eks.amazonaws.com/role-arn",
            "app.kubernetes.io.evil/x",
        ] {
            assert!(!permits_key(&[], key), "{key}");
            assert!(permits_key(&list(&[key]), key) && permits_key(&list(&["*"]), key), "{key}");
        }
        assert!(permits_key(&list(&["vault.hashicorp.com/"]), "vault.hashicorp.com/role"));
        assert!(!permits_key(&list(&["vault.hashicorp.com"]), "vault.hashicorp.com/role"));
        assert!(!permits_key(&list(&["", "/"]), "vault.hashicorp.com/role"));
    }

    #[test]
    fn objects_are_named_by_kind_namespace_and_name() {
        let granted = list(&["Secret/pull", "ServiceAccount/web-*", "Gateway/infra/public", "Secret", "Secret/a/b/c"]);
        assert!(permits_use(&granted, "Secret", None, "pull") && permits_use(&granted, "ServiceAccount", None, "web-1"));
        assert!(permits_use(&granted, "Gateway", Some("infra"), "public"));
        for (kind, namespace, name) in [
            ("Secret", None, "pull-2"),
            ("ConfigMap", None, "pull"),
            ("Secret", Some("infra"), "pull"),
            ("Gateway", Some("other"), "public"),
            ("Gateway", None, "public"),
            ("ServiceAccount", None, "api"),
            ("Secret", Some("a"), "b"),
        ] {
            assert!(!permits_use(&granted, kind, namespace, name), "{kind} {namespace:?} {name}");
        }
    }

    #[test]
    fn hosts_are_covered_by_equal_names_and_domains() {
        let granted = list(&["*.dev.example.com", "shop.example.com"]);
        for host in ["a.dev.example.com", "a.b.dev.example.com", "Shop.Example.com", "*.dev.example.com"] {
            assert!(permits_host(&granted, host), "{host}");
        }
        for host in
            ["dev.example.com", "evildev.example.com", "example.com", "www.shop.example.com", "*", "*.example.com", ".dev.example.com"]
        {
            assert!(!permits_host(&granted, host), "{host}");
        }
        assert!(permits_host(&list(&["*"]), "*") && !permits_host(&list(&["*."]), "a.b"));
        assert!(is_at_or_beneath("a.b", "a.b") && is_at_or_beneath("*.a.b", "a.b") && !is_at_or_beneath("xa.b", "a.b"));
    }
}
