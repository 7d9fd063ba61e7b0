//! Credentials are read where they are used, from where a connection says; they are kept nowhere.

use std::{fs::File, io::Read as _, path::Path};

use windlass_model::{limits::CREDENTIAL_BYTES_MAX, platform::Reference};

use crate::{
    host_access::HostAccess,
    session::{CapabilityError, CapabilityErrorKind as Kind, Secret},
};

/// Reads what a connection refers to; a last line break is no part of it.
///
/// # Errors
/// `Denied` if the host does not lend the variable or file, `Invalid` if there is none or it is longer than [`CREDENTIAL_BYTES_MAX`].
pub fn read(what: &str, reference: &Reference, access: &HostAccess) -> Result<Secret, CapabilityError> {
    let text = match reference {
        Reference::Env(name) => {
            access.variable(name).map_err(|error| error.within(what))?;
            std::env::var(name).map_err(|_| format!("the variable `{name}` is not set"))
        }
        Reference::File(path) => {
            let file = access.file(Path::new(path)).map_err(|error| error.within(what))?;
            read_file(&file).map_err(|why| format!("the file `{path}` can't be read: {why}"))
        }
    };
    match text {
        Ok(text) => Ok(Secret::new(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))),
        Err(why) => Err(CapabilityError::new(Kind::Invalid, format!("{what}: {why}"))
            .hint("credentials are read on the machine that applies plans; the connection says where from")),
    }
}

/// Reads a file of text up to the limit: a document may name a device without an end.
fn read_file(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(CREDENTIAL_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() > CREDENTIAL_BYTES_MAX {
        return Err(format!("it has more than {CREDENTIAL_BYTES_MAX} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn told(reference: &Reference, access: &HostAccess) -> String {
        read("the password", reference, access).map_or_else(|error| error.message, |secret| format!("{} bytes", secret.expose().len()))
    }

    #[test]
    fn credentials_are_read_through_the_access_of_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "hunter2\n").unwrap();
        let file = Reference::File(path.display().to_string());
        assert_eq!(told(&file, &HostAccess::open()), "7 bytes");
        assert_eq!(told(&file, &HostAccess::closed().with_files(folder.path())), "7 bytes");
        assert!(told(&file, &HostAccess::closed()).starts_with("the password: this host does not lend the file"));
        let variable = Reference::Env("PATH".to_owned());
        assert!(told(&variable, &HostAccess::open()).ends_with("bytes"));
        assert_eq!(told(&variable, &HostAccess::closed()), "the password: this host does not lend the variable `PATH` to documents");
    }

    #[test]
    fn credential_files_have_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        let reference = Reference::File(path.display().to_string());
        for (bytes, is_read) in [(CREDENTIAL_BYTES_MAX, true), (CREDENTIAL_BYTES_MAX + 1, false)] {
            fs::write(&path, "x".repeat(bytes)).unwrap();
            assert_eq!(told(&reference, &HostAccess::open()) == format!("{bytes} bytes"), is_read, "{bytes}");
        }
        let endless = told(&Reference::File("/dev/zero".to_owned()), &HostAccess::open());
        assert!(endless.contains("more than"), "{endless}");
    }
}
