//! Files of other tools beside Score files: they are not read, and people expect that they are.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use windlass_model::application::Provenance;

/// A file that another tool reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherFile {
    /// Its path.
    pub path: PathBuf,
    /// The tool.
    pub tool: &'static str,
}

/// Lists the files of other tools in the folders of the Score files that were read, ordered by path. Folders that cannot be listed
/// have none.
#[must_use]
pub fn other_files(provenance: &Provenance) -> Vec<OtherFile> {
    let files = provenance.0.iter().filter(|(document, _)| document.starts_with("workload/"));
    let folders: BTreeSet<PathBuf> = files.map(|(_, file)| Path::new(&file.path).parent().unwrap_or(Path::new("")).to_path_buf()).collect();
    let mut found: Vec<OtherFile> = folders.iter().flat_map(|folder| in_folder(folder)).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn in_folder(folder: &Path) -> Vec<OtherFile> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(listed).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| Some(OtherFile { tool: tool_of(&name)?, path: folder.join(name) })).collect()
}

/// Returns the tool that reads a file of this name.
fn tool_of(name: &str) -> Option<&'static str> {
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"))?;
    Some(match stem {
        "Chart" => "Helm",
        "kustomization" => "Kustomize",
        "skaffold" => "Skaffold",
        "devspace" => "DevSpace",
        "humanitec.score" | "score.humanitec" => "Humanitec's extension of Score",
        _ if ["docker-compose", "compose"].iter().any(|tool| stem == *tool || stem.starts_with(&format!("{tool}."))) => "Docker Compose",
        _ if stem.ends_with(".provisioners") => "the provisioners of score-k8s and score-compose",
        _ if stem.starts_with("overrides.") || stem.ends_with(".overrides") || stem == "overrides" => "`--overrides-file`",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_known_by_the_names_of_their_files() {
        for (name, tool) in [
            ("docker-compose.yaml", Some("Docker Compose")),
            ("compose.override.yml", Some("Docker Compose")),
            ("Chart.yaml", Some("Helm")),
            ("10-db.provisioners.yaml", Some("the provisioners of score-k8s and score-compose")),
            ("overrides.score.yaml", Some("`--overrides-file`")),
            ("score.yaml", None),
            ("composer.yaml", None),
            ("compose.txt", None),
        ] {
            assert_eq!(tool_of(name), tool, "{name}");
        }
    }
}
