//! What a Gateway and an Ingress refuse about a route, told while planning.

use windlass_sdk::prelude::*;

/// Longest host name of a route, as the Kubernetes API allows it.
const HOST_CHARS_MAX: usize = 253;
/// Longest label of a host name (RFC 1035).
const LABEL_CHARS_MAX: usize = 63;
/// Longest path of an HTTPRoute, as the Gateway API allows it.
const PATH_CHARS_MAX: usize = 1024;

/// Checks the host name and the path of a route; both problems at once.
pub(crate) fn check(host: &str, path: &str) -> Result<(), Diagnostics> {
    let host =
        host_problem(host).map(|why| Diagnostic::error("host", format!("`{host}` is no host name of a route: {why}")).at("/params/host"));
    let path = path_problem(path).map(|why| Diagnostic::error("path", format!("`{path}` is no path of a route: {why}")).at("/params/path"));
    let problems: Vec<Diagnostic> = host.into_iter().chain(path).collect();
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems)) }
}

/// Says why a text is no host name: an RFC 1123 name in lower case, or `*.` before one.
fn host_problem(host: &str) -> Option<&'static str> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    if name.is_empty() {
        return Some("it is empty");
    }
    if host.len() > HOST_CHARS_MAX {
        return Some("it has more than 253 characters");
    }
    if name.contains("://") || name.contains('/') {
        return Some("it is a URL; write the name alone, and the path as `path`");
    }
    if name.contains(':') {
        return Some("it names a port; the Gateway or the Ingress decides the port");
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some("it is an IP address");
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("it has upper-case letters");
    }
    name.split('.').find_map(label_problem)
}

fn label_problem(label: &str) -> Option<&'static str> {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = label.as_bytes();
    match () {
        () if label.is_empty() => Some("a label between two dots is empty"),
        () if label.len() > LABEL_CHARS_MAX => Some("a label has more than 63 characters"),
        () if !bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') => {
            Some("letters, digits, `-` and `.` are allowed, and `*.` at the beginning")
        }
        () if !is_edge(bytes.first()) || !is_edge(bytes.last()) => Some("a label begins and ends with a letter or digit"),
        () => None,
    }
}

/// Says why a text is no path: absolute, normalised, in the characters of RFC 3986.
fn path_problem(path: &str) -> Option<&'static str> {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@%".contains(&byte);
    match () {
        () if !path.starts_with('/') => Some("it must begin with `/`"),
        () if path.len() > PATH_CHARS_MAX => Some("it has more than 1024 characters"),
        () if path.len() > 1 && path.ends_with('/') => Some("it must not end with `/`"),
        () if path.contains("//") => Some("it must not hold `//`"),
        () if path.split('/').any(|part| matches!(part, "." | "..")) => Some("it must not hold `.` or `..` as a part"),
        () if !path.bytes().all(is_char) => Some("it holds a character that a path must encode"),
        () if !is_encoded(path) => Some("`%` must stand before two hexadecimal digits, and not encode `/`"),
        () => None,
    }
}

/// Returns whether each `%` of a path begins the encoding of a byte other than `/`.
fn is_encoded(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        let digits = rest.get(..2).unwrap_or_default();
        digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && !digits.eq_ignore_ascii_case("2f")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_those_that_kubernetes_takes() {
        for good in ["a.example", "localhost", "*.shop.example", "x-1.y", "1.2.3.4.nip.io"] {
            assert_eq!(host_problem(good), None, "{good}");
        }
        let long = "x".repeat(64);
        for wrong in [
            "",
            "*.",
            "a.example+",
            "A.example",
            "a..b",
            "-a.b",
            "a-.b",
            "a_b.c",
            "10.0.0.1",
            "http://a.b",
            "a.b/c",
            "a.b:80",
            "a b",
            "*",
            "a.*.b",
            &long,
        ] {
            assert!(host_problem(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn paths_are_those_that_a_gateway_takes() {
        for good in ["/", "/api", "/api/v1.2", "/a%20b", "/~user", "/a:b"] {
            assert_eq!(path_problem(good), None, "{good}");
        }
        for wrong in ["", "api", "/api/", "/a//b", "/a/../b", "/a/.", "/a b", "/a%2Fb", "/a%2", "/a#b", "/a?b", "/ä"] {
            assert!(path_problem(wrong).is_some(), "{wrong}");
        }
    }
}
