//! Finds documents: a Score file, a folder, an Application document.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use windlass_model::{did_you_mean, limits, platform::API_VERSION, score};

use crate::{
    problem::{Problem, Problems, Source},
    schema, template,
    tree::{self, Node},
};

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its file.
    pub source: Arc<Source>,
    /// The file's path.
    pub path: PathBuf,
    /// Its tree.
    pub node: Node,
    /// `Workload`, `Application`, or the platform kind that it names.
    pub kind: &'static str,
}

/// Everything found below a path.
#[derive(Clone, Debug, Default)]
pub struct Discovered {
    /// The documents, by file and place.
    pub documents: Vec<Document>,
}

/// Reads all documents of a file or a folder.
pub fn discover(path: &Path) -> Result<Discovered, Problems> {
    let (found, problems) = discover_all(path);
    problems.into_result(found)
}

/// Reads the documents of a file or a folder that can be read, and tells of the others.
pub(crate) fn discover_all(path: &Path) -> (Discovered, Problems) {
    let mut problems = Problems::default();
    let mut found = Discovered::default();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return (found, Problem::path(path.display(), "not-found", format!("can't be read: {error}")).into()),
    };
    let files = if metadata.is_dir() { list_folder(path) } else { Ok(vec![path.to_path_buf()]) };
    let files = files.unwrap_or_else(|more| {
        problems.extend(more);
        Vec::new()
    });
    for file in files {
        match read_documents(&file, metadata.is_dir()) {
            Ok(documents) => found.documents.extend(documents),
            Err(more) => problems.extend(more),
        }
        if found.documents.len() > limits::DOCUMENTS_MAX {
            problems.push(Problem::path(path.display(), "too-many", format!("more than {} documents", limits::DOCUMENTS_MAX)));
            break;
        }
    }
    (found, problems)
}

/// Lists the YAML and JSON files of a folder and its folders, hidden ones left out, ordered by path.
fn list_folder(folder: &Path) -> Result<Vec<PathBuf>, Problems> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).map_err(|error| Problem::path(folder.display(), "not-found", format!("can't be read: {error}")))?;
    for entry in entries {
        let entry = entry.map_err(|error| Problem::path(folder.display(), "not-found", format!("can't be read: {error}")))?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type().map_err(|error| Problem::path(path.display(), "not-found", format!("can't be read: {error}")))?;
        if name.starts_with('.') || name == "node_modules" || name == "target" || kind.is_symlink() {
            continue;
        }
        if kind.is_dir() {
            files.extend(list_folder(&path)?);
        } else if name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a file as text.
pub(crate) fn read_source(path: &Path) -> Result<Arc<Source>, Problems> {
    let metadata = fs::metadata(path).map_err(|error| Problem::path(path.display(), "not-found", format!("can't be read: {error}")))?;
    if !metadata.is_file() {
        return Err(Problem::path(path.display(), "not-a-file", "is no regular file").into());
    }
    if metadata.len() > limits::DOCUMENT_BYTES_MAX as u64 {
        return Err(Problem::path(
            path.display(),
            "too-large",
            format!("the file has {} bytes; {} are allowed", metadata.len(), limits::DOCUMENT_BYTES_MAX),
        )
        .into());
    }
    let bytes = fs::read(path).map_err(|error| Problem::path(path.display(), "not-found", format!("can't be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| Problem::path(path.display(), "not-utf8", "is not UTF-8 text"))?;
    Ok(Arc::new(Source { path: path.display().to_string(), text }))
}

/// Reads the documents of a file; in a folder, files that are not for us are left alone.
fn read_documents(path: &Path, in_folder: bool) -> Result<Vec<Document>, Problems> {
    let source = read_source(path)?;
    if in_folder && !names_our_version(&source.text) {
        return Ok(Vec::new());
    }
    let nodes = tree::parse(&source).map_err(|problems| template::explained(&source, problems))?;
    let mut problems = Problems::default();
    let mut documents = Vec::new();
    for node in nodes {
        match kind_of(&source, &node) {
            Ok("Workload") if let Some(problem) = template::unrendered(&source, &node) => problems.push(problem),
            Ok(kind) => documents.push(Document { source: Arc::clone(&source), path: path.to_path_buf(), node, kind }),
            Err(problem) if in_folder && problem.code == "foreign-document" => {}
            Err(problem) => problems.push(problem),
        }
    }
    problems.into_result(documents)
}

/// Returns whether a text names an API version of ours. An annotation such as `k8s.score.dev/kind` in a file of another tool is none.
fn names_our_version(text: &str) -> bool {
    ["score.dev/", "windlass.dev/"].iter().any(|group| {
        let mut found = text.match_indices(group);
        found.any(|(start, _)| {
            !text.get(..start).is_some_and(|before| before.ends_with(['.', '-']) || before.ends_with(char::is_alphanumeric))
        })
    })
}

/// Tells a document's kind by its `apiVersion` and `kind`.
fn kind_of(source: &Arc<Source>, node: &Node) -> Result<&'static str, Problem> {
    let version = node.get("apiVersion").and_then(Node::as_str);
    let kind = node.get("kind").and_then(Node::as_str);
    match (version, kind) {
        // A `kind` makes a Score document no other one: it is an error of its own.
        (Some(version), _) if version.starts_with("score.dev/") => {
            if version == score::API_VERSION {
                Ok("Workload")
            } else {
                Err(Problem::file(source, "unknown-version", format!("unknown API version `{version}`"))
                    .at(node.span_at("/apiVersion"), "/apiVersion")
                    .hint(format!("`{}` is the known one", score::API_VERSION)))
            }
        }
        (Some(version), Some(kind)) if version.starts_with("windlass.dev/") => {
            if version != API_VERSION {
                return Err(Problem::file(source, "unknown-version", format!("unknown API version `{version}`"))
                    .at(node.span_at("/apiVersion"), "/apiVersion")
                    .hint(format!("`{API_VERSION}` is the known one")));
            }
            schema::KINDS.iter().find(|known| **known == kind && **known != "Workload").copied().ok_or_else(|| {
                let problem = Problem::file(source, "unknown-kind", format!("unknown kind `{kind}`")).at(node.span_at("/kind"), "/kind");
                let all = || format!("known kinds: {}", schema::KINDS[1..].join(", "));
                problem.hint(did_you_mean(kind, schema::KINDS.iter().copied()).unwrap_or_else(all))
            })
        }
        (Some(version), None) if version.starts_with("windlass.dev/") => {
            Err(Problem::file(source, "missing-field", "missing field `kind`")
                .at(node.span, "")
                .hint(format!("one of {}", schema::KINDS[1..].join(", "))))
        }
        _ => Err(Problem::file(source, "foreign-document", "is neither a Score nor a Windlass document")
            .at(node.span_at("/apiVersion"), "/apiVersion")
            .hint(format!("`apiVersion` is `{}` or `{API_VERSION}`", score::API_VERSION))),
    }
}
