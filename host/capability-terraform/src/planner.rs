//! The pure half of `windlass:terraform/modules`.

use serde_json::{Value, json};
use windlass_engine::{
    planner::{Authority, CapabilityDescriptor, KindDescriptor, MethodDescriptor, OutputDeclaration, Planner, SpecContext},
    spec,
};
use windlass_model::{
    ActionId, Diagnostic,
    plan::Change,
    platform::{Family, PolicyException},
    pointer, sealed,
};

use crate::{
    files,
    module::{self, Module},
    spec::ModuleSpec,
};

/// Plans modules.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModulesPlanner;

static DESCRIPTOR: CapabilityDescriptor = CapabilityDescriptor {
    interface: "windlass:terraform/modules",
    version: "0.1.0",
    revision: 1,
    family: Family::Terraform,
    kinds: &[KindDescriptor { resource: "module", methods: &[MethodDescriptor { name: "output", argument: true }] }],
};

pub(crate) const WOULD_EXECUTE: &str = "the module would run programs of its own choice";
pub(crate) const WOULD_REACH: &str = "the module reaches beyond its own files";
pub(crate) const ALLOW_EXECUTE: &str = "leave it out, or let the definition's grant say `allow: [execute]`";

impl Planner for ModulesPlanner {
    fn descriptor(&self) -> &'static CapabilityDescriptor {
        &DESCRIPTOR
    }

    /// Notes the variables that hold secrets: the program is told so, whatever the module says, and every output is a secret then.
    /// Notes what the grant allows, too: what a module calls from elsewhere is seen only when it is there.
    fn normalise(&self, resource: &str, spec: Value, authority: &Authority, _: &SpecContext) -> Value {
        let mut spec = spec::with_kind(resource, spec);
        let mut sensitive = std::collections::BTreeSet::new();
        sealed::visit(&spec, &mut |at, value| {
            if let Some(name) = at.strip_prefix("/variables/").and_then(|rest| rest.split('/').next())
                && value.is_secret()
            {
                sensitive.insert(name.replace("~1", "/").replace("~0", "~"));
            }
        });
        let Value::Object(fields) = &mut spec else { return spec };
        for field in ["sensitive", "execute", "declassify"] {
            fields.remove(field);
        }
        for (exception, field) in [(PolicyException::Execute, "execute"), (PolicyException::Declassify, "declassify")] {
            if authority.exceptions.contains(&exception) {
                fields.insert(field.to_owned(), json!(true));
            }
        }
        if !sensitive.is_empty() {
            if !authority.exceptions.contains(&PolicyException::Declassify) {
                let outputs = fields.get_mut("outputs").and_then(Value::as_object_mut).into_iter().flatten();
                for output in outputs.filter_map(|(_, output)| output.as_object_mut()) {
                    output.insert("sensitive".to_owned(), json!(true));
                }
            }
            fields.insert("sensitive".to_owned(), json!(sensitive));
        }
        spec
    }

    fn check(&self, value: &Value, authority: &Authority, _: &SpecContext) -> Vec<Diagnostic> {
        let spec: ModuleSpec = match spec::typed(value) {
            Ok(spec) => spec,
            Err(problem) => return vec![problem.hint("`windlass schema terraform/module` shows what belongs there")],
        };
        let mut problems = check_files(&spec);
        let module = match module::read(&spec.files) {
            Ok(module) => module,
            Err((path, why)) => {
                problems.push(refused(format!("/files/{}", pointer::escape(&path)), why));
                return problems;
            }
        };
        problems.extend(check_values(&spec, &module));
        problems.extend(check_policy(&module, authority));
        problems
    }

    fn identity(&self, _: &Value, action: &ActionId, _: &SpecContext) -> String {
        format!("module/{action}")
    }

    fn holds_data(&self, spec: &Value) -> bool {
        spec.get("holdsData").and_then(Value::as_bool).unwrap_or(true)
    }

    fn secret_sinks(&self, _: &Value) -> Vec<&'static str> {
        vec!["/variables/**"]
    }

    fn open_only(&self, _: &Value) -> Vec<&'static str> {
        vec!["/files/**", "/outputs/**", "/holdsData"]
    }

    fn classify(&self, _: &Value, _: &Value) -> Change {
        // What it replaces inside is seen in the program's own plan, which is looked at before it is applied.
        Change::Update
    }

    fn schema(&self, resource: &str) -> Option<Value> {
        (resource == "module").then(spec::schema::<ModuleSpec>)
    }

    fn rank(&self, _: &Value) -> u16 {
        5
    }

    fn output(&self, spec: &Value, _: &str, name: Option<&str>, _: &Authority, _: &SpecContext) -> Result<OutputDeclaration, Diagnostic> {
        let name = name.unwrap_or_default();
        let declared = spec.get("outputs").and_then(|outputs| outputs.get(name));
        let Some(declared) = declared else {
            return Err(Diagnostic::error("terraform-output", format!("the output `{name}` is not declared in the spec")).at("/outputs"));
        };
        let secret = declared.get("sensitive").and_then(Value::as_bool).unwrap_or_default();
        Ok(OutputDeclaration { output: name.to_owned(), secret, generated: false })
    }
}

fn refused(at: String, why: String) -> Diagnostic {
    Diagnostic::error("terraform-module", why).at(at)
}

/// Refuses files that cannot be part of a module.
fn check_files(spec: &ModuleSpec) -> Vec<Diagnostic> {
    let at = |path: &str| format!("/files/{}", pointer::escape(path));
    let unfit = spec.files.keys().filter_map(|path| Some((path, files::refusal(path)?)));
    let mut problems: Vec<Diagnostic> =
        unfit.map(|(path, why)| refused(at(path), format!("a file of a module can't be called `{path}`: {why}"))).collect();
    for (first, second) in files::collisions(spec.files.keys()) {
        problems.push(refused(at(second), format!("`{first}` and `{second}` are one file on some systems: rename one")));
    }
    problems
}

/// Compares what is given and asked for with what the module declares.
fn check_values(spec: &ModuleSpec, module: &Module) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for name in spec.variables.keys().filter(|name| !module.variables.contains_key(*name)) {
        problems.push(refused(format!("/variables/{}", pointer::escape(name)), format!("the module has no variable `{name}`")));
    }
    for (name, _) in module.variables.iter().filter(|(name, required)| **required && !spec.variables.contains_key(*name)) {
        problems.push(refused("/variables".to_owned(), format!("the module's variable `{name}` needs a value")));
    }
    for (name, declared) in &spec.outputs {
        let at = format!("/outputs/{}", pointer::escape(name));
        match module.outputs.get(name) {
            None => problems.push(refused(at, format!("the module has no output `{name}`"))),
            Some(true) if !declared.sensitive => {
                problems.push(refused(at, format!("the module's output `{name}` is sensitive: say `sensitive: true`")));
            }
            Some(_) => {}
        }
    }
    problems
}

/// Holds a module to what the grant allows, and to sources that cannot change.
fn check_policy(module: &Module, authority: &Authority) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    if module.keeps_state {
        problems
            .push(refused("/files".to_owned(), "the module says where its state is kept, or how; Windlass keeps it, encrypted".to_owned()));
    }
    if !authority.exceptions.contains(&PolicyException::Execute) {
        for (what, found) in [(WOULD_EXECUTE, &module.executes), (WOULD_REACH, &module.reaches)] {
            if !found.is_empty() {
                let found = found.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                problems.push(Diagnostic::error("policy-execute", format!("{what}: {found}")).at("/files").hint(ALLOW_EXECUTE));
            }
        }
    }
    for (source, why) in module.open_sources() {
        problems.push(
            Diagnostic::error("terraform-source", format!("the module calls `{source}`, which may be another one tomorrow: {why}"))
                .at("/files")
                .hint("put it beside the module, or pin it: `git::https://…?ref=COMMIT`, `oci://…?digest=sha256:…`"),
        );
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(value: Value) -> Vec<String> {
        let authority = Authority::default();
        let context = SpecContext {
            application: "shop".into(),
            environment: "dev".into(),
            workload: None,
            namespace: None,
            connection_kind: "terraform",
        };
        let spec = ModulesPlanner.normalise("module", value, &authority, &context);
        ModulesPlanner
            .check(&spec, &authority, &context)
            .into_iter()
            .map(|problem| format!("{} {}", problem.pointer, problem.message))
            .collect()
    }

    #[test]
    fn wrong_modules_say_where_and_why() {
        let main = "variable \"name\" {}\noutput \"key\" {\n  value     = 1\n  sensitive = true\n}\n";
        let with = |text: &str| json!({ "files": { "main.tf": text } });
        let found = [
            checked(json!({ "files": { "main.tf": main }, "variables": { "nam": "x" }, "outputs": { "key": {}, "kee": {} } })),
            checked(json!({ "files": { "../main.tf": "", "windlass_override.tf.json": "{}" } })),
            checked(with("terraform {\n  backend \"s3\" {}\n}\n")),
            checked(with("data \"external\" \"x\" {\n  program = [\"id\"]\n}\n")),
            checked(with("module \"m\" {\n  source = \"terraform-aws-modules/s3-bucket/aws\"\n}\n")),
            checked(with(
                "module \"m\" {\n  source = \"git::https://example.com/m.git?ref=0123456789012345678901234567890123456789\"\n}\n",
            )),
            checked(with("resource {")),
        ];
        insta::assert_snapshot!(found.iter().flatten().cloned().collect::<Vec<_>>().join("\n"));
    }
}
