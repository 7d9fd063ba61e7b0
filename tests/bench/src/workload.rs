//! W(N): N Score files with 1 container, 6 variables of which 3 are placeholders, 1 port, 2 private
//! resources and 1 shared one per 10.

use std::{fs, path::Path};

use anyhow::Result;
use tempfile::TempDir;

fn score(index: usize) -> String {
    format!(
        "apiVersion: score.dev/v1b1
metadata:
  name: w{index}
service:
  ports:
    http: {{ port: 8080 }}
containers:
  main:
    image: registry.example/w{index}:1.0.{index}
    variables:
      LOG_LEVEL: info
      REGION: eu-west-1
      FEATURE: \"on\"
      DB: postgres://${{resources.db.username}}:${{resources.db.password}}@${{resources.db.host}}
      HOST: ${{resources.dns.host}}
      CACHE: redis://${{resources.cache.host}}:${{resources.cache.port}}
resources:
  db: {{ type: postgres }}
  dns: {{ type: dns }}
  cache: {{ type: redis, id: shared-{} }}
",
        index / 10
    )
}

/// Writes W(N) into a new folder.
pub(crate) fn write(count: usize) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let app = folder.path().join("app");
    fs::create_dir_all(&app)?;
    for index in 0..count {
        fs::write(app.join(format!("w{index}.score.yaml")), score(index))?;
    }
    Ok(folder)
}

/// Changes one variable of one workload.
pub(crate) fn touch(folder: &Path) -> Result<()> {
    let path = folder.join("app/w0.score.yaml");
    fs::write(&path, fs::read_to_string(&path)?.replace("LOG_LEVEL: info", "LOG_LEVEL: debug"))?;
    Ok(())
}

/// Writes a platform with a size of databases.
pub(crate) fn platform(folder: &Path, size: &str) -> Result<()> {
    fs::create_dir_all(folder.join("platform"))?;
    fs::write(
        folder.join("platform/postgres.yaml"),
        format!(
            "apiVersion: windlass.dev/v1alpha1
kind: ResourceDefinition
metadata: {{ name: pg }}
spec:
  type: postgres
  driver: {{ builtin: postgres }}
  inputs: {{ storage: {size} }}
  grants:
    - {{ import: windlass:kubernetes/objects, kinds: [v1/Secret, v1/Service, v1/PersistentVolumeClaim, apps/v1/StatefulSet] }}
    - {{ import: windlass:secrets/generated }}
"
        ),
    )?;
    Ok(())
}
