//! What a module says about itself, read from its files without running anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

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
    /// Whether it says itself where its state is kept, or how.
    pub keeps_state: bool,
    /// Whether it takes over what is there already.
    pub imports: bool,
}

/// Blocks that run a program which the module names: kind, and what is called so.
const RUNS_PROGRAMS: [(&str, &str); 4] =
    [("data", "external"), ("data", "local_command"), ("action", "local_command"), ("ephemeral", "local_command")];
/// What a module says about its state; keys of OpenTofu's encryption may come from programs, too.
const KEEPS_STATE: [&str; 3] = ["backend", "cloud", "encryption"];
/// Files that either program reads; OpenTofu alone reads the last two, in the place of those before them.
const HCL: [&str; 2] = [".tf", ".tofu"];
const JSON: [&str; 2] = [".tf.json", ".tofu.json"];
/// Where `init` says which modules it brought, and where they stand.
const BROUGHT: &str = ".terraform/modules/modules.json";

/// Reads files by path; what is no configuration is left alone.
pub(crate) fn read(files: &BTreeMap<String, String>) -> Result<Module, (String, String)> {
    let mut module = Module::default();
    let mut found = false;
    for (path, text) in files {
        let Some(body) = body(path, text).map_err(|error| (path.clone(), error))? else { continue };
        // Only the top folder is the module; the others are what it calls.
        let top = !path.contains('/');
        module.take(&body, top);
        found |= top;
    }
    if found { Ok(module) } else { Err((String::new(), "there is no `*.tf` or `*.tf.json` among the files".to_owned())) }
}

/// Returns what the modules that `init` brought from elsewhere would run: what they are is known only then.
pub(crate) fn brought(work: &Path) -> Result<BTreeSet<String>, String> {
    let mut module = Module::default();
    let Ok(text) = fs::read_to_string(work.join(BROUGHT)) else { return Ok(module.executes) };
    let listed: Value = serde_json::from_str(&text).map_err(|error| format!("{BROUGHT}: {error}"))?;
    let folders: BTreeSet<&str> =
        each(listed.get("Modules")).filter_map(|known| known.get("Dir")?.as_str()).filter(|folder| !matches!(*folder, "" | ".")).collect();
    for folder in folders {
        let wrong = |error: &dyn std::fmt::Display| format!("{folder}: {error}");
        for entry in fs::read_dir(work.join(folder)).map_err(|error| wrong(&error))? {
            let path = entry.map_err(|error| wrong(&error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if HCL.iter().chain(&JSON).any(|end| name.ends_with(end)) {
                let text = fs::read_to_string(&path).map_err(|error| wrong(&error))?;
                if let Some(body) = body(&name, &text).map_err(|error| wrong(&error))? {
                    module.take(&body, false);
                }
            }
        }
    }
    Ok(module.executes)
}

/// Lists the providers that a lock file names.
pub(crate) fn providers(lock: &str) -> Result<BTreeSet<String>, String> {
    let body: Value = hcl::from_str(lock).map_err(|error| error.to_string())?;
    Ok(labelled(&body, "provider").map(|(address, _)| address.clone()).collect())
}

/// Reads a file of either syntax as the JSON one: blocks stand under their type and their labels.
fn body(path: &str, text: &str) -> Result<Option<Value>, String> {
    if JSON.iter().any(|end| path.ends_with(end)) {
        serde_json::from_str(text).map(|Once(value)| Some(value)).map_err(|error| error.to_string())
    } else if HCL.iter().any(|end| path.ends_with(end)) {
        hcl::from_str(text).map(Some).map_err(|error| error.to_string())
    } else {
        Ok(None)
    }
}

/// JSON in which no key stands twice: the programs take both as blocks, and whoever takes the last one alone would not see the first.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tree;

        impl<'de> Visitor<'de> for Tree {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut out = Vec::new();
                while let Some(Once(item)) = items.next_element()? {
                    out.push(item);
                }
                Ok(Value::Array(out))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
                let mut out = Map::new();
                while let Some((key, Once(value))) = fields.next_entry::<String, Once>()? {
                    if out.contains_key(&key) {
                        return Err(A::Error::custom(format!("the key `{key}` stands twice")));
                    }
                    out.insert(key, value);
                }
                Ok(Value::Object(out))
            }
        }

        deserializer.deserialize_any(Tree).map(Self)
    }
}

/// JSON may say a list of blocks wherever it may say one, lists of lists included, and HCL's repeated blocks are one.
fn each(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    fn flatten<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| flatten(value, found)),
            value => found.push(value),
        }
    }
    let mut found = Vec::new();
    if let Some(value) = value {
        flatten(value, &mut found);
    }
    found.into_iter()
}

/// Blocks of a type with one label: the label and the body.
fn labelled<'v>(body: &'v Value, kind: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    each(body.get(kind))
        .filter_map(Value::as_object)
        .flatten()
        .flat_map(|(label, bodies)| each(Some(bodies)).map(move |body| (label, body)))
}

impl Module {
    /// Takes in what a file says; `top` where it is of the module itself.
    fn take(&mut self, file: &Value, top: bool) {
        each(Some(file)).for_each(|body| self.take_body(body, top));
    }

    fn take_body(&mut self, body: &Value, top: bool) {
        if top {
            self.variables.extend(labelled(body, "variable").map(|(name, body)| (name.clone(), body.get("default").is_none())));
            let sensitive = |body: &Value| body.get("sensitive").and_then(Value::as_bool).unwrap_or_default();
            self.outputs.extend(labelled(body, "output").map(|(name, body)| (name.clone(), sensitive(body))));
        }
        for (kind, named) in labelled(body, "resource") {
            let mut bodies = named.as_object().into_iter().flatten().flat_map(|(_, bodies)| each(Some(bodies)));
            if bodies.any(|body| body.get("provisioner").is_some()) {
                self.executes.insert(format!("a provisioner of `{kind}`"));
            }
        }
        if each(body.get("removed")).any(|removed| removed.get("provisioner").is_some()) {
            self.executes.insert("a provisioner of what is removed".to_owned());
        }
        // A check has data sources of its own.
        for scope in std::iter::once(body).chain(labelled(body, "check").map(|(_, check)| check)) {
            for (kind, name) in RUNS_PROGRAMS {
                if labelled(scope, kind).any(|(label, _)| label == name) {
                    let what = if kind == "data" { "the data source" } else { kind };
                    self.executes.insert(format!("{what} `{name}`"));
                }
            }
        }
        let asking = labelled(body, "provider").filter(|(_, provider)| asks_a_program(provider));
        self.executes.extend(asking.map(|(name, _)| format!("`exec` of the provider `{name}`")));
        for (_, call) in labelled(body, "module") {
            match call.get("source").and_then(Value::as_str) {
                Some(source) if !(source.starts_with("./") || source.starts_with("../")) => {
                    self.remote.insert(source.to_owned());
                }
                _ => {}
            }
        }
        self.keeps_state |= each(body.get("terraform")).any(|settings| KEEPS_STATE.iter().any(|settled| settings.get(settled).is_some()));
        self.imports |= body.get("import").is_some();
    }
}

/// Tells whether a provider gets its credentials from a program, as those of clusters can, at the top or in the settings of one.
fn asks_a_program(provider: &Value) -> bool {
    let direct = |body: &Value| body.get("exec").is_some();
    direct(provider) || provider.as_object().into_iter().flatten().any(|(_, inner)| each(Some(inner)).any(direct))
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

    /// Whatever a syntax offers to say the same in another way.
    #[test]
    fn nothing_that_runs_programs_hides() {
        for (path, text, expected) in [
            ("main.tofu", r#"data "external" "x" { program = ["id"] }"#, "the data source `external`"),
            ("main.tofu.json", r#"{"data":{"external":{"x":{"program":["id"]}}}}"#, "the data source `external`"),
            ("main.tf.json", r#"{"data":[{"external":{"x":{}}}]}"#, "the data source `external`"),
            ("main.tf.json", r#"{"data":{"external":[{"x":{}}]}}"#, "the data source `external`"),
            ("main.tf.json", r#"[{"locals":{}},{"data":[[{"external":{"x":{}}}]]}]"#, "the data source `external`"),
            ("main.tf.json", r#"{"resource":[{"null_resource":[{"x":[{"provisioner":[]}]}]}]}"#, "a provisioner of `null_resource`"),
            (
                "main.tf",
                "resource \"a\" \"x\" {}\nresource \"a\" \"y\" {\n  provisioner \"remote-exec\" {\n  }\n}\nresource \"b\" \"x\" {}\n",
                "a provisioner of `a`",
            ),
            ("main.tf", "check \"x\" {\n  data \"external\" \"y\" {\n    program = [\"id\"]\n  }\n}\n", "the data source `external`"),
            (
                "main.tf",
                "removed {\n  from = a.x\n  provisioner \"local-exec\" {\n    when    = destroy\n    command = \"id\"\n  }\n}\n",
                "a provisioner of what is removed",
            ),
            ("main.tf", r#"data "local_command" "x" { command = "id" }"#, "the data source `local_command`"),
            ("main.tf", "action \"local_command\" \"x\" {\n  config {\n    command = \"id\"\n  }\n}\n", "action `local_command`"),
            ("main.tf", "provider \"kubernetes\" {\n  exec {\n    command = \"id\"\n  }\n}\n", "`exec` of the provider `kubernetes`"),
            ("main.tf", "provider \"helm\" {\n  kubernetes = { exec = { command = \"id\" } }\n}\n", "`exec` of the provider `helm`"),
        ] {
            let module = read(&files(&[(path, text)])).unwrap();
            assert_eq!(module.executes.into_iter().collect::<Vec<_>>(), [expected], "{path}: {text}");
        }
        let hidden = r#"{"data":{"external":{"x":{"program":["id"]}}},"data":{"http":{"x":{}}}}"#;
        assert!(read(&files(&[("main.tf.json", hidden)])).unwrap_err().1.contains("the key `data` stands twice"));
        let harmless = "resource \"a\" \"external\" {\n  exec = 1\n}\noutput \"provisioner\" {\n  value = 1\n}\n";
        assert_eq!(read(&files(&[("main.tf", harmless)])).unwrap().executes, BTreeSet::new());
    }

    #[test]
    fn what_is_called_is_remote_unless_it_is_plainly_beside() {
        let module = read(&files(&[(
            "main.tf",
            "module \"a\" {\n  source = \"./a\"\n}\nmodule \"b\" {\n  source = var.b\n}\nmodule \"c\" {\n  source = \"acme/c/aws\"\n}\nimport {\n  to = x.y\n  id = \"z\"\n}\n",
        )]))
        .unwrap();
        assert_eq!(module.remote.into_iter().collect::<Vec<_>>(), ["${var.b}", "acme/c/aws"]);
        assert!(module.imports);
        for backend in [
            r#"{"terraform":[{"backend":{"s3":{}}}]}"#,
            r#"{"terraform":{"cloud":{}}}"#,
            r#"{"terraform":{"encryption":{"key_provider":{"external":{"x":{"command":["id"]}}}}}}"#,
        ] {
            assert!(read(&files(&[("main.tofu.json", backend)])).unwrap().keeps_state, "{backend}");
        }
    }

    #[test]
    fn what_was_brought_is_looked_at_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(brought(folder.path()), Ok(BTreeSet::new()), "nothing was brought");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            BROUGHT,
            r#"{"Modules":[{"Key":"","Source":"","Dir":"."},{"Key":"m","Source":"git::https://example.com/m","Dir":".terraform/modules/m/part"}]}"#,
        );
        write(".terraform/modules/m/examples/main.tf", "data \"external\" \"x\" {}\n");
        write(".terraform/modules/m/part/main.tf", "output \"a\" {\n  value = 1\n}\n");
        assert_eq!(brought(folder.path()), Ok(BTreeSet::new()));
        write(".terraform/modules/m/part/more.tf", "resource \"terraform_data\" \"x\" {\n  provisioner \"local-exec\" {\n  }\n}\n");
        assert_eq!(brought(folder.path()), Ok(BTreeSet::from(["a provisioner of `terraform_data`".to_owned()])));
        write(".terraform/modules/m/part/more.tf", "resource {");
        assert!(brought(folder.path()).unwrap_err().starts_with(".terraform/modules/m/part: "));
    }
}
