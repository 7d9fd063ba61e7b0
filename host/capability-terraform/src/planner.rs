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

use crate::{module, spec::ModuleSpec};

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

/// Files that are ours to write.
const RESERVED: [&str; 4] = ["windlass_override.tf.json", "windlass_override.tofu.json", "windlass.auto.tfvars.json", ".windlass-ready"];

pub(crate) const WOULD_EXECUTE: &str = "the module would run programs of its own choice";
pub(crate) const ALLOW_EXECUTE: &str = "leave it out, or let the definition's grant say `allow: [execute]`";

impl Planner for ModulesPlanner {
    fn descriptor(&self) -> &'static CapabilityDescriptor {
        &DESCRIPTOR
    }

    /// Variables that hold secrets are noted: the program is told so, whatever the module says. So is what the grant allows: what a
    /// module calls from elsewhere is seen only when it is there.
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
        if let Value::Object(fields) = &mut spec {
            fields.remove("sensitive");
            fields.remove("execute");
            if authority.exceptions.contains(&PolicyException::Execute) {
                fields.insert("execute".to_owned(), json!(true));
            }
            if !sensitive.is_empty() {
                fields.insert("sensitive".to_owned(), json!(sensitive));
            }
        }
        spec
    }

    fn check(&self, value: &Value, authority: &Authority, _: &SpecContext) -> Vec<Diagnostic> {
        let spec: ModuleSpec = match spec::typed(value) {
            Ok(spec) => spec,
            Err(problem) => return vec![problem.hint("`windlass schema terraform/module` shows what belongs there")],
        };
        let mut problems = Vec::new();
        let mut refuse = |at: String, why: String| problems.push(Diagnostic::error("terraform-module", why).at(at));
        for path in spec.files.keys() {
            if !is_plain(path) || RESERVED.contains(&path.as_str()) {
                refuse(format!("/files/{}", pointer::escape(path)), format!("a file of a module can't be called `{path}`"));
            }
        }
        let module = match module::read(&spec.files) {
            Ok(module) => module,
            Err((path, why)) => {
                refuse(format!("/files/{}", pointer::escape(&path)), why);
                return problems;
            }
        };
        for name in spec.variables.keys().filter(|name| !module.variables.contains_key(*name)) {
            refuse(format!("/variables/{}", pointer::escape(name)), format!("the module has no variable `{name}`"));
        }
        for (name, _) in module.variables.iter().filter(|(name, required)| **required && !spec.variables.contains_key(*name)) {
            refuse("/variables".to_owned(), format!("the module's variable `{name}` needs a value"));
        }
        for (name, declared) in &spec.outputs {
            let at = format!("/outputs/{}", pointer::escape(name));
            match module.outputs.get(name) {
                None => refuse(at, format!("the module has no output `{name}`")),
                Some(true) if !declared.sensitive => {
                    refuse(at, format!("the module's output `{name}` is sensitive: say `sensitive: true`"))
                }
                Some(_) => {}
            }
        }
        if module.keeps_state {
            refuse("/files".to_owned(), "the module says where its state is kept, or how; Windlass keeps it, encrypted".to_owned());
        }
        if !module.executes.is_empty() && !authority.exceptions.contains(&PolicyException::Execute) {
            let what = module.executes.into_iter().collect::<Vec<_>>().join(", ");
            problems.push(Diagnostic::error("policy-execute", format!("{WOULD_EXECUTE}: {what}")).at("/files").hint(ALLOW_EXECUTE));
        }
        for source in module.remote.iter().filter(|source| !is_pinned(source)) {
            problems.push(
                Diagnostic::error("terraform-source", format!("the module calls `{source}`, which may be another one tomorrow"))
                    .at("/files")
                    .hint("put it beside the module, or pin it: `git::https://…?ref=COMMIT`"),
            );
        }
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

/// A relative path that stays in its folder.
fn is_plain(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 255
        && !path.contains('\\')
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part != ".terraform")
}

/// A source whose content can't change: a commit, or a digest.
fn is_pinned(source: &str) -> bool {
    let reference = source.split_once("ref=").map(|(_, rest)| rest.split('&').next().unwrap_or_default());
    reference.is_some_and(|reference| reference.len() >= 40 && reference.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || source.contains("@sha256:")
        || source.contains("checksum=sha256:")
}

#[cfg(test)]
mod tests {
    use windlass_engine::planner::Kinds;

    use super::*;

    fn checked(value: Value) -> Vec<String> {
        let authority = Authority { kinds: Kinds::Listed(Vec::new()), exceptions: Vec::new() };
        let context = SpecContext { application: "shop".into(), environment: "dev".into(), namespace: None, connection_kind: "terraform" };
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
