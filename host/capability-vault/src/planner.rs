//! The pure half of `windlass:secrets/external`.

use serde_json::Value;
use windlass_engine::{
    planner::{Authority, CapabilityDescriptor, KindDescriptor, MethodDescriptor, OutputDeclaration, Planner, SpecContext},
    session::{EntrySpec, LookupSpec},
    spec,
};
use windlass_model::{ActionId, Diagnostic, plan::Change, platform::Family};

use crate::{confine, spec::split};

/// Plans readings and writings.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExternalPlanner;

static DESCRIPTOR: CapabilityDescriptor = CapabilityDescriptor {
    interface: "windlass:secrets/external",
    version: "0.1.0",
    revision: 3,
    family: Family::SecretStore,
    kinds: &[
        KindDescriptor { resource: "lookup", methods: &[MethodDescriptor { name: "field", argument: true }] },
        KindDescriptor { resource: "entry", methods: &[MethodDescriptor { name: "path", argument: false }] },
    ],
};

/// Names of secrets there know no mounts.
const SECRETS_MANAGER: &str = "secretsManager";
/// Their length.
const NAME_CHARS_MAX: usize = 512;

/// Checks the name of a secret of AWS Secrets Manager.
fn check_name(name: &str) -> Vec<Diagnostic> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(fits) {
        return Vec::new();
    }
    vec![
        Diagnostic::error("secret-path", format!("`{name}` is no name of a secret"))
            .at("/path")
            .hint("1 to 512 letters, digits and `/_+=.@-`"),
    ]
}

impl Planner for ExternalPlanner {
    fn descriptor(&self) -> &'static CapabilityDescriptor {
        &DESCRIPTOR
    }

    fn normalise(&self, resource: &str, spec: Value, _: &Authority, _: &SpecContext) -> Value {
        spec::with_kind(resource, spec)
    }

    fn check(&self, value: &Value, authority: &Authority, context: &SpecContext) -> Vec<Diagnostic> {
        let kind = spec::kind(value);
        let path = match kind {
            "lookup" => spec::typed(value).map(|spec: LookupSpec| spec.path),
            _ => spec::typed(value).map(|spec: EntrySpec| spec.path),
        };
        match path {
            Ok(path) if context.connection_kind == SECRETS_MANAGER => {
                let problems = check_name(&path);
                if problems.is_empty() { confine::check(&path, authority, context).into_iter().collect() } else { problems }
            }
            Ok(path) if split(&path).is_some() => confine::check(&path, authority, context).into_iter().collect(),
            Ok(path) => vec![
                Diagnostic::error("secret-path", format!("`{path}` is no path of a secret"))
                    .at("/path")
                    .hint("the mount and the path inside it, without `data`: `secret/shop/smtp`"),
            ],
            Err(problem) => vec![problem.hint(format!("`windlass schema secrets/{kind}` shows what belongs there"))],
        }
    }

    fn identity(&self, spec: &Value, action: &ActionId, _: &SpecContext) -> String {
        // Several may read one value; one alone writes it.
        if spec::kind(spec) == "lookup" { format!("lookup/{action}") } else { format!("entry/{}", spec::text(spec, "path")) }
    }

    fn holds_data(&self, _: &Value) -> bool {
        false
    }

    fn secret_sinks(&self, spec: &Value) -> Vec<&'static str> {
        if spec::kind(spec) == "entry" { vec!["/data/**"] } else { Vec::new() }
    }

    fn open_only(&self, _: &Value) -> Vec<&'static str> {
        vec!["/path"]
    }

    fn classify(&self, _: &Value, _: &Value) -> Change {
        Change::Update
    }

    fn schema(&self, resource: &str) -> Option<Value> {
        match resource {
            "lookup" => Some(spec::schema::<LookupSpec>()),
            "entry" => Some(spec::schema::<EntrySpec>()),
            _ => None,
        }
    }

    fn reads(&self, resource: &str) -> bool {
        resource == "lookup"
    }

    fn rotates(&self, spec: &Value) -> bool {
        spec::kind(spec) == "entry"
    }

    fn rank(&self, spec: &Value) -> u16 {
        if spec::kind(spec) == "lookup" { 0 } else { 10 }
    }

    fn output(&self, spec: &Value, _: &str, name: Option<&str>, _: &Authority, _: &SpecContext) -> Result<OutputDeclaration, Diagnostic> {
        match name {
            Some("") => Err(Diagnostic::error("secret-field", "the name of a field is empty")),
            Some(name) => Ok(OutputDeclaration { output: name.to_owned(), secret: true, generated: false }),
            None => Ok(OutputDeclaration { output: spec::text(spec, "path").to_owned(), secret: false, generated: false }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_mount_and_rest() {
        assert_eq!(split("secret/shop/smtp"), Some(("secret", "shop/smtp")));
        for wrong in ["secret", "secret/", "/x", "secret/../x", "secret/a//b", "secret/a b", "secret/a?x"] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
