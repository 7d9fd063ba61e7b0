//! The binary that is handed out: without symbols, with its debug information in a file beside it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    components,
    place::{Place, succeed},
};

/// Builds the binary, and takes it apart into `dist/windlass` and `dist/windlass.debug`, which debuggers and profilers find by its name.
pub(crate) fn run(place: &Place) -> Result<()> {
    components::build_all(place)?;
    let mut build = place.cargo_command();
    // What is stripped by the compiler is gone.
    succeed(build.args(["build", "--release", "--package", "windlass-cli"]).env("CARGO_PROFILE_RELEASE_STRIP", "none"))?;
    let (built, dist) = (place.target.join("release/windlass"), place.target.join("dist"));
    fs::create_dir_all(&dist)?;
    let (binary, debug) = (dist.join("windlass"), dist.join("windlass.debug"));
    let objcopy = || Command::new("objcopy");
    succeed(objcopy().arg("--only-keep-debug").args([&built, &debug]).current_dir(&dist))?;
    succeed(objcopy().args(["--strip-all", "--add-gnu-debuglink=windlass.debug"]).args([&built, &binary]).current_dir(&dist))?;
    for path in [&binary, &debug] {
        println!("{} ({} MB)", path.display(), megabytes(path)?);
    }
    Ok(())
}

fn megabytes(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?.len() / 1_000_000)
}
