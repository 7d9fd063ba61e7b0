//! `$folder`, `$git` and `$oci`: bring the files of a folder, beside a platform document or elsewhere, into an input, as text by
//! relative path.

use std::{
    fs,
    path::{Component, Path},
    sync::Arc,
};

use serde_json::{Map, Value};
use windlass_model::{limits, placeholder, store_reference};

use crate::{
    problem::{Problem, Problems, Source},
    remote::{Fetched, Fetcher, Remote},
    source_files::read_beneath,
    tree::Node,
};

/// The only key of an object that stands for a folder.
const KEY: &str = "$folder";
/// Files of one folder.
const FILES_MAX: usize = 200;

/// What stands elsewhere: who brings it, and what was brought so far.
pub(crate) struct Elsewhere<'a> {
    pub fetcher: &'a dyn Fetcher,
    pub fetched: Vec<Fetched>,
}

impl Elsewhere<'_> {
    fn files(&mut self, wanted: &Remote) -> Result<Map<String, Value>, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no folder can be made: {error}"))?;
        self.fetched.push(self.fetcher.fetch(wanted, folder.path())?);
        files(folder.path(), wanted.path())
    }
}

/// Replaces every `{ $folder: PATH }` below a value, and what names files elsewhere. The files' placeholders are their own: they
/// stay as they are written.
pub(crate) fn inline(
    source: &Arc<Source>,
    node: &Node,
    at: &str,
    value: &mut Value,
    folder: &Path,
    (problems, elsewhere): (&mut Problems, &mut Elsewhere<'_>),
) {
    match value {
        Value::Object(fields) => {
            let found = match (fields.len(), fields.get(KEY)) {
                (1, Some(Value::String(path))) => Some(files(folder, path)),
                _ => Remote::read(fields).map(|wanted| elsewhere.files(&wanted?)),
            };
            match found {
                Some(Ok(files)) => *value = Value::Object(files),
                Some(Err(reason)) => {
                    problems.push(Problem::file(source, "folder", reason).at(node.span_at(at), at));
                    *value = Value::Object(Map::new());
                }
                None => {
                    for (name, inner) in fields {
                        let at = format!("{at}/{}", windlass_model::pointer::escape(name));
                        inline(source, node, &at, inner, folder, (problems, elsewhere));
                    }
                }
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter_mut().enumerate() {
                inline(source, node, &format!("{at}/{index}"), inner, folder, (problems, elsewhere));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn files(base: &Path, path: &str) -> Result<Map<String, Value>, String> {
    if Path::new(path).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("the folder `{path}` leaves that of the document; put it beside"));
    }
    let mut found = Vec::new();
    list(&base.join(path), "", &mut found).map_err(|error| format!("the folder `{path}` can't be read: {error}"))?;
    if found.is_empty() {
        return Err(format!("the folder `{path}` holds no file"));
    }
    if found.len() > FILES_MAX {
        return Err(format!("the folder `{path}` holds {} files; {FILES_MAX} are allowed", found.len()));
    }
    let mut out = Map::new();
    let mut bytes = 0;
    for name in found {
        let content = read_beneath(base, &format!("{}/{name}", path.trim_end_matches('/')))?;
        bytes += content.len();
        if bytes > limits::SOURCE_FILE_BYTES_MAX {
            return Err(format!("the folder `{path}` holds more than {} bytes", limits::SOURCE_FILE_BYTES_MAX));
        }
        let text = String::from_utf8(content).map_err(|_| format!("`{path}/{name}` is not UTF-8 text"))?;
        // Only text that stands in the definition itself may refer to a secret; files may come from others.
        if store_reference::written(&text).is_some() {
            return Err(format!("`{path}/{name}` reads like a reference to a secret; a reference stands in the definition itself"));
        }
        out.insert(name, Value::String(placeholder::escape(&text)));
    }
    Ok(out)
}

/// Lists regular files, hidden ones left out.
fn list(folder: &Path, prefix: &str, out: &mut Vec<String>) -> std::io::Result<()> {
    let mut entries: Vec<fs::DirEntry> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The lock file of providers belongs to a module, though it is hidden.
        if name.starts_with('.') && name != ".terraform.lock.hcl" {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), &format!("{prefix}{name}/"), out)?;
        } else {
            out.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}
