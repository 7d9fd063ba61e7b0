//! Which paths of a store a driver may name: those of its environment, and those that its grant lists.
//!
//! A path may hold text of a developer. A reference that stands in a definition itself is not confined: the platform team wrote it.

use windlass_engine::planner::{Authority, SpecContext};
use windlass_model::Diagnostic;

/// Parts of a path before its own name: `MOUNT`, `APPLICATION`, `ENVIRONMENT`.
const PARTS_BEFORE: usize = 3;

/// Checks that a driver may name a path.
pub(crate) fn check(path: &str, authority: &Authority, context: &SpecContext) -> Option<Diagnostic> {
    let SpecContext { application, environment, .. } = context;
    let parts: Vec<&str> = path.splitn(PARTS_BEFORE + 1, '/').collect();
    let is_own = matches!(parts.as_slice(), [_, of, within, rest] if of == application && within == environment && !rest.is_empty());
    if is_own || authority.paths.iter().any(|pattern| fits(pattern, path, context)) {
        return None;
    }
    let own = format!("MOUNT/{application}/{environment}/");
    Some(
        Diagnostic::error("secret-path", format!("the path `{path}` is not one of this environment, which begin with `{own}`"))
            .at("/path")
            .hint("use a path of the environment, or list the path in `paths` of the definition's grant, such as `paths: [\"secret/shared/*\"]`"),
    )
}

/// Returns whether a path fits a pattern of a grant. A path has no empty part and no `..`, so that a prefix is a folder.
fn fits(pattern: &str, path: &str, context: &SpecContext) -> bool {
    let pattern = pattern.replace("${application}", &context.application).replace("${environment}", &context.environment);
    match pattern.strip_suffix('*') {
        Some(prefix) => path.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()),
        None => path == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(path: &str, paths: &[&str]) -> bool {
        let paths = paths.iter().map(ToString::to_string).collect();
        let authority = Authority { paths, ..Authority::default() };
        let (application, environment) = ("shop".to_owned(), "dev".to_owned());
        let context = SpecContext { application, environment, workload: None, namespace: None, connection_kind: "vault" };
        check(path, &authority, &context).is_none()
    }

    #[test]
    fn paths_of_the_environment_need_no_grant() {
        for own in ["secret/shop/dev/smtp", "kv/shop/dev/a/b"] {
            assert!(is_allowed(own, &[]), "{own}");
        }
        let foreign = [
            "secret/smtp",
            "secret/shop/smtp",
            "secret/shop/prod/smtp",
            "secret/bank/dev/smtp",
            "secret/shop/dev",
            "secret/shop/dev-2/smtp",
            "secret/team/shop/dev/smtp",
            "shop/dev/smtp",
        ];
        for path in foreign {
            assert!(!is_allowed(path, &[]), "{path}");
        }
    }

    #[test]
    fn a_grant_lists_further_paths() {
        let grant = ["secret/shared/*", "secret/smtp", "team/kv/${application}/${environment}/*"];
        for path in ["secret/shared/a", "secret/shared/a/b", "secret/smtp", "team/kv/shop/dev/x"] {
            assert!(is_allowed(path, &grant), "{path}");
        }
        for path in ["secret/shared", "secret/sharedx/a", "secret/smtp2", "team/kv/shop/prod/x", "secret/${application}/x"] {
            assert!(!is_allowed(path, &grant), "{path}");
        }
        assert!(is_allowed("secret/anything", &["*"]));
    }
}
