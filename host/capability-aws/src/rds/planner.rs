//! The pure half of `windlass:aws/rds`: what can't be changed in place is found out here, not by a refusal.

use serde_json::Value;
use windlass_engine::{
    planner::{Authority, CapabilityDescriptor, KindDescriptor, MethodDescriptor, OutputDeclaration, Planner, SpecContext},
    spec,
};
use windlass_model::{ActionId, Diagnostic, plan::Change, platform::Family};

use super::{
    check::{check_instance, check_subnets, wrong_name},
    exposure,
    spec::{DbInstanceSpec, DbParameterGroupSpec, DbSubnetGroupSpec},
    version,
};

/// Plans instances and groups.
#[derive(Clone, Copy, Debug, Default)]
pub struct RdsPlanner;

const fn method(name: &'static str) -> MethodDescriptor {
    MethodDescriptor { name, argument: false }
}

static DESCRIPTOR: CapabilityDescriptor = CapabilityDescriptor {
    interface: "windlass:aws/rds",
    version: "0.1.0",
    revision: 2,
    family: Family::Aws,
    kinds: &[
        KindDescriptor {
            resource: "db-instance",
            methods: &[method("address"), method("port"), method("arn"), method("master-secret-arn")],
        },
        KindDescriptor { resource: "db-subnet-group", methods: &[] },
        KindDescriptor { resource: "db-parameter-group", methods: &[] },
    ],
};

/// Fields of an instance that are decided when it is made.
const FIXED: [(&str, &str); 6] = [
    ("engine", "the engine"),
    ("masterUsername", "the name of the master user"),
    ("dbName", "the first database"),
    ("storageEncrypted", "whether the storage is encrypted"),
    ("kmsKey", "the key that encrypts the storage"),
    ("replicateFrom", "the instance that it replicates"),
];

impl Planner for RdsPlanner {
    fn descriptor(&self) -> &'static CapabilityDescriptor {
        &DESCRIPTOR
    }

    /// An address that nobody asked for is none.
    fn normalise(&self, resource: &str, spec: Value, authority: &Authority, _: &SpecContext) -> Value {
        let mut spec = spec::with_kind(resource, spec);
        exposure::normalise(&mut spec, authority);
        decide_minor_upgrades(&mut spec);
        spec
    }

    fn check(&self, value: &Value, authority: &Authority, _: &SpecContext) -> Vec<Diagnostic> {
        let kind = spec::kind(value);
        let problems = match kind {
            "db-instance" => spec::typed(value).map(|spec: DbInstanceSpec| check_instance(&spec, value)),
            "db-subnet-group" => spec::typed(value).map(|spec: DbSubnetGroupSpec| check_subnets(&spec)),
            _ => spec::typed(value).map(|spec: DbParameterGroupSpec| wrong_name(&spec.name, 255).into_iter().collect()),
        };
        let mut problems =
            problems.unwrap_or_else(|problem| vec![problem.hint(format!("`windlass schema aws/{kind}` shows what belongs there"))]);
        problems.extend(exposure::check(value, authority));
        problems
    }

    fn identity(&self, spec: &Value, _: &ActionId, _: &SpecContext) -> String {
        let name = if spec::kind(spec) == "db-instance" { "identifier" } else { "name" };
        format!("{}/{}", spec::kind(spec), spec::text(spec, name))
    }

    fn holds_data(&self, spec: &Value) -> bool {
        spec::kind(spec) == "db-instance" && spec.get("replicateFrom").is_none()
    }

    fn secret_sinks(&self, spec: &Value) -> Vec<&'static str> {
        if spec::kind(spec) == "db-instance" { vec!["/masterPassword"] } else { Vec::new() }
    }

    fn open_only(&self, spec: &Value) -> Vec<&'static str> {
        if spec::kind(spec) == "db-instance" {
            vec!["/identifier", "/engine", "/engineVersion", "/class", "/masterUsername", "/dbName", "/replicateFrom", "/tags/**"]
        } else {
            vec!["/name", "/family", "/tags/**"]
        }
    }

    fn classify(&self, recorded: &Value, planned: &Value) -> Change {
        let why = match spec::kind(planned) {
            "db-instance" => why_replaced(recorded, planned),
            "db-parameter-group" if recorded.get("family") != planned.get("family") => {
                Some("the family of a parameter group can't be changed".to_owned())
            }
            _ => None,
        };
        why.map_or(Change::Update, |why| Change::Replace { why })
    }

    fn judge_change(&self, recorded: &Value, planned: &Value) -> Vec<Diagnostic> {
        if spec::kind(planned) == "db-instance" { kept(recorded, planned) } else { Vec::new() }
    }

    fn schema(&self, resource: &str) -> Option<Value> {
        match resource {
            "db-instance" => Some(spec::schema::<DbInstanceSpec>()),
            "db-subnet-group" => Some(spec::schema::<DbSubnetGroupSpec>()),
            "db-parameter-group" => Some(spec::schema::<DbParameterGroupSpec>()),
            _ => None,
        }
    }

    fn rank(&self, spec: &Value) -> u16 {
        match spec::kind(spec) {
            "db-instance" if spec.get("replicateFrom").is_some() => 6,
            "db-instance" => 5,
            _ => 4,
        }
    }

    fn output(&self, _: &Value, method: &str, _: Option<&str>, _: &Authority, _: &SpecContext) -> Result<OutputDeclaration, Diagnostic> {
        Ok(OutputDeclaration { output: method.to_owned(), secret: false, generated: false })
    }
}

/// Fields of an instance that RDS keeps when they are removed, because it has no default to go back to.
const STAYING: [&str; 6] = ["securityGroups", "backupWindow", "maintenanceWindow", "backupRetentionDays", "storageType", "port"];

/// Says which settings stay as they are though they were removed, and which ones an instance can't be without.
fn kept(recorded: &Value, planned: &Value) -> Vec<Diagnostic> {
    let is_removed = |field: &str| recorded.get(field).is_some_and(|value| !value.is_null()) && planned.get(field).is_none();
    let mut out = Vec::new();
    for field in STAYING.into_iter().filter(|field| is_removed(field)) {
        let value = recorded.get(field).map(ToString::to_string).unwrap_or_default();
        out.push(
            Diagnostic::warning("compare-kept", format!("RDS keeps `{field}` as it is ({value}): it has no default to go back to"))
                .at(format!("/{field}"))
                .hint(format!("give `{field}` the value that the instance is to have")),
        );
    }
    let (engine, version) = (spec::text(planned, "engine"), spec::text(planned, "engineVersion"));
    let needed = [("subnetGroup", false), ("parameterGroup", version::default_group(engine, version).is_some())];
    for (field, _) in needed.into_iter().filter(|(field, has_default)| is_removed(field) && !has_default) {
        out.push(
            Diagnostic::error("rds-group", format!("an instance can't be without the {field} that it has"))
                .at(format!("/{field}"))
                .hint("name the group that the instance is to have instead; it has to exist"),
        );
    }
    out
}

/// Says whether RDS installs minor versions by itself: where a version is pinned to one, it does not.
fn decide_minor_upgrades(spec: &mut Value) {
    let (engine, version) = (spec::text(spec, "engine"), spec::text(spec, "engineVersion"));
    if engine.is_empty() || version.is_empty() {
        return;
    }
    let upgrades = !version::names_minor(engine, version);
    if let Some(fields) = spec.as_object_mut() {
        fields.entry("autoMinorVersionUpgrade").or_insert(Value::Bool(upgrades));
    }
}

/// Tells why an instance would have to be made anew, if it would.
fn why_replaced(recorded: &Value, planned: &Value) -> Option<String> {
    for (field, what) in FIXED {
        // A field that nobody gave is RDS's to decide: giving it later may be what it is already, leaving it out changes nothing.
        if let (Some(before), Some(after)) = (recorded.get(field), planned.get(field))
            && before != after
        {
            return Some(format!("{what} of an instance can't be changed"));
        }
    }
    if recorded.get("replicateFrom").is_none() && planned.get("replicateFrom").is_some() {
        return Some("an instance can't become a replica".to_owned());
    }
    let number = |spec: &Value| spec.get("allocatedStorage").and_then(Value::as_i64);
    if let (Some(before), Some(after)) = (number(recorded), number(planned))
        && after < before
    {
        return Some(format!("storage can't shrink from {before} to {after} GiB"));
    }
    let version = |spec: &Value| spec::text(spec, "engineVersion").split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u64>>();
    let (before, after) = (version(recorded), version(planned));
    let known = |version: &[u64]| version.first().is_some_and(|major| *major > 0);
    // `16` after `16.4` is any minor version, no older one.
    let shared = before.len().min(after.len());
    if known(&before) && known(&after) && after.get(..shared) < before.get(..shared) {
        return Some(format!(
            "the engine can't go back from {} to {}",
            spec::text(recorded, "engineVersion"),
            spec::text(planned, "engineVersion")
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_can_t_be_changed_in_place_is_known_while_planning() {
        let base = json!({ "kind": "db-instance", "engine": "postgres", "engineVersion": "16.4", "allocatedStorage": 50, "class": "db.t4g.micro" });
        let changed = |field: &str, value: Value| {
            let mut planned = base.clone();
            planned[field] = value;
            RdsPlanner.classify(&base, &planned)
        };
        let replaced = |change: Change| match change {
            Change::Replace { why } => why,
            other => format!("{other:?}"),
        };
        let found = [
            replaced(changed("engine", json!("mysql"))),
            replaced(changed("engineVersion", json!("15.8"))),
            replaced(changed("engineVersion", json!("16"))),
            replaced(changed("engineVersion", json!("17.1"))),
            replaced(changed("allocatedStorage", json!(20))),
            replaced(changed("allocatedStorage", json!(100))),
            replaced(changed("class", json!("db.m7g.large"))),
            replaced(changed("dbName", json!("shop"))),
        ];
        insta::assert_snapshot!(found.join("\n"));
    }
}
