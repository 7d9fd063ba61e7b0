//! Fuzz targets: each hands bytes of an untrusted origin to the code that reads them first.
//!
//! A target returns for every input. It fails by a panic, by taking longer than a few seconds, or by taking more than 512 MiB;
//! `cargo xtask fuzz` looks for such inputs with libFuzzer, and the tests read the kept corpus again.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::LazyLock};

use serde_json::Value;
use tempfile::TempDir;
use windlass_capability_terraform::untrusted;
use windlass_document::{Nowhere, PlanFile};
use windlass_engine::{driver::Description, schema::SchemaCache};
use windlass_model::Digest;
use windlass_source::Manifest;

/// A target with its name, which is also the folder of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 8] = [
    ("component", component),
    ("manifest", manifest),
    ("module", module),
    ("plan-file", plan_file),
    ("schema", schema),
    ("state", state),
    ("transcript", transcript),
    ("yaml", yaml),
];

/// Returns the folder of the kept inputs of a target.
#[must_use]
pub fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// A folder in memory, where the machine has one, for readers that take paths.
static FOLDER: LazyLock<Option<TempDir>> = LazyLock::new(|| TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).ok());

/// Score, Application and platform documents: a YAML stream is parsed, checked by schema, and every problem is given its place.
pub fn yaml(bytes: &[u8]) {
    let Some(folder) = FOLDER.as_ref() else { return };
    let path = folder.path().join(format!("{}.yaml", std::process::id()));
    if fs::write(&path, bytes).is_ok() {
        let _ = windlass_document::validate(&[path], &Nowhere);
    }
}

/// Components: what a binary imports, exports and says about itself, before anything of it is compiled.
pub fn component(bytes: &[u8]) {
    let _ = windlass_runtime::inspect(bytes);
}

/// Schemas of drivers and of resource types: the first line is a schema, the others are values that it checks.
pub fn schema(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let schemas = SchemaCache::default();
    let empty = "{}".to_owned();
    let description =
        Description { summary: String::new(), inputs_schema: first.clone(), params_schema: empty.clone(), outputs_schema: empty };
    let compiled = schemas.driver(&Digest::of_bytes(bytes), &description);
    let of_type = serde_json::from_str::<Value>(&first).ok().and_then(|schema| schemas.r#type(&schema).ok());
    for value in lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if let Ok(schemas) = &compiled {
            let _ = schemas.inputs.check(&value, "", &|_| None);
        }
        if let Some(schema) = &of_type {
            let _ = schema.check(&value, "", &|_| None);
        }
    }
}

/// Plan files: anybody can edit one.
pub fn plan_file(bytes: &[u8]) {
    if PlanFile::is_plan_file(bytes)
        && let Ok(file) = PlanFile::parse(bytes)
    {
        let _ = file.components();
        let _ = file.plan.digest();
    }
}

/// Manifests of registries: the first line is the media type under which the rest came.
pub fn manifest(bytes: &[u8]) {
    let (media_type, text) = first_line(bytes);
    if let Ok(manifest) = Manifest::parse(text, std::str::from_utf8(media_type).ok().filter(|media_type| !media_type.is_empty())) {
        let _ = manifest.archive();
    }
}

/// Files of a Terraform module, in both syntaxes, and its lock file: the first line says which one the rest is.
pub fn module(bytes: &[u8]) {
    let (name, text) = first_line(bytes);
    let (Ok(name), Ok(text)) = (std::str::from_utf8(name), std::str::from_utf8(text)) else { return };
    if name == ".terraform.lock.hcl" {
        let _ = untrusted::lock_file(text);
    }
    let _ = untrusted::module(&BTreeMap::from([(name.to_owned(), text.to_owned())]));
}

/// The stream of a Terraform program, heard for a module that took secrets and for one that took none.
pub fn transcript(bytes: &[u8]) {
    let Some(runtime) = RUNTIME.as_ref() else { return };
    for is_open in [true, false] {
        let _ = runtime.block_on(untrusted::transcript(bytes, is_open));
    }
}

/// States that a run hands over: the first line is the one that is kept.
pub fn state(bytes: &[u8]) {
    let (kept, handed_over) = first_line(bytes);
    let _ = untrusted::state(&String::from_utf8_lossy(kept), &String::from_utf8_lossy(handed_over));
}

/// Runs readers that are asynchronous.
static RUNTIME: LazyLock<Option<tokio::runtime::Runtime>> = LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().ok());

fn first_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default()),
        None => (bytes, &[]),
    }
}
