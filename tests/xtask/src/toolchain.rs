//! The compiler for Wasm guests: rustup's target where it can be added, else Debian's own compiler,
//! which builds the standard library itself.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use crate::place::{Place, succeed};

/// How guests are compiled on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The target's standard library is installed.
    Rustup,
    /// Debian's `rustc-web` with `-Zbuild-std`.
    Debian,
}

const TARGET: &str = "wasm32-unknown-unknown";

impl Toolchain {
    /// Finds or installs one.
    pub(crate) fn find() -> Result<Self> {
        if has_target() {
            return Ok(Self::Rustup);
        }
        eprintln!("xtask: adding the target {TARGET}");
        let added = Command::new("rustup")
            .args(["target", "add", TARGET])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if added && has_target() {
            return Ok(Self::Rustup);
        }
        if !debian_is_there() {
            eprintln!("xtask: rustup can't add it; installing Debian's compiler for it");
            let apt = |arguments: &[&str]| {
                succeed(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()))
            };
            apt(&["update", "-qq"])?;
            apt(&["install", "-y", "-qq", "--no-install-recommends", "rustc-web", "cargo-web", "rust-web-src", "lld-19"])?;
        }
        if debian_is_there() {
            return Ok(Self::Debian);
        }
        bail!(
            "no compiler for {TARGET}: run `rustup target add {TARGET}`, or install Debian's packages rustc-web cargo-web rust-web-src lld-19"
        )
    }

    /// Prepares a guest build.
    pub(crate) fn command(self, place: &Place) -> Command {
        let mut command = match self {
            Self::Rustup => place.cargo_command(),
            Self::Debian => {
                let mut command = Command::new("/usr/bin/cargo");
                command
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "/usr/bin/wasm-ld-19");
                command
            }
        };
        let folder = match self {
            Self::Rustup => "guests",
            Self::Debian => "guests-debian",
        };
        // Paths of this machine must not enter a component: its digest is its name.
        // The stack comes first in a guest's memory: a small one keeps what a call touches together, so that a fresh
        // instance costs no page fault. 128 KiB hold JSON of 64 levels twice; the default is a megabyte.
        let flags = format!(
            "--remap-path-prefix={}=/windlass --remap-path-prefix={}=/cargo -Clink-arg=-zstack-size=131072",
            place.root.display(),
            cargo_home()
        );
        command
            .current_dir(&place.root)
            .env("CARGO_TARGET_DIR", place.target.join(folder))
            .env("RUSTFLAGS", flags)
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        command.args(["build", "--profile", "guest", "--target", TARGET]);
        if self == Self::Debian {
            command.arg("-Zbuild-std=std,panic_abort");
        }
        command
    }

    /// Returns the folder of the built core modules.
    pub(crate) fn output(self, place: &Place) -> std::path::PathBuf {
        let folder = match self {
            Self::Rustup => "guests",
            Self::Debian => "guests-debian",
        };
        place.target.join(folder).join(TARGET).join("guest")
    }
}

fn cargo_home() -> String {
    std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap_or_default()))
}

fn has_target() -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn debian_is_there() -> bool {
    ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/bin/wasm-ld-19"].iter().all(|path| Path::new(path).exists())
}
