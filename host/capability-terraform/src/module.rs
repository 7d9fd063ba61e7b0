//! What a module says about itself, read from its files without running anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;
use windlass_model::limits;

use crate::{
    expressions::{self, Check},
    files::{self, HCL, JSON},
    json::Once,
    source::{self, Source},
};

/// A module as its files declare it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Module {
    /// Variables; `true` where a value must be given.
    pub variables: BTreeMap<String, bool>,
    /// Outputs; `true` where they are declared sensitive.
    pub outputs: BTreeMap<String, bool>,
    /// What would run programs of its own choice on this machine.
    pub executes: BTreeSet<String>,
    /// What reaches outside of the module's own files.
    pub reaches: BTreeSet<String>,
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
/// Blocks that read or write files of the machine, or ask any server: kind, and what is called so.
const REACHES_OUT: [(&str, &str); 10] = [
    ("data", "terraform_remote_state"),
    ("data", "http"),
    ("ephemeral", "http"),
    ("data", "local_file"),
    ("data", "local_sensitive_file"),
    ("ephemeral", "local_file"),
    ("resource", "local_file"),
    ("resource", "local_sensitive_file"),
    ("resource", "template_dir"),
    ("data", "template_file"),
];
/// What a module says about its state; keys of OpenTofu's encryption may come from programs, too.
const KEEPS_STATE: [&str; 4] = ["backend", "cloud", "encryption", "state_store"];
/// Settings of providers that name a program, or a file of settings that may name one.
const PROGRAM_SETTINGS: [&str; 10] = [
    "exec",
    "credential_process",
    "shared_config_file",
    "shared_config_files",
    "shared_credentials_file",
    "shared_credentials_files",
    "config_path",
    "config_paths",
    "kubeconfig",
    "web_identity_token_file",
];
/// Settings of providers that hold those of another one.
const NESTED_SETTINGS: [&str; 2] = ["kubernetes", "registry"];
/// Where `init` says which modules it brought, and where they stand.
const BROUGHT: &str = ".terraform/modules/modules.json";
/// Where it puts them.
const BROUGHT_FOLDER: &str = ".terraform/modules";

/// Reads files by path; what is no configuration is left alone.
pub(crate) fn read(files: &BTreeMap<String, String>) -> Result<Module, (String, String)> {
    let mut module = Module::default();
    let mut found = false;
    let lookup = |path: &str| files.get(path).filter(|_| files::is_written(path)).cloned();
    for (path, text) in files.iter().filter(|(path, _)| files::is_written(path)) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let place = expressions::Place { folder, is_own: true, lookup: &lookup };
        let Some(body) = body(path, text, &mut Check::new(place), &mut module.reaches).map_err(|error| (path.clone(), error))? else {
            continue;
        };
        // Only the top folder is the module; the others are what it calls.
        module.take(&body, Some(folder));
        found |= folder.is_empty();
    }
    if found { Ok(module) } else { Err((String::new(), "there is no `*.tf` or `*.tf.json` among the files".to_owned())) }
}

/// Reads the modules that `init` brought from elsewhere: what they are is known only then.
pub(crate) fn brought(work: &Path) -> Result<Module, String> {
    let mut module = Module::default();
    if !work.join(BROUGHT).exists() {
        return Ok(module);
    }
    let text = read_bounded(&work.join(BROUGHT)).map_err(|error| format!("{BROUGHT}: {error}"))?;
    refuse_links(&work.join(BROUGHT_FOLDER), &work.join(BROUGHT_FOLDER))?;
    let listed: Value = serde_json::from_str(&text).map_err(|error| format!("{BROUGHT}: {error}"))?;
    let folders: BTreeSet<&str> =
        each(listed.get("Modules")).filter_map(|known| known.get("Dir")?.as_str()).filter(|folder| !matches!(*folder, "" | ".")).collect();
    for folder in folders {
        let is_brought = folder.strip_prefix(BROUGHT_FOLDER).is_some_and(|rest| rest.starts_with('/') && !rest.contains(".."));
        if is_brought {
            module.take_folder(&work.join(folder)).map_err(|error| format!("{folder}: {error}"))?;
        } else if files::resolve("", folder).is_none() {
            return Err(format!("{folder}: it is neither beside the module nor brought by `init`"));
        }
    }
    Ok(module)
}

/// Refuses a link that leads out of a folder, or nowhere: whatever reads it would read another file.
fn refuse_links(top: &Path, folder: &Path) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let real = top.canonicalize().map_err(wrong)?;
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let kind = entry.file_type().map_err(wrong)?;
        let leads_out = kind.is_symlink() && !entry.path().canonicalize().is_ok_and(|target| target.starts_with(&real));
        if leads_out {
            return Err(format!("`{}` is a link that leads out of the modules", entry.file_name().to_string_lossy()));
        }
        if kind.is_dir() {
            refuse_links(top, &entry.path())?;
        }
    }
    Ok(())
}

/// Reads a file of a module that was brought, where it is one of a size that modules have.
fn read_bounded(path: &Path) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > limits::SOURCE_FILE_BYTES_MAX as u64 {
        return Err(format!("a file has {length} bytes; {} are allowed", limits::SOURCE_FILE_BYTES_MAX));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Lists the providers that a lock file names.
pub(crate) fn providers(lock: &str) -> Result<BTreeSet<String>, String> {
    expressions::check_depth(lock)?;
    let body: Value = hcl::from_str(lock).map_err(|error| error.to_string())?;
    Ok(labelled(&body, "provider").map(|(address, _)| address.clone()).collect())
}

/// Reads a file of either syntax as the JSON one, where blocks stand under their type and their labels, and checks its expressions.
fn body(path: &str, text: &str, check: &mut Check<'_>, reaches: &mut BTreeSet<String>) -> Result<Option<Value>, String> {
    let is_json = JSON.iter().any(|end| path.ends_with(end));
    if !is_json && !HCL.iter().any(|end| path.ends_with(end)) {
        return Ok(None);
    }
    let value = if is_json {
        let Once(value) = serde_json::from_str(text).map_err(|error| error.to_string())?;
        check.json(&value);
        value
    } else {
        expressions::check_depth(text)?;
        let body = hcl::parse(text).map_err(|error| error.to_string())?;
        check.body(&body);
        hcl::from_body(body).map_err(|error| error.to_string())?
    };
    reaches.append(&mut check.reaches);
    Ok(Some(value))
}

/// JSON may say a list of blocks wherever it may say one, lists of lists included, and HCL's repeated blocks are one.
pub(crate) fn each(value: Option<&Value>) -> impl Iterator<Item = &Value> {
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
    /// Takes in the configuration of a folder that was brought.
    fn take_folder(&mut self, folder: &Path) -> Result<(), String> {
        let lookup = |path: &str| read_bounded(&folder.join(path)).ok();
        let place = expressions::Place { folder: "", is_own: false, lookup: &lookup };
        for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if HCL.iter().chain(&JSON).any(|end| name.ends_with(end)) {
                let text = read_bounded(&path)?;
                if let Some(body) = body(&name, &text, &mut Check::new(place), &mut self.reaches)? {
                    self.take(&body, None);
                }
            }
        }
        Ok(())
    }

    /// Takes in what a file says; `own` is its folder where it is not brought from elsewhere.
    fn take(&mut self, file: &Value, own: Option<&str>) {
        each(Some(file)).for_each(|body| self.take_body(body, own));
    }

    fn take_body(&mut self, body: &Value, own: Option<&str>) {
        if own == Some("") {
            self.variables.extend(labelled(body, "variable").map(|(name, body)| (name.clone(), body.get("default").is_none())));
            for (name, output) in labelled(body, "output") {
                // OpenTofu reads `x.tofu` in the place of `x.tf`: what is sensitive in one of them is sensitive.
                *self.outputs.entry(name.clone()).or_default() |= says_yes(output.get("sensitive"));
            }
        }
        self.take_programs(body);
        self.take_calls(body, own);
        self.keeps_state |= each(body.get("terraform")).any(|settings| KEEPS_STATE.iter().any(|settled| settings.get(settled).is_some()));
        self.imports |= body.get("import").is_some();
    }

    /// Takes in what runs programs, and what reads or asks for things outside of the module.
    fn take_programs(&mut self, body: &Value) {
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
            let called = |kind: &str, name: &str| labelled(scope, kind).any(|(label, _)| label == name);
            let describe = |kind: &str, name: &str| match kind {
                "data" => format!("the data source `{name}`"),
                kind => format!("{kind} `{name}`"),
            };
            let of = |table: &[(&str, &str)]| -> Vec<String> {
                table.iter().filter(|(kind, name)| called(kind, name)).map(|(kind, name)| describe(kind, name)).collect()
            };
            self.executes.extend(of(&RUNS_PROGRAMS));
            self.reaches.extend(of(&REACHES_OUT));
        }
        for (name, provider) in labelled(body, "provider") {
            let setting = program_setting(provider);
            self.executes.extend(setting.map(|setting| format!("`{setting}` of the provider `{name}`")));
        }
    }

    fn take_calls(&mut self, body: &Value, own: Option<&str>) {
        for (_, call) in labelled(body, "module") {
            let Some(source) = call.get("source").and_then(Value::as_str) else { continue };
            match (source::read(source), own) {
                // What is brought stays in its package: the programs see to that.
                (Source::Beside, None) => {}
                (Source::Beside, Some(folder)) => {
                    if files::resolve(folder, source).is_none() {
                        self.reaches.insert(format!("the module `{source}`, which is not among the files"));
                    }
                }
                (Source::Pinned { .. } | Source::Open(_), _) => {
                    self.remote.insert(source.to_owned());
                }
            }
        }
    }

    /// Returns the addresses of what can be another module tomorrow, and why.
    pub(crate) fn open_sources(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.remote.iter().filter_map(|address| match source::read(address) {
            Source::Open(why) => Some((address.as_str(), why)),
            Source::Beside | Source::Pinned { .. } => None,
        })
    }

    /// Returns the repositories on this machine that it calls modules from.
    pub(crate) fn local_repositories(&self) -> impl Iterator<Item = String> {
        self.remote.iter().filter_map(|address| match source::read(address) {
            Source::Pinned { folder } => folder,
            Source::Beside | Source::Open(_) => None,
        })
    }
}

/// Returns whether an argument says `true`, in any form that the programs take for it, or something that is known only later.
fn says_yes(value: Option<&Value>) -> bool {
    !matches!(value, None | Some(Value::Null | Value::Bool(false))) && value.and_then(Value::as_str) != Some("false")
}

/// Finds a setting by which a provider starts a program or reads a file that names one, at any depth.
fn program_setting(settings: &Value) -> Option<&str> {
    match settings {
        Value::Object(fields) => fields.iter().find_map(|(name, inner)| {
            let is_hidden = NESTED_SETTINGS.contains(&name.as_str()) && inner.is_string();
            if PROGRAM_SETTINGS.contains(&name.as_str()) || is_hidden { Some(name.as_str()) } else { program_setting(inner) }
        }),
        Value::Array(items) => items.iter().find_map(program_setting),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
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
        let executes = || brought(folder.path()).map(|module| module.executes);
        assert_eq!(brought(folder.path()), Ok(Module::default()), "nothing was brought");
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
        assert_eq!(executes(), Ok(BTreeSet::new()));
        write(".terraform/modules/m/part/more.tf", "resource \"terraform_data\" \"x\" {\n  provisioner \"local-exec\" {\n  }\n}\n");
        assert_eq!(executes(), Ok(BTreeSet::from(["a provisioner of `terraform_data`".to_owned()])));
        write(".terraform/modules/m/part/more.tf", "resource {");
        assert!(brought(folder.path()).unwrap_err().starts_with(".terraform/modules/m/part: "));
    }
}
