//! Embeds the first-party components, which `cargo xtask components` builds, and the platform that applies where nobody wrote another:
//! its documents are read and checked here, once, and not at the start of every command.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use windlass_document::{LoadedPlatform, load_platform_sources};

/// The documents of the built-in layer, in `platform`.
const DOCUMENTS: [&str; 3] = ["core.yaml", "templates.yaml", "types.yaml"];

/// The drivers that the binary embeds.
const BUILT_IN: [&str; 17] = [
    "dns-route53",
    "dns-static",
    "kubernetes-namespace",
    "mysql-rds",
    "observability",
    "postgres",
    "postgres-database",
    "postgres-rds",
    "redis",
    "route",
    "s3-terraform",
    "secret-vault",
    "template",
    "terraform-module",
    "vault-sidecar",
    "volume",
    "workload-default",
];

type Anything = Box<dyn std::error::Error>;

fn main() -> Result<(), Anything> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    embed_components(&out)?;
    embed_platform(&out)
}

fn embed_platform(out: &Path) -> Result<(), Anything> {
    let mut sources = Vec::new();
    for name in DOCUMENTS {
        let path = Path::new("platform").join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        sources.push((format!("built-in/{name}"), fs::read_to_string(path)?));
    }
    let sources: Vec<(&str, &str)> = sources.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let LoadedPlatform { platform, provenance, .. } = load_platform_sources(&sources).map_err(|problems| format!("{problems:#?}"))?;
    fs::write(out.join("platform.json"), serde_json::to_vec(&(platform, provenance))?)?;
    Ok(())
}

fn embed_components(out: &Path) -> Result<(), Anything> {
    println!("cargo::rerun-if-env-changed=WINDLASS_COMPONENTS");
    let folder = match env::var_os("WINDLASS_COMPONENTS") {
        Some(folder) => PathBuf::from(folder),
        // OUT_DIR is TARGET/PROFILE/build/PACKAGE/out.
        None => out.ancestors().nth(4).ok_or("OUT_DIR is not inside a build folder")?.join("components"),
    };
    let mut code = String::from("/// Name, digest, bytes.\npub(crate) static COMPONENTS: &[(&str, &str, &[u8])] = &[\n");
    for name in BUILT_IN {
        let path = folder.join(format!("{name}.wasm"));
        println!("cargo::rerun-if-changed={}", path.display());
        if !path.exists() {
            return Err(format!("the component {} is not built; run `cargo xtask components` first", path.display()).into());
        }
        let hex: String = Sha256::digest(fs::read(&path)?).iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(code, "    ({name:?}, \"sha256:{hex}\", include_bytes!({:?})),", path.canonicalize()?)?;
    }
    code.push_str("];\n");
    fs::write(out.join("components.rs"), code)?;
    Ok(())
}
