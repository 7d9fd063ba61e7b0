//! Runs the fuzz targets under libFuzzer: coverage comes from the compiler's own pass, so no nightly toolchain is needed.

use std::{process::Command, time::Duration};

use anyhow::{Result, bail};

use crate::place::{Place, succeed};

/// What cargo-fuzz passes too, without the sanitizer that only nightly toolchains have.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];
/// Time for each target where none is given.
const SECONDS: u64 = 600;
/// One input may take no longer.
const INPUT_TIME_MAX: Duration = Duration::from_secs(5);
/// The whole process may take no more, in MiB.
const MEMORY_MIB_MAX: u32 = 512;
/// Longest input, in bytes: components of this size exist, documents are smaller.
const INPUT_BYTES_MAX: u32 = 128 * 1024;

/// Runs targets, all if none is named; new inputs that reach new code are kept in the corpus.
pub(crate) fn run(place: &Place, words: &[&str]) -> Result<()> {
    let (names, seconds) = match words {
        [names @ .., "--seconds", seconds] => (names, seconds.parse()?),
        names => (names, SECONDS),
    };
    let fuzz = place.root.join("tests/fuzz");
    let target = place.target.join("fuzz");
    let mut known: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(fuzz.join("src/bin"))? {
        known.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    known.sort();
    if let Some(unknown) = names.iter().find(|name| !known.iter().any(|known| known == *name)) {
        bail!("there is no fuzz target `{unknown}`; targets: {}", known.join(", "));
    }
    // With a target named, flags do not reach build scripts and macros.
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = place.cargo_command();
    build.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", COVERAGE.join(" ")).env_remove("CARGO_ENCODED_RUSTFLAGS");
    build.args(["build", "--release", "--package", "windlass-fuzz", "--features", "libfuzzer", "--bins", "--target", &triple]);
    succeed(&mut build)?;
    let mut failed = Vec::new();
    for name in known.iter().filter(|known| names.is_empty() || names.contains(&known.as_str())) {
        let corpus = fuzz.join("corpus").join(name);
        let found = target.join("found").join(name);
        std::fs::create_dir_all(&found)?;
        std::fs::create_dir_all(&corpus)?;
        let mut command = Command::new(target.join(&triple).join("release").join(format!("fuzz-{name}")));
        command.arg(&corpus).arg(format!("-artifact_prefix={}/", found.display()));
        command.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={}", INPUT_TIME_MAX.as_secs()));
        command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}")).arg(format!("-max_len={INPUT_BYTES_MAX}"));
        command.args(["-print_final_stats=1", "-verbosity=0", "-reload=0"]);
        eprintln!("xtask: fuzzing {name} for {seconds} s");
        if succeed(&mut command).is_err() {
            failed.push(format!("{name} (the input is in {})", found.display()));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("targets failed: {}", failed.join(", ")) }
}
