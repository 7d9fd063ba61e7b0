//! A registry on a real socket that lies.

use std::{
    io::{BufRead as _, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use serde_json::json;

use super::*;
use crate::login::Login;

/// One request, as it came.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    authorization: Option<String>,
}

type Handler = Box<dyn Fn(&Asked, &mut TcpStream) -> std::io::Result<()> + Send + Sync>;

/// A server that notes what it is asked.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn start(handler: impl Fn(&Asked, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (noted, handler): (_, Arc<Handler>) = (Arc::clone(&asked), Arc::new(Box::new(handler)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (noted, handler) = (Arc::clone(&noted), Arc::clone(&handler));
                std::thread::spawn(move || serve(stream, &noted, &handler));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn authorizations(&self) -> Vec<String> {
        self.asked().into_iter().filter_map(|asked| asked.authorization).collect()
    }
}

fn serve(mut stream: TcpStream, noted: &Mutex<Vec<Asked>>, handler: &Handler) {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while reader.read_line(&mut head).unwrap_or(0) > 2 {}
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    };
    let asked = Asked { path, authorization: head.lines().find_map(header) };
    noted.lock().unwrap().push(asked.clone());
    // A client that goes away is what is tested.
    let _ = handler(&asked, &mut stream);
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}

/// Writes for ever, or until the client goes.
fn flood(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    loop {
        stream.write_all(b"10000\r\n")?;
        stream.write_all(&[0; 0x10000])?;
        stream.write_all(b"\r\n")?;
    }
}

fn ask<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn repository(server: &Server, login: bool) -> Repository {
    let reference = format!("{}/modules/bucket:1.0", server.address).parse().unwrap();
    Repository::new(&reference, Arc::new(move || Ok(login.then(|| Login::new("reader", "canary"))))).unwrap()
}

fn descriptor(content: &[u8], size: u64) -> Descriptor {
    serde_json::from_value(json!({ "mediaType": "archive/zip", "digest": Digest::of_bytes(content), "size": size })).unwrap()
}

#[test]
fn a_blob_has_the_declared_size_and_digest() {
    let content = vec![7; 100];
    let sent = content.clone();
    let server = Server::start(move |_, stream| answer(stream, "200 OK", "", &sent));
    let blob = |blob: Descriptor| ask(repository(&server, false).blob(&blob));
    assert_eq!(blob(descriptor(&content, 100)).unwrap(), content);
    assert!(blob(descriptor(&content, 99)).unwrap_err().contains("more than 99 bytes"));
    assert!(blob(descriptor(&content, 101)).unwrap_err().contains("has 100 bytes; the manifest declares 101"));
    assert!(blob(descriptor(b"other", 100)).unwrap_err().contains("has the digest"));
}

#[test]
fn endless_answers_are_broken_off_at_their_bound() {
    let server = Server::start(|_, stream| flood(stream));
    let blob = ask(repository(&server, false).blob(&descriptor(b"", 100))).unwrap_err();
    assert!(blob.contains("more than 100 bytes"), "{blob}");
    let manifest = ask(repository(&server, false).manifest()).map(drop).unwrap_err();
    assert!(manifest.contains(&format!("more than {} bytes", limits::REGISTRY_MANIFEST_BYTES_MAX)), "{manifest}");
}

#[test]
fn a_declared_length_above_the_bound_is_not_read() {
    let server =
        Server::start(|_, stream| write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", limits::REGISTRY_MANIFEST_BYTES_MAX + 1));
    assert!(ask(repository(&server, false).manifest()).map(drop).unwrap_err().contains("more than"));
}

#[test]
fn a_manifest_at_the_bound_is_read_and_its_digest_checked() {
    let manifest = json!({ "schemaVersion": 2, "layers": [] }).to_string();
    let padded = format!("{manifest}{}", " ".repeat(limits::REGISTRY_MANIFEST_BYTES_MAX as usize - manifest.len()));
    let digest = Digest::of_bytes(padded.as_bytes());
    let server = Server::start(move |_, stream| answer(stream, "200 OK", "", padded.as_bytes()));
    assert_eq!(ask(repository(&server, false).manifest()).unwrap().1, digest);
    let other = format!("{}/modules/bucket@{}", server.address, Digest::of_bytes(b"other")).parse().unwrap();
    let mut other = Repository::new(&other, Arc::new(|| Ok(None))).unwrap();
    assert!(ask(other.manifest()).map(drop).unwrap_err().contains("sent another manifest"));
}

#[test]
fn credentials_go_to_no_other_token_endpoint() {
    let thief = Server::start(|_, stream| answer(stream, "200 OK", "", br#"{"token":"x"}"#));
    for realm in
        [format!("http://{}/token", thief.address), format!("https://{}/token", thief.address), "http://auth.example.com/token".into()]
    {
        let server = Server::start(move |_, stream| {
            answer(stream, "401 Unauthorized", &format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"s\"\r\n"), b"")
        });
        let said = ask(repository(&server, true).manifest()).map(drop).unwrap_err();
        assert!(said.contains("to another host") || said.contains("not encrypted"), "{said}");
        assert!(!said.contains("canary"), "{said}");
    }
    assert!(thief.asked().is_empty(), "{:?}", thief.asked());
}

#[test]
fn a_token_endpoint_is_the_registrys_own_or_a_known_one() {
    let is = |registry: &str, realm: &str| is_realm_of(&Url::parse(realm).unwrap(), &Url::parse(registry).unwrap());
    assert!(is("https://ghcr.io", "https://ghcr.io/token"));
    assert!(is("https://registry.example.com:5000", "https://registry.example.com:5001/auth"));
    assert!(is("https://index.docker.io", "https://auth.docker.io/token"));
    assert!(is("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"));
    for (registry, realm) in [
        ("https://ghcr.io", "https://ghcr.io.example.com/token"),
        ("https://example.com", "https://auth.docker.io/token"),
        ("https://auth.docker.io", "https://index.docker.io/token"),
        ("https://example.com", "https://127.0.0.1/token"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"),
        ("http://127.0.0.1:5000", "http://localhost:5000/token"),
    ] {
        assert!(!is(registry, realm), "{registry} {realm}");
    }
}

#[test]
fn an_endless_token_is_broken_off() {
    let server = Server::start(|asked, stream| match &asked.path {
        path if path.starts_with("/token") => flood(stream),
        _ => {
            let at = stream.local_addr()?;
            answer(stream, "401 Unauthorized", &format!("WWW-Authenticate: Bearer realm=\"http://{at}/token\"\r\n"), b"")
        }
    });
    let said = ask(repository(&server, true).manifest()).map(drop).unwrap_err();
    assert!(said.contains(&format!("more than {} bytes", limits::REGISTRY_TOKEN_BYTES_MAX)), "{said}");
}

#[test]
fn a_redirect_to_another_host_drops_the_authorization() {
    let content = b"content".to_vec();
    let (sent, wanted) = (content.clone(), descriptor(&content, 7));
    let storage = Server::start(move |_, stream| answer(stream, "200 OK", "", &sent));
    let to = format!("Location: http://{}/storage\r\n", storage.address);
    let server = Server::start(move |asked, stream| match &asked.authorization {
        None => answer(stream, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"r\"\r\n", b""),
        Some(_) => answer(stream, "307 Temporary Redirect", &to, b""),
    });
    assert_eq!(ask(repository(&server, true).blob(&wanted)).unwrap(), content);
    assert_eq!(server.authorizations().len(), 1);
    assert_eq!((storage.asked().len(), storage.authorizations()), (1, Vec::new()));
}

#[test]
fn a_host_behind_a_redirect_gets_no_token_when_it_asks_for_one() {
    let thief = Server::start(|_, stream| {
        let at = stream.local_addr()?;
        answer(stream, "401 Unauthorized", &format!("WWW-Authenticate: Bearer realm=\"http://{at}/token\", Basic realm=\"r\"\r\n"), b"")
    });
    let to = format!("Location: http://{}/storage\r\n", thief.address);
    let server = Server::start(move |_, stream| answer(stream, "307 Temporary Redirect", &to, b""));
    assert!(ask(repository(&server, true).blob(&descriptor(b"content", 7))).is_err());
    assert!(!thief.asked().is_empty() && thief.authorizations().is_empty(), "{:?}", thief.asked());
}

#[test]
fn redirects_are_bounded_and_stay_encrypted() {
    let turns = |count: usize| {
        Server::start(move |asked, stream| {
            let turn = asked.path.rsplit('=').next().and_then(|turn| turn.parse().ok()).unwrap_or(0_usize);
            if turn == count {
                return answer(stream, "200 OK", "", b"content");
            }
            answer(stream, "302 Found", &format!("Location: /x?turn={}\r\n", turn + 1), b"")
        })
    };
    let blob = |server: &Server| ask(repository(server, false).blob(&descriptor(b"content", 7)));
    blob(&turns(limits::REGISTRY_REDIRECTS_MAX)).unwrap();
    assert!(blob(&turns(limits::REGISTRY_REDIRECTS_MAX + 1)).unwrap_err().contains("redirects more than"));

    let headers = |to: &str| HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(to).unwrap())]);
    let from = |from: &str, to: &str| redirected(&Url::parse(from).unwrap(), &headers(to)).map(|url| url.to_string());
    assert_eq!(from("https://a/x", "/y").unwrap(), "https://a/y");
    assert_eq!(from("http://localhost/x", "https://b/y").unwrap(), "https://b/y");
    for (at, to) in [
        ("https://a/x", "http://a/y"),
        ("https://a/x", "http://127.0.0.1/y"),
        ("http://localhost/x", "http://b/y"),
        ("https://a/x", "file:///etc/passwd"),
    ] {
        assert!(from(at, to).unwrap_err().contains("not encrypted"), "{at} {to}");
    }
}

#[test]
fn only_registries_of_this_machine_are_reached_without_tls() {
    for registry in ["localhost:5000", "127.0.0.1:5000", "localhost"] {
        assert!(is_on_this_machine(registry), "{registry}");
    }
    for registry in ["ghcr.io", "localhost.example.com:5000", "10.0.0.1:5000", "127.0.0.2:5000"] {
        assert!(!is_on_this_machine(registry), "{registry}");
    }
}
