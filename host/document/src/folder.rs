//! `$folder` and `$git`: bring the files of a folder, beside a platform document or in a repository, into an input, as text by
//! relative path.

use std::{
    fs,
    path::{Component, Path},
    sync::Arc,
};

use serde_json::{Map, Value};
use windlass_model::limits;

use crate::{
    git::{Fetched, GitSource},
    problem::{Problem, Problems, Source},
    source_files::read_beneath,
    tree::Node,
};

/// The only key of an object that stands for a folder.
const KEY: &str = "$folder";
/// The only key of an object that stands for a folder in a repository.
const GIT_KEY: &str = "$git";
/// Files of one folder.
const FILES_MAX: usize = 200;

/// Replaces every `{ $folder: PATH }` below a value. The files' placeholders are their own: they stay as they are written.
pub(crate) fn inline(
    source: &Arc<Source>,
    node: &Node,
    at: &str,
    value: &mut Value,
    folder: &Path,
    (problems, fetched): (&mut Problems, &mut Vec<Fetched>),
) {
    match value {
        Value::Object(fields) => {
            let found = match (fields.len(), fields.get(KEY), fields.get(GIT_KEY)) {
                (1, Some(Value::String(path)), _) => Some(files(folder, path)),
                (1, _, Some(wanted)) => Some(files_of_repository(wanted, fetched)),
                _ => None,
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
                        inline(source, node, &at, inner, folder, (problems, fetched));
                    }
                }
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter_mut().enumerate() {
                inline(source, node, &format!("{at}/{index}"), inner, folder, (problems, fetched));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn files_of_repository(wanted: &Value, fetched: &mut Vec<Fetched>) -> Result<Map<String, Value>, String> {
    let wanted: GitSource =
        serde_json::from_value(wanted.clone()).map_err(|error| format!("`$git` takes `repository`, `ref` and `path`: {error}"))?;
    let folder = tempfile::tempdir().map_err(|error| format!("no folder can be made: {error}"))?;
    fetched.push(wanted.fetch(folder.path())?);
    files(folder.path(), wanted.path.as_deref().unwrap_or("."))
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
        out.insert(name, Value::String(text.replace('$', "$$")));
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
