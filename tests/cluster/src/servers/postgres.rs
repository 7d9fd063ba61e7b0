//! PostgreSQL from the distribution's packages: TLS on, a managing role that is no superuser.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::processes::{Process, free_port};

/// The role that made the server.
pub(crate) const SUPERUSER: &str = "postgres";
/// It guards a loopback server that lives for one run.
const PASSWORD: &str = "test-postgres";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    data: tempfile::TempDir,
}

impl Postgres {
    /// Makes a server and starts it; `folder` gets what tests need to find it.
    ///
    /// # Errors
    ///
    /// If it does not come up.
    pub fn start(programs: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let port = free_port()?;
        // PostgreSQL refuses to run as root, and its user can't enter folders of root's.
        let user = other_user()?;
        let data = tempfile::Builder::new().prefix("windlass-postgres-").tempdir()?;
        let cluster = data.path().join("data");
        fs::set_permissions(data.path(), fs::Permissions::from_mode(0o755))?;
        write_certificate(data.path(), folder)?;
        fs::write(data.path().join("password"), PASSWORD)?;
        fs::write(folder.join("manager.password"), PASSWORD)?;
        fs::write(folder.join("port"), port.to_string())?;
        fs::write(folder.join("psql"), programs.join("psql").display().to_string())?;
        if let Some(user) = user {
            let owned = Command::new("chown").arg("-R").arg(format!("{user}:{user}")).arg(data.path()).status()?;
            anyhow::ensure!(owned.success(), "the server's folder can't be given to its user");
        }
        let mut initdb = Command::new(programs.join("initdb"));
        initdb.args([
            "--username",
            SUPERUSER,
            "--auth-host=scram-sha-256",
            "--auth-local=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        initdb.arg("--pgdata").arg(&cluster).arg("--pwfile").arg(data.path().join("password"));
        if let Some(user) = user {
            initdb.uid(user).gid(user);
        }
        let made = initdb.env_clear().env("PATH", "/usr/bin:/bin").stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
        anyhow::ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let set = |name: &str, value: &str| ["-c".to_owned(), format!("{name}={value}")];
        let certificate = |file: &str| data.path().join(file).display().to_string();
        let mut arguments = vec!["-D".to_owned(), cluster.display().to_string(), "-p".to_owned(), port.to_string()];
        arguments.extend(
            [
                set("listen_addresses", "127.0.0.1"),
                set("unix_socket_directories", ""),
                set("ssl", "on"),
                set("ssl_cert_file", &certificate("server.crt")),
                set("ssl_key_file", &certificate("server.key")),
                set("log_statement", "ddl"),
                // A test server lives for one run: nothing in it needs to survive a power failure.
                set("fsync", "off"),
                set("max_connections", "200"),
            ]
            .concat(),
        );
        let process = Process::start_as("postgres", &programs.join("postgres"), &arguments, &folder.join("server.log"), user)?;
        let mut server = Self { process, data };
        server.furnish(programs, port)?;
        Ok(server)
    }

    /// Waits until it answers, and makes the role that manages.
    fn furnish(&mut self, programs: &Path, port: u16) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        let manager = format!("CREATE ROLE manager LOGIN CREATEROLE CREATEDB PASSWORD '{PASSWORD}'; GRANT pg_signal_backend TO manager");
        loop {
            self.process.check()?;
            match psql(&programs.join("psql"), port, SUPERUSER, None, "postgres", &manager) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Fails if it ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Returns the folder of its data.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.data.path()
    }
}

/// Runs statements and returns rows unaligned, without headers.
pub(crate) fn psql(psql: &Path, port: u16, user: &str, password: Option<&str>, database: &str, statements: &str) -> Result<String> {
    let output = Command::new(psql)
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--host=127.0.0.1"])
        .args([format!("--port={port}"), format!("--username={user}"), format!("--dbname={database}")])
        .args(["--command", statements])
        .env_clear()
        .env("PGPASSWORD", password.unwrap_or(PASSWORD))
        .env("PGSSLMODE", "require")
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .output()
        .context("psql can't be started")?;
    if !output.status.success() {
        bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns the user that the server runs as, where we are root.
fn other_user() -> Result<Option<u32>> {
    let id = |arguments: &[&str]| -> Result<Option<u32>> {
        let output = Command::new("id").args(arguments).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok())
    };
    if id(&["-u"])? != Some(0) {
        return Ok(None);
    }
    match id(&["-u", "postgres"])? {
        Some(user) => Ok(Some(user)),
        None => id(&["-u", "nobody"]),
    }
}

fn write_certificate(data: &Path, folder: &Path) -> Result<PathBuf> {
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate()?;
    let certificate = authority.self_signed(&authority_key)?;
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate()?;
    let server = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
    fs::write(folder.join("authority.pem"), certificate.pem())?;
    fs::write(data.join("server.crt"), server.pem())?;
    let path = data.join("server.key");
    fs::write(&path, key.serialize_pem())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}
