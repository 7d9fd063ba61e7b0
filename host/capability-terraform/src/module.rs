//! What a module says about itself, read from its files without running anything.

use std::collections::{BTreeMap, BTreeSet};

use hcl::{Block, Body, Expression};
use serde_json::Value;

/// A module as its files declare it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Module {
    /// Variables; `true` where a value must be given.
    pub variables: BTreeMap<String, bool>,
    /// Outputs; `true` where they are declared sensitive.
    pub outputs: BTreeMap<String, bool>,
    /// What would run programs of its own choice on this machine.
    pub executes: BTreeSet<String>,
    /// Modules that come from elsewhere: their addresses.
    pub remote: BTreeSet<String>,
    /// Whether it says itself where its state is kept.
    pub keeps_state: bool,
}

/// Reads files by path; what is no configuration is left alone.
pub(crate) fn read(files: &BTreeMap<String, String>) -> Result<Module, (String, String)> {
    let mut module = Module::default();
    let mut found = false;
    for (path, text) in files {
        let wrong = |error: String| (path.clone(), error);
        // Only the top folder is the module; the others are what it calls.
        let top = !path.contains('/');
        if path.ends_with(".tf.json") {
            let value: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
            json(&value, top, &mut module);
            found |= top;
        } else if path.ends_with(".tf") {
            let body = hcl::parse(text).map_err(|error| wrong(error.to_string()))?;
            blocks(&body, top, &mut module);
            found |= top;
        }
    }
    if found { Ok(module) } else { Err((String::new(), "there is no `*.tf` or `*.tf.json` among the files".to_owned())) }
}

fn label(block: &Block) -> String {
    block.labels().first().map(|label| label.as_str().to_owned()).unwrap_or_default()
}

fn attribute<'b>(block: &'b Block, name: &str) -> Option<&'b Expression> {
    block.body().attributes().find(|attribute| attribute.key() == name).map(|attribute| attribute.expr())
}

fn blocks(body: &Body, top: bool, module: &mut Module) {
    for block in body.blocks() {
        match block.identifier() {
            "variable" if top => {
                module.variables.insert(label(block), attribute(block, "default").is_none());
            }
            "output" if top => {
                module.outputs.insert(label(block), attribute(block, "sensitive") == Some(&Expression::Bool(true)));
            }
            "resource" if block.body().blocks().any(|inner| inner.identifier() == "provisioner") => {
                module.executes.insert(format!("a provisioner of `{}`", label(block)));
            }
            "data" if label(block) == "external" => {
                module.executes.insert("the data source `external`".to_owned());
            }
            "module" => {
                if let Some(Expression::String(source)) = attribute(block, "source") {
                    called(source, module);
                }
            }
            "terraform" => {
                module.keeps_state |= block.body().blocks().any(|inner| matches!(inner.identifier(), "backend" | "cloud"));
            }
            _ => {}
        }
    }
}

fn called(source: &str, module: &mut Module) {
    if !(source.starts_with("./") || source.starts_with("../")) {
        module.remote.insert(source.to_owned());
    }
}

/// The same in the JSON syntax.
fn json(value: &Value, top: bool, module: &mut Module) {
    let entries = |section: &str| -> Vec<(String, Value)> {
        value.get(section).and_then(Value::as_object).into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    if top {
        module.variables.extend(entries("variable").into_iter().map(|(name, value)| (name, value.get("default").is_none())));
        module.outputs.extend(
            entries("output").into_iter().map(|(name, value)| (name, value.get("sensitive").and_then(Value::as_bool).unwrap_or_default())),
        );
    }
    for (kind, resources) in entries("resource") {
        if resources.as_object().into_iter().flatten().any(|(_, resource)| resource.get("provisioner").is_some()) {
            module.executes.insert(format!("a provisioner of `{kind}`"));
        }
    }
    if entries("data").iter().any(|(kind, _)| kind == "external") {
        module.executes.insert("the data source `external`".to_owned());
    }
    for (_, call) in entries("module") {
        if let Some(source) = call.get("source").and_then(Value::as_str) {
            called(source, module);
        }
    }
    if let Some(settings) = value.get("terraform") {
        module.keeps_state |= settings.get("backend").is_some() || settings.get("cloud").is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn both_syntaxes_say_the_same() {
        let hcl = read(&files(&[
            ("main.tf", "variable \"a\" {}\nvariable \"b\" {\n  default = 1\n}\noutput \"x\" {\n  value     = var.a\n  sensitive = true\n}\nmodule \"m\" {\n  source = \"git::https://example.com/m.git\"\n}\ndata \"external\" \"e\" {\n  program = [\"sh\"]\n}\n"),
            ("part/main.tf", "variable \"inner\" {}\n"),
        ]))
        .unwrap();
        let json = read(&files(&[(
            "main.tf.json",
            r#"{"variable":{"a":{},"b":{"default":1}},"output":{"x":{"value":"${var.a}","sensitive":true}},"module":{"m":{"source":"git::https://example.com/m.git"}},"data":{"external":{"e":{"program":["sh"]}}}}"#,
        )]))
        .unwrap();
        assert_eq!(hcl, json);
        assert_eq!(hcl.variables, BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), false)]));
        assert_eq!(hcl.executes.len(), 1);
    }

    #[test]
    fn what_runs_programs_is_seen_in_every_folder() {
        let module = read(&files(&[
            ("main.tf", "module \"m\" {\n  source = \"./m\"\n}\n"),
            ("m/main.tf", "resource \"terraform_data\" \"x\" {\n  provisioner \"local-exec\" {\n    command = \"id\"\n  }\n}\n"),
        ]))
        .unwrap();
        assert_eq!(module.executes.len(), 1);
        assert!(module.remote.is_empty());
        assert!(read(&files(&[("readme.md", "")])).is_err());
        assert_eq!(read(&files(&[("main.tf", "variable \"")])).unwrap_err().0, "main.tf");
    }
}
