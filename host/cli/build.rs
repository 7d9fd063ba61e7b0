//! Embeds the first-party components: `cargo xtask components` builds them.

use std::{env, fmt::Write as _, fs, path::PathBuf};

use sha2::{Digest, Sha256};

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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-env-changed=WINDLASS_COMPONENTS");
    let out = PathBuf::from(env::var("OUT_DIR")?);
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
