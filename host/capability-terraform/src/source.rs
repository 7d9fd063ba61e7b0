//! Where a module that is called comes from, in the grammar that the programs use, and whether its content can change.

use url::Url;

/// Letters of a Git commit: SHA-1. A longer or shorter name is a branch, a tag or an abbreviation.
const COMMIT_CHARS: usize = 40;
/// Letters of a SHA-256 digest.
const SHA256_CHARS: usize = 64;
/// Ends of addresses that are archives: of others a `checksum` is not looked at.
const ARCHIVES: [&str; 9] = [".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst"];
/// Schemes that Git may use.
const GIT_SCHEMES: [&str; 3] = ["https", "ssh", "file"];
/// Hosts whose repositories are known without a scheme.
const GIT_HOSTS: [&str; 2] = ["github.com/", "bitbucket.org/"];

/// The source of a module that is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A folder beside.
    Beside,
    /// A package whose content cannot change; the folder of a repository on this machine.
    Pinned { folder: Option<String> },
    /// A package that can be another one tomorrow: why.
    Open(&'static str),
}

/// Reads the source of a module as the programs do.
pub(crate) fn read(source: &str) -> Source {
    if source.starts_with("./") || source.starts_with("../") {
        return Source::Beside;
    }
    match pinned(source) {
        Ok(folder) => Source::Pinned { folder },
        Err(why) => Source::Open(why),
    }
}

fn pinned(source: &str) -> Result<Option<String>, &'static str> {
    if source.contains(['#', '$', '%', '\\']) || source.chars().any(|char| char.is_whitespace() || char.is_control()) {
        return Err("it has characters that a pinned source does not need");
    }
    let (getter, address) = match source.split_once("::") {
        Some((getter, address)) => (Some(getter), address),
        None => (None, source),
    };
    // The folder inside of the package ends the address of the package, and the query follows it.
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let package = without_folder(address);
    let arguments: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    match getter {
        Some("git") => git(package, &arguments),
        None if GIT_HOSTS.iter().any(|host| package.starts_with(host)) || is_remote_shell(package) => git(package, &arguments),
        None if package.starts_with("oci://") => digest(package, &arguments),
        None if package.starts_with("https://") => archive(package, &arguments),
        Some(_) => Err("only `git::` sources can be pinned"),
        None => Err("a registry can serve another package under the same version"),
    }
}

/// Cuts the folder inside of a package off: what follows `//`, where that does not follow a scheme.
fn without_folder(address: &str) -> &str {
    let start = address.find("://").map_or(0, |at| at + "://".len());
    let folder = address.get(start..).and_then(|rest| rest.find("//"));
    folder.and_then(|at| address.get(..start + at)).unwrap_or(address)
}

/// Returns whether Git would take an address as `USER@HOST:PATH`.
fn is_remote_shell(package: &str) -> bool {
    let is_name = |text: &str| !text.is_empty() && !text.starts_with('-') && !text.contains(['/', ':']);
    package
        .split_once(':')
        .and_then(|(host, path)| Some((host.split_once('@')?, path)))
        .is_some_and(|((user, host), path)| is_name(user) && is_name(host) && !path.starts_with("//"))
}

fn git(package: &str, arguments: &[(String, String)]) -> Result<Option<String>, &'static str> {
    let [(name, commit)] = arguments else { return Err("it takes `ref=COMMIT` and no other argument") };
    if name != "ref" || !is_hex(commit, COMMIT_CHARS) {
        return Err("its `ref` is no commit of 40 hexadecimal digits");
    }
    if GIT_HOSTS.iter().any(|host| package.starts_with(host)) || is_remote_shell(package) {
        return Ok(None);
    }
    let url = Url::parse(package).map_err(|_| "its address cannot be read")?;
    if !GIT_SCHEMES.contains(&url.scheme()) {
        return Err("Git may use `https`, `ssh` and `file`");
    }
    Ok((url.scheme() == "file").then(|| url.path().to_owned()))
}

fn digest(package: &str, arguments: &[(String, String)]) -> Result<Option<String>, &'static str> {
    Url::parse(package).map_err(|_| "its address cannot be read")?;
    let [(name, digest)] = arguments else { return Err("it takes `digest=sha256:…` and no other argument") };
    let is_digest = name == "digest" && digest.strip_prefix("sha256:").is_some_and(|hex| is_hex(hex, SHA256_CHARS));
    if is_digest { Ok(None) } else { Err("its `digest` is no `sha256:` and 64 hexadecimal digits") }
}

fn archive(package: &str, arguments: &[(String, String)]) -> Result<Option<String>, &'static str> {
    let url = Url::parse(package).map_err(|_| "its address cannot be read")?;
    if !ARCHIVES.iter().any(|end| url.path().ends_with(end)) {
        return Err("it names no archive: of anything else the programs look at no checksum");
    }
    let [(name, checksum)] = arguments else { return Err("it takes `checksum=sha256:…` and no other argument") };
    let is_checksum = name == "checksum" && checksum.strip_prefix("sha256:").is_some_and(|hex| is_hex(hex, SHA256_CHARS));
    if is_checksum { Ok(None) } else { Err("its `checksum` is no `sha256:` and 64 hexadecimal digits") }
}

fn is_hex(text: &str, chars: usize) -> bool {
    text.len() == chars && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn pins_are_read_as_the_programs_read_them() {
        for source in [
            format!("git::https://example.com/m.git?ref={COMMIT}"),
            format!("git::https://example.com/m.git//part/of?ref={COMMIT}"),
            format!("git::ssh://git@example.com/m.git?ref={COMMIT}"),
            format!("git::git@example.com:a/m.git?ref={COMMIT}"),
            format!("git@example.com:a/m.git//part?ref={COMMIT}"),
            format!("github.com/acme/m?ref={COMMIT}"),
            format!("oci://example.com/acme/m//part?digest={DIGEST}"),
            format!("https://example.com/m.zip//part?checksum={DIGEST}"),
        ] {
            assert_eq!(read(&source), Source::Pinned { folder: None }, "{source}");
        }
        assert_eq!(read(&format!("git::file:///srv/m?ref={COMMIT}")), Source::Pinned { folder: Some("/srv/m".into()) });
        assert_eq!((read("./m"), read("../m")), (Source::Beside, Source::Beside));
    }

    #[test]
    fn what_only_looks_like_a_pin_is_none() {
        for source in [
            format!("git::https://example.com/m.git?xref={COMMIT}&ref=main"),
            format!("git::https://example.com/m.git?ref=main&ref={COMMIT}"),
            format!("git::https://example.com/m.git?ref={COMMIT}&ref=main"),
            format!("git::https://example.com/m.git?ref={COMMIT}&depth=1"),
            format!("git::https://example.com/m.git?ref={COMMIT}0"),
            format!("git::https://example.com/m.git?ref={}", &COMMIT[1..]),
            format!("git::https://example.com/m.git//@{DIGEST}"),
            format!("git::https://example.com/ref={COMMIT}"),
            format!("git::https://example.com/m.git?ref=main#ref={COMMIT}"),
            format!("git::https://example.com/m.git?ref=main;ref={COMMIT}"),
            format!("git::https://example.com/m.git?r%65f={COMMIT}&ref=main"),
            format!("git::https://example.com/m.git//checksum={DIGEST}"),
            format!("git::http://example.com/m.git?ref={COMMIT}"),
            format!("git::ext::sh -c id?ref={COMMIT}"),
            format!("git::ext::sh?ref={COMMIT}"),
            format!("git::--upload-pack=x?ref={COMMIT}"),
            format!("git::-u@host:x?ref={COMMIT}"),
            format!("hg::https://example.com/m?rev={COMMIT}"),
            format!("s3::https://example.com/m.zip?checksum={DIGEST}"),
            format!("https://example.com/m?checksum={DIGEST}"),
            format!("https://example.com/m?archive=zip&checksum={DIGEST}"),
            "https://example.com/m.zip?checksum=file:https://example.com/sums".to_owned(),
            format!("https://example.com/m.zip//@{DIGEST}"),
            format!("http://example.com/m.zip?checksum={DIGEST}"),
            format!("oci://example.com/acme/m@{DIGEST}"),
            format!("oci://example.com/acme/m//@{DIGEST}"),
            format!("oci://example.com/acme/m?tag=1&digest={DIGEST}"),
            format!("acme/m/aws?ref={COMMIT}"),
            format!("git::https://example.com/${{var.m}}?ref={COMMIT}"),
            "acme/m/aws".to_owned(),
            String::new(),
        ] {
            assert!(matches!(read(&source), Source::Open(_)), "{source}");
        }
    }
}
