//! Brings the files that a Score document names into the model.

use std::{
    fs,
    path::{Component, Path},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use windlass_model::limits;

use crate::{
    problem::{Problem, Problems, Source},
    tree::Node,
};

/// Replaces every `source` of a file by its content; refuses what leaves the folder.
pub(crate) fn inline(source: &Arc<Source>, node: &Node, value: &mut Value, folder: &Path, problems: &mut Problems) {
    let Some(containers) = value.get_mut("containers").and_then(Value::as_object_mut) else { return };
    for (name, container) in containers {
        let Some(files) = container.get_mut("files").and_then(Value::as_object_mut) else { continue };
        for (target, file) in files {
            let at = format!("/containers/{name}/files/{}", windlass_model::pointer::escape(target));
            if let Some(content) = file.get("binaryContent").and_then(Value::as_str)
                && STANDARD.decode(content).is_err()
            {
                problems.push(
                    Problem::file(source, "base64", "`binaryContent` is not base64")
                        .at(node.span_at(&format!("{at}/binaryContent")), format!("{at}/binaryContent")),
                );
            }
            let Some(path) = file.get("source").and_then(Value::as_str).map(str::to_owned) else { continue };
            let at = format!("{at}/source");
            match read_beneath(folder, &path) {
                Ok(bytes) => {
                    let no_expand = file.get("noExpand").and_then(Value::as_bool).unwrap_or(false);
                    match (String::from_utf8(bytes), file.as_object_mut()) {
                        (Ok(text), Some(file)) => {
                            file.remove("source");
                            file.insert("content".into(), Value::String(text));
                        }
                        (Err(bytes), Some(file)) if no_expand => {
                            file.remove("source");
                            file.insert("binaryContent".into(), Value::String(STANDARD.encode(bytes.into_bytes())));
                        }
                        (Err(_), Some(_)) => problems.push(
                            Problem::file(source, "not-utf8", format!("`{path}` is not UTF-8 text"))
                                .at(node.span_at(&at), at)
                                .hint("say `noExpand: true` for a binary file"),
                        ),
                        (_, None) => {}
                    }
                }
                Err(reason) => {
                    problems.push(Problem::file(source, "source-file", reason).at(node.span_at(&at), at));
                    if let Some(file) = file.as_object_mut() {
                        file.remove("source");
                        file.insert("content".into(), Value::String(String::new()));
                    }
                }
            }
        }
    }
}

/// Reads a regular file below a folder, without following links.
pub(crate) fn read_beneath(folder: &Path, path: &str) -> Result<Vec<u8>, String> {
    let relative = Path::new(path);
    if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("`{path}` leaves the folder of the document; put the file beside it"));
    }
    let mut at = folder.to_path_buf();
    for part in relative.components() {
        at.push(part);
        let metadata = fs::symlink_metadata(&at).map_err(|error| format!("`{path}` can't be read: {error}"))?;
        if metadata.file_type().is_symlink() {
            return Err(format!("`{path}` goes through a symbolic link, which is not followed"));
        }
    }
    let metadata = fs::metadata(&at).map_err(|error| format!("`{path}` can't be read: {error}"))?;
    if !metadata.is_file() {
        return Err(format!("`{path}` is no regular file"));
    }
    if metadata.len() > limits::SOURCE_FILE_BYTES_MAX as u64 {
        return Err(format!(
            "`{path}` has {} bytes; {} are allowed: a ConfigMap holds no more",
            metadata.len(),
            limits::SOURCE_FILE_BYTES_MAX
        ));
    }
    fs::read(&at).map_err(|error| format!("`{path}` can't be read: {error}"))
}
