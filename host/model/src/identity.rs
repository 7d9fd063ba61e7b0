//! What a system calls a thing, as people read it.

/// Shows an identity: `apps/Deployment/shop-dev/web`. An object of the core group, or of the whole cluster, has fewer parts.
#[must_use]
pub fn shown(identity: &str) -> String {
    let parts: Vec<&str> = identity.split('/').collect();
    match parts.as_slice() {
        [_, kind, _, _] if kind.starts_with(char::is_uppercase) && parts.contains(&"") => {
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
        }
        _ => identity.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_without_group_or_namespace_are_shorter() {
        assert_eq!(shown("apps/Deployment/shop-dev/web"), "apps/Deployment/shop-dev/web");
        assert_eq!(shown("/Service/shop-dev/web"), "Service/shop-dev/web");
        assert_eq!(shown("/Namespace//shop-dev"), "Namespace/shop-dev");
        assert_eq!(shown("record-set/a.example.com/A"), "record-set/a.example.com/A");
        assert_eq!(shown("a//b/c"), "a//b/c");
    }
}
