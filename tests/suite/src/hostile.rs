//! A server that lies, on a real socket: it answers as a test says, and notes what it was asked. And a run of the binary that is
//! measured meanwhile.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio_rustls::rustls::{ServerConnection, StreamOwned};

use crate::{binary::Folder, tls};

/// A token that no other server may see.
pub const TOKEN: &str = "canary-token-of-the-connection";

/// One request as it came, without its body.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Request line and headers.
    pub head: String,
}

impl Asked {
    /// Returns path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// How a server answers.
pub type Answer = Box<dyn Fn(&Asked, &mut dyn Write) -> std::io::Result<()> + Send + Sync>;

/// A server that stands until the tests end.
#[derive(Debug)]
pub struct Hostile {
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// The authority of its certificate, PEM; empty without TLS.
    pub authority: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// Whether a server speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// With a certificate of its own.
    Tls,
    /// In clear.
    Clear,
}

impl Hostile {
    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If nothing can listen.
    #[must_use]
    pub fn start(spoken: Spoken, answer: impl Fn(&Asked, &mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| unreachable!("a free port: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| unreachable!("its address: {error}")).to_string();
        let (tls, authority) = match spoken {
            Spoken::Tls => Some(tls::acceptor("127.0.0.1", &["http/1.1"])).unzip(),
            Spoken::Clear => (None, None),
        };
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (noted, answer): (_, Arc<Answer>) = (Arc::clone(&asked), Arc::new(Box::new(answer)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (noted, answer, tls) = (Arc::clone(&noted), Arc::clone(&answer), tls.clone());
                std::thread::spawn(move || match tls {
                    // A client that goes away is what is tested.
                    None => serve(stream, &noted, &answer).ok(),
                    Some(tls) => {
                        let connection = ServerConnection::new(Arc::clone(tls.config())).ok()?;
                        serve(StreamOwned::new(connection, stream), &noted, &answer).ok()
                    }
                });
            }
        });
        Self { address, authority: authority.unwrap_or_default(), asked }
    }

    /// Returns what it was asked.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a kubeconfig that leads to it, with a token, and with these fields of the cluster.
    #[must_use]
    pub fn kubeconfig(&self, cluster: &str) -> String {
        let server = if self.authority.is_empty() { "http" } else { "https" };
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: h\ncontexts: [{{ name: h, context: {{ cluster: h, user: h }} }}]\nclusters: [{{ name: h, cluster: {{ server: \"{server}://{}\", {cluster} }} }}]\nusers: [{{ name: h, user: {{ token: {TOKEN} }} }}]\n",
            self.address
        )
    }

    /// Returns the field of a kubeconfig that trusts it.
    #[must_use]
    pub fn trusted(&self) -> String {
        format!("certificate-authority-data: {}", STANDARD.encode(&self.authority))
    }
}

/// Answers one request.
fn serve(mut stream: impl Read + Write, noted: &Mutex<Vec<Asked>>, answer: &Answer) -> std::io::Result<()> {
    let mut head = String::new();
    let mut reader = BufReader::with_capacity(1, &mut stream);
    while reader.read_line(&mut head)? > 2 {}
    let asked = Asked { head };
    noted.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    answer(&asked, &mut stream)?;
    stream.flush()
}

/// Writes a whole answer, the last on its connection.
///
/// # Errors
///
/// If the client has gone.
pub fn reply(stream: &mut dyn Write, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}

/// Writes a body that never ends, of one text again and again, with a pause between.
///
/// # Errors
///
/// When the client has gone.
pub fn flood(stream: &mut dyn Write, headers: &str, text: &[u8], pause: Duration) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n{headers}Connection: close\r\n\r\n")?;
    loop {
        stream.write_all(text)?;
        stream.flush()?;
        std::thread::sleep(pause);
    }
}

/// A run of the binary and what it took.
#[derive(Debug)]
pub struct Measured {
    /// Its exit code; -1 if it was killed.
    pub code: i32,
    /// Standard error.
    pub err: String,
    /// The most memory that it had at once (`VmHWM`), in MiB.
    pub memory_mib: u64,
    /// How long it ran.
    pub time: Duration,
}

/// Runs a command line and measures it; `beside` is called with the child while it runs.
///
/// # Panics
///
/// If it can't be started.
pub fn measured(folder: &Folder, line: &str, variables: &[(&str, &str)], mut beside: impl FnMut(&Child, Duration)) -> Measured {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = folder.command(&words);
    command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| unreachable!("windlass can't be started: {error}"));
    let stderr = child.stderr.take();
    let err = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.map(|mut stderr| stderr.read_to_string(&mut text));
        text
    });
    let mut memory_mib = 0;
    let status = loop {
        memory_mib = memory_mib.max(high_water_mib(child.id()));
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => beside(&child, began.elapsed()),
            Err(error) => unreachable!("windlass: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (time, err) = (began.elapsed(), err.join().unwrap_or_default());
    Measured { code: status.code().unwrap_or(-1), err, memory_mib, time }
}

fn high_water_mib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
