//! Paths inside of containers and volumes: one form for each place, so that no place is mounted twice under two spellings.

use std::collections::BTreeMap;

use windlass_sdk::{diagnostic::escaped, prelude::*, workload::Container};

/// Puts the targets of files and volumes, and the paths in volumes, into their one form.
///
/// Paths that lead out of their root, targets that are the root itself, and targets that two entries share are findings below `base`.
pub(crate) fn normalise(container: &mut Container, base: &str, problems: &mut Vec<Diagnostic>) {
    let mut targets = Targets { base, known: BTreeMap::new() };
    container.files = targets.canonical("files", std::mem::take(&mut container.files), problems);
    container.volumes = targets.canonical("volumes", std::mem::take(&mut container.volumes), problems);
    for (target, volume) in &mut container.volumes {
        let Some(path) = volume.path.take() else { continue };
        match parts(&path) {
            Some(parts) => volume.path = (!parts.is_empty()).then(|| parts.join("/")),
            None => problems.push(
                Diagnostic::error("mount", format!("`{path}` leads out of the volume"))
                    .at(format!("{base}/volumes/{}/path", escaped(targets.written("volumes", target))))
                    .hint("write a path within the volume, without `..`"),
            ),
        }
    }
}

/// The targets of one container: the field and the text that each was written as, by its one form.
struct Targets<'a> {
    base: &'a str,
    known: BTreeMap<String, (&'static str, String)>,
}

impl Targets<'_> {
    fn canonical<T>(&mut self, field: &'static str, entries: BTreeMap<String, T>, problems: &mut Vec<Diagnostic>) -> BTreeMap<String, T> {
        let mut out = BTreeMap::new();
        for (written, entry) in entries {
            match self.claim(field, &written) {
                Ok(target) => {
                    out.insert(target, entry);
                }
                Err(problem) => problems.push(problem.at(format!("{}/{field}/{}", self.base, escaped(&written)))),
            }
        }
        out
    }

    /// Returns the one form of a target that no entry before has.
    fn claim(&mut self, field: &'static str, written: &str) -> Result<String, Diagnostic> {
        let Some(parts) = parts(written) else {
            return Err(Diagnostic::error("mount", format!("`{written}` leads out of the container's root"))
                .hint("write an absolute path without `..`"));
        };
        if parts.is_empty() {
            return Err(Diagnostic::error("mount", format!("`{written}` is the container's root, which can't be mounted over"))
                .hint("mount it at a path below `/`"));
        }
        let target = format!("/{}", parts.join("/"));
        match self.known.get(&target) {
            Some((other, _)) if *other != field => {
                Err(Diagnostic::error("mount", format!("`{target}` is both a file and a volume")).hint("give one of the two another path"))
            }
            Some((_, other)) => Err(Diagnostic::error("mount", format!("`{other}` and `{written}` are one path, `{target}`"))
                .hint("keep one of the two entries, or give one of them another path")),
            None => {
                self.known.insert(target.clone(), (field, written.to_owned()));
                Ok(target)
            }
        }
    }

    fn written<'t>(&'t self, field: &str, target: &'t str) -> &'t str {
        self.known.get(target).filter(|(of, _)| *of == field).map_or(target, |(_, written)| written)
    }
}

/// Splits a path into its names; nothing if it leads upwards.
fn parts(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.contains(&"..")).then_some(parts)
}
