//! The servers beside the cluster: PostgreSQL from the distribution, moto in the place of AWS, OpenBao, an OCI registry.
//!
//! One of each serves a whole test run: `cargo xtask test` starts them and tells the tests by [`SERVERS`].

mod postgres;
mod tools;

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

pub use postgres::Postgres;
pub use tools::Tools;

use crate::processes::{Process, free_port, free_ports, start_in};

/// The variable that names the folder of the servers that a whole test run shares.
pub const SERVERS: &str = "WINDLASS_TEST_SERVERS";
/// How long a server may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long an answer may take: a port may be a stranger's, who says nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// It names nobody outside of a loopback server that lives for one run.
const VAULT_TOKEN: &str = "test-root";

/// Running servers; dropping them stops every process by its pid.
#[derive(Debug)]
pub struct Servers {
    folder: PathBuf,
    postgres: Option<Postgres>,
    processes: Vec<Process>,
}

impl Servers {
    /// Starts PostgreSQL, moto, OpenBao and a registry in an empty folder and waits until they answer.
    ///
    /// # Errors
    ///
    /// If one does not come up: with the end of its log.
    pub fn start(tools: &Tools, folder: &Path) -> Result<Self> {
        start_in(folder, || Self::start_once(tools, folder))
    }

    fn start_once(tools: &Tools, folder: &Path) -> Result<Self> {
        let mut servers = Self { folder: folder.to_path_buf(), postgres: None, processes: Vec::new() };
        servers.postgres = Some(Postgres::start(&tools.postgres, &folder.join("postgres"))?);
        fs::write(folder.join("terraform"), tools.terraform.display().to_string())?;
        mirror(&tools.providers, folder)?;
        let moto = free_port()?;
        let arguments = ["-H".into(), "127.0.0.1".into(), "-p".into(), moto.to_string()];
        servers.spawn("moto", &tools.moto, &arguments, &format!("http://127.0.0.1:{moto}"), "/moto-api/")?;
        fs::write(folder.join("aws"), format!("http://127.0.0.1:{moto}"))?;
        // Unasked, it takes the port behind its own as well, a moment after it answers.
        let vault = free_ports(2)?;
        let arguments = [
            "server".to_owned(),
            "-dev".to_owned(),
            format!("-dev-root-token-id={VAULT_TOKEN}"),
            format!("-dev-listen-address=127.0.0.1:{vault}"),
            "-dev-no-store-token".to_owned(),
        ];
        servers.spawn("openbao", &tools.openbao, &arguments, &format!("http://127.0.0.1:{vault}"), "/v1/sys/health")?;
        fs::write(folder.join("vault"), format!("http://127.0.0.1:{vault}"))?;
        let registry = free_port()?;
        let arguments = ["registry".to_owned(), "serve".to_owned(), "--address".to_owned(), format!("127.0.0.1:{registry}")];
        servers.spawn("registry", &tools.registry, &arguments, &format!("http://127.0.0.1:{registry}"), "/v2/")?;
        fs::write(folder.join("registry"), format!("127.0.0.1:{registry}"))?;
        Ok(servers)
    }

    /// Starts a server and waits until it answers as itself: that its port is open says nothing of whose it is.
    fn spawn(&mut self, name: &str, binary: &Path, arguments: &[String], endpoint: &str, path: &str) -> Result<()> {
        let mut process = Process::start(name, binary, arguments, &self.folder.join(format!("{name}.log")))?;
        let until = Instant::now() + READY_WITHIN;
        while let Err(error) = get(endpoint, path) {
            process.check()?;
            if Instant::now() > until {
                bail!("{name} does not answer after {} s: {error:#}", READY_WITHIN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.processes.push(process);
        Ok(())
    }

    /// Fails if one ended by itself.
    ///
    /// # Errors
    ///
    /// With the end of its log.
    pub fn check(&mut self) -> Result<()> {
        self.postgres.as_mut().map_or(Ok(()), Postgres::check)?;
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns what tests need.
    #[must_use]
    pub fn shared(&self) -> SharedServers {
        SharedServers { folder: self.folder.clone() }
    }
}

/// Lays providers out as their registry would, under the name of a host that nobody has.
fn mirror(providers: &[(&str, &str, PathBuf)], folder: &Path) -> Result<()> {
    let platform = match std::env::consts::ARCH {
        "x86_64" => "linux_amd64",
        "aarch64" => "linux_arm64",
        other => bail!("providers of {other} have no name here"),
    };
    for (name, version, provider) in providers {
        let at = folder.join(format!("mirror/providers.test/hashicorp/{name}/{version}/{platform}"));
        fs::create_dir_all(&at)?;
        fs::copy(provider, at.join(format!("terraform-provider-{name}_v{version}_x5")))?;
    }
    let mirror = folder.join("mirror");
    let text = format!(
        "disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path    = {:?}\n    include = [\"providers.test/*/*\"]\n  }}\n}}\n",
        mirror.display().to_string()
    );
    fs::write(folder.join("tfrc"), text)?;
    Ok(())
}

/// Servers that somebody else started.
#[derive(Clone, Debug)]
pub struct SharedServers {
    folder: PathBuf,
}

impl SharedServers {
    /// Finds the servers of this test run.
    ///
    /// # Errors
    ///
    /// If the tests were started without `cargo xtask test`.
    pub fn find() -> Result<Self> {
        let folder = std::env::var_os(SERVERS).with_context(|| format!("{SERVERS} is not set: run `cargo xtask test`"))?;
        Ok(Self { folder: PathBuf::from(folder) })
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default().trim().to_owned()
    }

    /// The port of PostgreSQL on 127.0.0.1; it answers for `localhost` by certificate.
    #[must_use]
    pub fn postgres_port(&self) -> u16 {
        self.read("postgres/port").parse().unwrap_or_default()
    }

    /// The authority of PostgreSQL's certificate, in PEM.
    #[must_use]
    pub fn postgres_authority(&self) -> PathBuf {
        self.folder.join("postgres/authority.pem")
    }

    /// The file with the password of `manager`: a role that may make roles and databases, and is no superuser.
    #[must_use]
    pub fn postgres_password(&self) -> PathBuf {
        self.folder.join("postgres/manager.password")
    }

    /// What PostgreSQL logged: every statement that defines something.
    #[must_use]
    pub fn postgres_log(&self) -> String {
        self.read("postgres/server.log")
    }

    /// Runs statements as the superuser and returns rows as psql prints them unaligned.
    ///
    /// # Errors
    ///
    /// With what psql says.
    pub fn psql(&self, database: &str, statements: &str) -> Result<String> {
        postgres::psql(Path::new(&self.read("postgres/psql")), self.postgres_port(), postgres::SUPERUSER, None, database, statements)
    }

    /// Runs statements one by one in one session, as the superuser.
    ///
    /// # Errors
    ///
    /// With what psql says.
    pub fn script(&self, database: &str, statements: &str) -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), statements)?;
        let run = format!("\\i {}", file.path().display());
        self.psql(database, &run).map(drop)
    }

    /// Runs a statement as somebody who logs in with a password, over TLS.
    ///
    /// # Errors
    ///
    /// With what psql says.
    pub fn login(&self, user: &str, password: &str, database: &str, statements: &str) -> Result<String> {
        postgres::psql(Path::new(&self.read("postgres/psql")), self.postgres_port(), user, Some(password), database, statements)
    }

    /// Where moto answers in the place of AWS.
    #[must_use]
    pub fn aws_endpoint(&self) -> String {
        self.read("aws")
    }

    /// Terraform or OpenTofu.
    #[must_use]
    pub fn terraform(&self) -> String {
        self.read("terraform")
    }

    /// Says where Terraform and OpenTofu find `local`, `postgresql` and `random` of `providers.test/hashicorp`.
    #[must_use]
    pub fn cli_config(&self) -> PathBuf {
        self.folder.join("tfrc")
    }

    /// Host and port of the OCI registry, which speaks without TLS and forgets everything.
    #[must_use]
    pub fn registry(&self) -> String {
        self.read("registry")
    }

    /// Where OpenBao answers, and the token of its root.
    #[must_use]
    pub fn vault(&self) -> (String, &'static str) {
        (self.read("vault"), VAULT_TOKEN)
    }
}

/// Decodes base64.
///
/// # Errors
///
/// If it is none.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    use base64::Engine as _;
    Ok(base64::engine::general_purpose::STANDARD.decode(text.trim())?)
}

/// Encodes in base64.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Gets a page of a server of ours.
fn get(endpoint: &str, path: &str) -> Result<()> {
    exchange(endpoint, &format!("GET {path}"), "", "")
}

/// Posts XML to a server of ours, without credentials: what plays AWS asks for none.
///
/// # Errors
///
/// If it does not say that it was done.
pub fn post(endpoint: &str, path: &str, body: &str) -> Result<()> {
    let headers = format!(
        "Authorization: AWS4-HMAC-SHA256 Credential=demo/20260101/us-east-1/route53/aws4_request, SignedHeaders=host, Signature=0\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n",
        body.len()
    );
    exchange(endpoint, &format!("POST {path}"), &headers, body)
}

fn exchange(endpoint: &str, request: &str, headers: &str, body: &str) -> Result<()> {
    use std::io::{Read as _, Write as _};
    let host = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    write!(stream, "{request} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n{body}")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    anyhow::ensure!(answer.starts_with("HTTP/1.1 2"), "{request}: {}", answer.lines().next().unwrap_or_default());
    Ok(())
}
