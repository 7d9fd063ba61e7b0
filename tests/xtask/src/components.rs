//! Builds guests and turns their core modules into components.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use wasm_metadata::{AddMetadata, AddMetadataField, Revision, Source};
use wit_component::ComponentEncoder;

use crate::{
    place::{Place, succeed},
    toolchain::Toolchain,
};

/// Builds everything that runs as Wasm; returns the number of components.
pub(crate) fn build_all(place: &Place) -> Result<usize> {
    let toolchain = Toolchain::find()?;
    let mut packages = Vec::new();
    for folder in ["drivers", "examples/drivers"] {
        packages.extend(members(&place.root.join(folder))?);
    }
    let mut command = toolchain.command(place);
    for package in &packages {
        command.args(["--package", package]);
    }
    succeed(&mut command).context("drivers don't compile")?;
    if place.root.join("tests/guests/Cargo.toml").exists() {
        let mut command = toolchain.command(place);
        command.arg("--examples").arg("--manifest-path").arg(place.root.join("tests/guests/Cargo.toml"));
        succeed(&mut command).context("hostile guests don't compile")?;
    }
    let folder = place.components();
    fs::create_dir_all(&folder)?;
    let mut count = 0;
    for (modules, folder) in [(toolchain.output(place), folder.clone()), (toolchain.output(place).join("examples"), folder.join("guests"))]
    {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&modules)? {
            let path = entry?.path();
            // Cargo leaves a second copy behind, with a hash in its name.
            let is_copy = path.file_stem().is_some_and(|stem| stem.to_string_lossy().contains('-'));
            if path.extension().is_some_and(|extension| extension == "wasm") && !is_copy {
                encode(&path, &folder)?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Reads the package names of a folder of crates.
fn members(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    if !folder.is_dir() {
        return Ok(names);
    }
    for entry in fs::read_dir(folder)? {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.is_file() {
            let text = fs::read_to_string(&manifest)?;
            let name = text.lines().find_map(|line| line.strip_prefix("name = ")).context("a manifest without a name")?;
            names.push(name.trim_matches('"').to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Encodes one module; an unchanged component keeps its file, so that nothing behind it is built again.
fn encode(module: &Path, folder: &Path) -> Result<()> {
    let name = module
        .file_stem()
        .context("no name")?
        .to_string_lossy()
        .replace("windlass_driver_", "")
        .replace("windlass_example_", "example-")
        .replace('_', "-");
    let bytes = fs::read(module)?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode())
        .with_context(|| format!("{} can't be encoded as a component", module.display()))?;
    let mut metadata = AddMetadata::default();
    metadata.source = AddMetadataField::Set(Source::new(env!("CARGO_PKG_REPOSITORY"))?);
    metadata.revision = AddMetadataField::Set(Revision::new(env!("CARGO_PKG_VERSION").to_owned()));
    let component = metadata.to_wasm(&component)?;
    let path = folder.join(format!("{name}.wasm"));
    if fs::read(&path).ok().as_deref() != Some(component.as_slice()) {
        let temporary = folder.join(format!(".{name}.tmp"));
        fs::write(&temporary, &component)?;
        fs::rename(temporary, path)?;
    }
    Ok(())
}
