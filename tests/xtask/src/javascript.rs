//! Builds the example driver in JavaScript. Its tools come from npm, once for each lock file.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use windlass_cluster::hash_files;

use crate::place::{self, Place, succeed};

/// The component, beside those of Rust.
const COMPONENT: &str = "example-dns-javascript.wasm";

/// Builds the component, if anything that decides about it changed.
pub(crate) fn build(place: &Place) -> Result<()> {
    let source = place.root.join("examples/drivers/dns-javascript");
    let wit = place.root.join("wit/driver");
    let lock = hash_files([source.join("package-lock.json")])?;
    let tools = place::cache()?.join(format!("javascript-{lock}"));
    if !tools.join("ready").exists() {
        eprintln!("xtask: installing the tools of JavaScript components");
        fs::create_dir_all(&tools)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), tools.join(file))?;
        }
        succeed(Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&tools))
            .context("npm brings the tools of a driver in JavaScript: install Node.js 20 or newer with npm")?;
        fs::write(tools.join("ready"), "")?;
    }
    let (component, stamp) = (place.components().join(COMPONENT), place.components().join(".dns-javascript"));
    let files = ["driver.js", "world.wit", "build.mjs", "package-lock.json"].map(|file| source.join(file));
    let wanted = hash_files(files.into_iter().chain([wit.join("driver.wit")]))?;
    if component.exists() && fs::read_to_string(&stamp).is_ok_and(|known| known == wanted) {
        return Ok(());
    }
    // Node looks for packages beside the script.
    fs::copy(source.join("build.mjs"), tools.join("build.mjs"))?;
    succeed(Command::new("node").arg("build.mjs").arg(&source).arg(&wit).arg(&component).current_dir(&tools))?;
    fs::write(stamp, wanted)?;
    Ok(())
}
