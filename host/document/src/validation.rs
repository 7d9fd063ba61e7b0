//! Any documents below some paths, each checked by itself and against those that it belongs to.

use std::path::{Path, PathBuf};

use crate::{
    application::{ApplicationInput, NO_NAME, ReadApplication, read_application},
    discover::{Discovered, Document, discover_all},
    platform::{LoadedPlatform, read_platform},
    problem::{Problem, Problems},
    remote::Fetcher,
    score::{Changes, read_node},
};

/// The name of an application that is not named.
const STAND_IN: &str = "application";

/// What stands below some paths, and everything that is wrong with it as far as no platform is needed to tell.
#[derive(Debug, Default)]
pub struct Validation {
    /// How many documents were read.
    pub documents: usize,
    /// The applications; their findings are among `problems`.
    pub applications: Vec<ReadApplication>,
    /// The platform documents, as one layer; with an error among `problems` some may be missing.
    pub platform: LoadedPlatform,
    /// Whether each platform document could be read.
    pub is_platform_whole: bool,
    /// Everything that is wrong, by file and place.
    pub problems: Problems,
}

/// Checks any documents below some paths, whatever their kind. What they name elsewhere is brought by `fetcher`.
///
/// An Application document and its workloads are one application; so are the workloads of a folder without such a document, and all
/// Score files that are named themselves.
#[must_use]
pub fn validate(paths: &[PathBuf], fetcher: &dyn Fetcher) -> Validation {
    let mut validation = Validation::default();
    let mut all = Discovered::default();
    let mut files = Vec::new();
    for path in paths {
        let (found, problems) = discover_all(path);
        if found.documents.is_empty() && !problems.has_errors() {
            validation.problems.push(nothing(path));
        }
        validation.problems.extend(problems);
        let of_kind = |kind: &'static str| found.documents.iter().filter(move |document| document.kind == kind);
        let applications: Vec<&Document> = of_kind("Application").collect();
        match applications.as_slice() {
            [] if of_kind("Workload").next().is_none() => {}
            [] if path.is_file() => files.push(path.clone()),
            [] | [_] => validation.add(std::slice::from_ref(path)),
            several => several.iter().for_each(|document| validation.add(std::slice::from_ref(&document.path))),
        }
        all.documents.extend(found.documents);
    }
    if !files.is_empty() {
        validation.add(&files);
    }
    validation.documents = all.documents.len();
    validation.check_others(&all);
    let (platform, problems) = read_platform(&all, fetcher);
    validation.is_platform_whole = !problems.has_errors();
    validation.platform = platform;
    validation.problems.extend(problems);
    validation.problems = std::mem::take(&mut validation.problems).sorted();
    validation
}

fn nothing(path: &Path) -> Problem {
    let what = if path.is_dir() { "there is no Score or Windlass document in this folder" } else { "the file holds no document" };
    Problem::path(path.display(), "no-documents", what)
        .hint("a Score document begins with `apiVersion: score.dev/v1b1`; `windlass init` writes one")
}

impl Validation {
    fn add(&mut self, paths: &[PathBuf]) {
        let input = ApplicationInput { paths: paths.to_vec(), ..ApplicationInput::default() };
        let mut read = read_application(&input);
        if read.problems.0.iter().any(|problem| problem.code == NO_NAME) {
            // Deploying needs a name; everything else can be told without one.
            read = read_application(&ApplicationInput { name: STAND_IN.parse().ok(), ..input });
        }
        self.problems.extend(read.problems.clone());
        self.applications.push(read);
    }

    /// Checks workloads that are part of no application, each by itself.
    fn check_others(&mut self, all: &Discovered) {
        let mut known: Vec<String> = Vec::new();
        for loaded in self.applications.iter().filter_map(|application| application.loaded.as_ref()) {
            known.extend(loaded.provenance.0.values().map(|file| file.path.clone()));
        }
        let others = all.documents.iter().filter(|document| document.kind == "Workload" && !known.contains(&document.source.path));
        for document in others {
            let folder = document.path.parent().unwrap_or(Path::new("."));
            let read = read_node(&document.source, document.node.clone(), folder, &Changes::default());
            self.problems.extend(read.problems);
        }
    }
}
