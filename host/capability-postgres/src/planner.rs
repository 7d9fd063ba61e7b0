//! The pure half of `windlass:postgres/databases`.

use serde_json::Value;
use windlass_engine::{
    planner::{Authority, CapabilityDescriptor, KindDescriptor, MethodDescriptor, OutputDeclaration, Planner, SpecContext},
    spec,
};
use windlass_model::{
    ActionId, Diagnostic,
    plan::Change,
    platform::Family,
    sealed::{Encoding, Origin, Sealed},
};

use crate::{
    spec::{DatabaseSpec, LoginSpec, RoleSpec, Spec, reaches_beyond, wrong_name},
    sql,
};

/// Plans roles, logins and databases.
#[derive(Clone, Copy, Debug, Default)]
pub struct DatabasesPlanner;

static DESCRIPTOR: CapabilityDescriptor = CapabilityDescriptor {
    interface: "windlass:postgres/databases",
    version: "0.1.0",
    revision: 2,
    family: Family::Postgres,
    kinds: &[
        KindDescriptor { resource: "role", methods: &[] },
        KindDescriptor { resource: "login", methods: &[MethodDescriptor { name: "username", argument: false }] },
        KindDescriptor {
            resource: "database",
            methods: &[MethodDescriptor { name: "host", argument: false }, MethodDescriptor { name: "port", argument: false }],
        },
    ],
};

/// The function of `windlass:driver/sealed` that makes a verifier.
const SCRAM: &str = "scram-sha256";
/// Fields of a database that can't be changed once it is made.
const FIXED: [&str; 2] = ["encoding", "locale"];

impl Planner for DatabasesPlanner {
    fn descriptor(&self) -> &'static CapabilityDescriptor {
        &DESCRIPTOR
    }

    /// A password that the server would see becomes the verifier that it stores.
    fn normalise(&self, resource: &str, spec: Value, _: &Authority, _: &SpecContext) -> Value {
        let mut spec = spec::with_kind(resource, spec);
        if let Some(password) = spec.get_mut("password")
            && let Some(sealed) = Sealed::from_json(password)
            && !is_verifier(&sealed)
        {
            let verifier = Origin::Derived { op: SCRAM.to_owned(), of: [sealed].into() };
            *password = Sealed::of(verifier, true, Encoding::Json).to_json();
        }
        spec
    }

    fn check(&self, value: &Value, _: &Authority, _: &SpecContext) -> Vec<Diagnostic> {
        let spec = match Spec::parse(value) {
            Ok(spec) => spec,
            Err(problem) => {
                return vec![problem.hint(format!("`windlass schema postgres/{}` shows what belongs there", spec::kind(value)))];
            }
        };
        let mut problems = Vec::new();
        for (index, (at, name)) in spec.names().into_iter().enumerate() {
            // The first is what is made; what others are called is theirs to decide.
            let wrong = if index == 0 { wrong_name(name, spec.name_bytes_max()) } else { wrong_reference(name) };
            problems.extend(wrong.map(|why| Diagnostic::error("postgres-name", why).at(at)));
        }
        problems.extend(spec.used().into_iter().filter(|(_, name)| reaches_beyond(name)).map(|(at, name)| {
            Diagnostic::error("policy-role", format!("the role `{name}` reaches beyond the databases of the environment"))
                .at(at)
                .hint("let the database's own `grants` say who may do what in it")
        }));
        if let Spec::Login(_) = spec
            && !value.get("password").and_then(Sealed::from_json).is_some_and(|password| password.is_secret())
        {
            problems.push(
                Diagnostic::error("password-in-the-open", "the password stands in clear text")
                    .at("/password")
                    .hint("use a generated secret, or one of a secret store"),
            );
        }
        problems
    }

    fn identity(&self, spec: &Value, _: &ActionId, _: &SpecContext) -> String {
        format!("{}/{}", spec::kind(spec), spec::text(spec, "name"))
    }

    fn holds_data(&self, spec: &Value) -> bool {
        spec::kind(spec) == "database"
    }

    fn secret_sinks(&self, spec: &Value) -> Vec<&'static str> {
        if spec::kind(spec) == "login" { vec!["/password"] } else { Vec::new() }
    }

    fn open_only(&self, spec: &Value) -> Vec<&'static str> {
        if spec::kind(spec) == "login" { vec!["/name", "/actsAs", "/connectionLimit"] } else { vec!["/**"] }
    }

    fn classify(&self, recorded: &Value, planned: &Value) -> Change {
        match FIXED.into_iter().find(|field| recorded.get(field) != planned.get(field)) {
            Some(field) if spec::kind(planned) == "database" => {
                Change::Replace { why: format!("the {field} of a database can't be changed") }
            }
            _ => Change::Update,
        }
    }

    fn judge_change(&self, recorded: &Value, planned: &Value) -> Vec<Diagnostic> {
        let names = |spec: &Value, field: &str| -> Vec<String> {
            let listed = spec.get(field).and_then(Value::as_array).into_iter().flatten();
            listed.filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let mut out = Vec::new();
        for (field, what) in [("extensions", "extension"), ("schemas", "schema")] {
            let wanted = names(planned, field);
            for left in names(recorded, field).into_iter().filter(|name| !wanted.contains(name)) {
                let message = format!("the {what} `{left}` stays in the database: what uses it would go with it");
                let hint = format!("drop it by hand when nothing uses it any more: `DROP {} {}`", what.to_uppercase(), sql::name(&left));
                out.push(Diagnostic::warning("compare-kept", message).at(format!("/{field}")).hint(hint));
            }
        }
        out
    }

    fn schema(&self, resource: &str) -> Option<Value> {
        match resource {
            "role" => Some(spec::schema::<RoleSpec>()),
            "login" => Some(spec::schema::<LoginSpec>()),
            "database" => Some(spec::schema::<DatabaseSpec>()),
            _ => None,
        }
    }

    fn rotates(&self, spec: &Value) -> bool {
        spec::kind(spec) == "login"
    }

    fn rank(&self, spec: &Value) -> u16 {
        match spec::kind(spec) {
            "role" => 1,
            "login" => 2,
            _ => 3,
        }
    }

    fn output(&self, _: &Value, method: &str, _: Option<&str>, _: &Authority, _: &SpecContext) -> Result<OutputDeclaration, Diagnostic> {
        Ok(OutputDeclaration { output: method.to_owned(), secret: false, generated: false })
    }
}

fn is_verifier(sealed: &Sealed) -> bool {
    sealed.single().is_some_and(|part| matches!(&part.origin, Origin::Derived { op, .. } if op == SCRAM))
}

/// A role or schema that others made may have any name that PostgreSQL takes.
fn wrong_reference(name: &str) -> Option<String> {
    (name.is_empty() || name.len() > 63 || name.contains('\0')).then(|| format!("`{name}` is no name of PostgreSQL"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context() -> SpecContext {
        SpecContext { application: "shop".into(), environment: "dev".into(), workload: None, namespace: None, connection_kind: "postgres" }
    }

    fn checked(resource: &str, value: Value) -> Vec<String> {
        let authority = Authority::default();
        let context = context();
        let spec = DatabasesPlanner.normalise(resource, value, &authority, &context);
        DatabasesPlanner
            .check(&spec, &authority, &context)
            .into_iter()
            .map(|problem| format!("{} {}", problem.pointer, problem.message))
            .collect()
    }

    #[test]
    fn wrong_specs_say_where_and_why() {
        let found = [
            checked("role", json!({ "name": "" })),
            checked("role", json!({ "name": "pg_monitor" })),
            checked("role", json!({ "name": "x", "memberof": [] })),
            checked("role", json!({ "name": "x", "memberOf": ["pg_monitor", "pg_write_all_data"] })),
            checked("database", json!({ "name": "x", "owner": "rds_superuser" })),
            checked("login", json!({ "name": "x".repeat(62), "actsAs": "x", "password": "hunter2" })),
            checked("database", json!({ "name": "x", "owner": "x", "grants": [{ "to": "y", "access": "all" }] })),
            checked("database", json!({ "name": "x", "owner": "x", "connectionLimit": "many" })),
        ];
        insta::assert_snapshot!(found.iter().flatten().cloned().collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn passwords_become_verifiers_and_verifiers_stay() {
        let secret = Sealed::of(
            Origin::Generated { action: ActionId::new(&"postgres#db".parse().unwrap(), "secret/password"), version: 1 },
            true,
            Encoding::Json,
        );
        let authority = Authority::default();
        let context = context();
        let once = DatabasesPlanner.normalise("login", json!({ "password": secret.to_json() }), &authority, &context);
        let twice = DatabasesPlanner.normalise("login", once.clone(), &authority, &context);
        assert_eq!(once, twice);
        assert!(is_verifier(&Sealed::from_json(&once["password"]).unwrap()));
    }
}
