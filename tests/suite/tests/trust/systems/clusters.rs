//! API servers that lie: their answers end at a bound, in memory and in time, and no other server gets their token.

use std::{
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use windlass_suite::{
    binary::Folder,
    cluster::cluster_connection,
    hostile::{Asked, Hostile, Measured, Spoken, TOKEN, flood, measured, reply},
};

const JSON: &str = "Content-Type: application/json\r\n";
const LISTS: &str = r#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1""#;
/// What a command has without any answer, some 60 MiB in debug builds, and what bounded answers may add.
const MEMORY_MIB_MAX: u64 = 700;
const DEPLOY: &str = "deploy shop -e dev --create-env development --yes --timeout 5s";

/// An application that goes to a cluster.
fn folder(kubeconfig: &str, settings: &str) -> Folder {
    let folder = Folder::new();
    folder.write("kubeconfig", kubeconfig);
    folder.write("platform/connection.yaml", &cluster_connection(&format!("kubeconfig: {{ file: kubeconfig }}{settings}")));
    let score = "apiVersion: score.dev/v1b1\nmetadata: { name: web }\ncontainers: { main: { image: \"web:1\" } }\n";
    folder.write("shop/web.score.yaml", score);
    folder.ok("platform apply platform");
    folder
}

fn deployed(answer: impl Fn(&Asked, &mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static) -> (Hostile, Measured) {
    let server = Hostile::start(Spoken::Tls, answer);
    let folder = folder(&server.kubeconfig(&server.trusted()), "");
    let ran = measured(&folder, DEPLOY, &[], |_, _| {});
    assert!(ran.memory_mib < MEMORY_MIB_MAX, "{ran:#?}");
    assert!(ran.time < Duration::from_secs(60), "{ran:#?}");
    assert!(!ran.err.contains("panicked") && !ran.err.contains(TOKEN), "{ran:#?}");
    (server, ran)
}

fn page(objects: usize, turn: usize, token: &str) -> String {
    let uid = "u".repeat(200);
    let items: Vec<String> =
        (0..objects).map(|i| format!(r#"{{"metadata":{{"name":"o{turn}-{i}","uid":"{uid}","resourceVersion":"1"}}}}"#)).collect();
    format!(r#"{LISTS},"metadata":{{"continue":"{token}","resourceVersion":"1"}},"items":[{}]}}"#, items.join(","))
}

#[test]
fn a_list_whose_next_page_is_itself_is_refused() {
    let (_, ran) = deployed(|_, stream| reply(stream, "200 OK", JSON, page(1, 0, "again").as_bytes()));
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.err.contains("the same once more"), "{ran:#?}");
}

#[test]
fn a_list_that_never_ends_is_broken_off() {
    let turn = AtomicUsize::new(0);
    let (_, ran) = deployed(move |_, stream| {
        let turn = turn.fetch_add(1, Ordering::SeqCst);
        reply(stream, "200 OK", JSON, page(20_000, turn, &format!("t{turn}")).as_bytes())
    });
    let by_objects = ran.code == 1 && ran.err.contains("more than 100000 objects");
    assert!(by_objects || ran.code == 4, "{ran:#?}");
}

#[test]
fn empty_pages_without_an_end_are_broken_off() {
    let turn = AtomicUsize::new(0);
    let (server, ran) = deployed(move |_, stream| {
        let turn = turn.fetch_add(1, Ordering::SeqCst);
        reply(stream, "200 OK", JSON, page(0, turn, &format!("t{turn}")).as_bytes())
    });
    assert!(ran.code == 4 || ran.err.contains("pages"), "{ran:#?}");
    assert!(server.asked().len() < 10_000, "{}", server.asked().len());
}

#[test]
fn an_answer_without_an_end_is_broken_off() {
    let (_, ran) = deployed(|_, stream| flood(stream, JSON, &[b' '; 1 << 16], Duration::ZERO));
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.err.contains("more than 67108864 bytes"), "{ran:#?}");
}

#[test]
fn an_answer_of_too_many_values_is_refused() {
    let body = format!("[{}0]", "0,".repeat(3_000_000));
    let (_, ran) = deployed(move |_, stream| reply(stream, "200 OK", JSON, body.as_bytes()));
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.err.contains("more than 2000000 values"), "{ran:#?}");
}

#[test]
fn a_server_that_trickles_is_left_at_the_timeout() {
    let (_, ran) = deployed(|_, stream| flood(stream, JSON, b" ", Duration::from_millis(50)));
    assert_eq!(ran.code, 4, "{ran:#?}");
    assert!(ran.time < Duration::from_secs(15), "{ran:#?}");
}

#[test]
fn a_server_that_is_silent_is_left_at_the_timeout_and_at_ctrl_c() {
    let silent = |_: &Asked, _: &mut dyn Write| {
        std::thread::sleep(Duration::from_secs(120));
        Ok(())
    };
    let (_, ran) = deployed(silent);
    assert_eq!(ran.code, 4, "{ran:#?}");
    assert!(ran.time < Duration::from_secs(15), "{ran:#?}");

    let server = Hostile::start(Spoken::Tls, silent);
    let folder = folder(&server.kubeconfig(&server.trusted()), "");
    let mut is_stopped = false;
    let stopped = measured(&folder, &DEPLOY.replace("5s", "10m"), &[], |child, _| {
        if !server.asked().is_empty() && !is_stopped {
            is_stopped = true;
            std::thread::sleep(Duration::from_secs(1));
            Folder::signal(child, "INT");
        }
    });
    assert_eq!(stopped.code, 130, "{stopped:#?}");
    assert!(stopped.time < Duration::from_secs(30), "{stopped:#?}");
}

#[test]
fn headers_without_an_end_are_broken_off() {
    let (_, ran) = deployed(|_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\n")?;
        loop {
            write!(stream, "X-More: {}\r\n", "x".repeat(1000))?;
        }
    });
    assert!([1, 4].contains(&ran.code), "{ran:#?}");
}

#[test]
fn a_compressed_answer_is_not_expanded() {
    // What `gzip` makes of "{}", as a server would send it that was not asked to.
    let gzipped = [31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 171, 174, 5, 0, 67, 191, 166, 163, 2, 0, 0, 0];
    let (server, ran) = deployed(move |_, stream| reply(stream, "200 OK", &format!("{JSON}Content-Encoding: gzip\r\n"), &gzipped));
    assert!([1, 4].contains(&ran.code), "{ran:#?}");
    assert!(server.asked().iter().all(|asked| !asked.head.to_lowercase().contains("gzip")), "{:#?}", server.asked());
}

#[test]
fn a_wish_for_endless_patience_is_not_granted() {
    let wish = format!("{JSON}Retry-After: {}\r\n", u64::MAX);
    let (_, ran) = deployed(move |_, stream| reply(stream, "503 Service Unavailable", &wish, b"{}"));
    assert!([1, 4].contains(&ran.code), "{ran:#?}");
}

#[test]
fn a_long_refusal_is_cut() {
    let body = format!(r#"{{"kind":"Status","message":"{}","code":403}}"#, "no ".repeat(1_000_000));
    let (_, ran) = deployed(move |_, stream| reply(stream, "403 Forbidden", JSON, body.as_bytes()));
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.err.len() < 100_000, "{} bytes are told", ran.err.len());
}

#[test]
fn a_redirect_is_not_followed_and_the_token_stays() {
    let thief = Hostile::start(Spoken::Clear, |_, stream| reply(stream, "200 OK", JSON, b"{}"));
    let to = format!("Location: http://{}/\r\n", thief.address);
    let (server, ran) = deployed(move |_, stream| reply(stream, "307 Temporary Redirect", &to, b""));
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(server.asked().iter().any(|asked| asked.head.contains(TOKEN)));
    assert!(thief.asked().is_empty(), "{:#?}", thief.asked());
}

#[test]
fn a_cluster_without_tls_or_its_checks_gets_no_token() {
    for (spoken, cluster) in [(Spoken::Clear, ""), (Spoken::Tls, "insecure-skip-tls-verify: true")] {
        let server = Hostile::start(spoken, |_, stream| reply(stream, "404 Not Found", JSON, b"{}"));
        let folder = folder(&server.kubeconfig(cluster), "");
        let refused = folder.run(DEPLOY);
        assert_eq!(refused.code, 1, "{refused:#?}");
        assert!(refused.err.contains("`insecure: true`"), "{}", refused.err);
        assert!(server.asked().is_empty(), "{:#?}", server.asked());

        // On this machine, and asked for, it is reached.
        folder.write("platform/connection.yaml", &cluster_connection("kubeconfig: { file: kubeconfig }, insecure: true"));
        folder.ok("platform apply platform");
        let _ = folder.run(DEPLOY);
        assert!(!server.asked().is_empty(), "{spoken:?}");

        // Elsewhere the operator has to allow it, too.
        folder.write("kubeconfig", &server.kubeconfig(cluster).replace("127.0.0.1", "192.0.2.1"));
        let elsewhere = folder.run(DEPLOY);
        assert!(elsewhere.err.contains("`--allow-insecure-transport`"), "{}", elsewhere.err);
        let allowed = folder.run(&format!("{DEPLOY} --allow-insecure-transport").replace("5s", "2s"));
        assert!(!allowed.err.contains("`--allow-insecure-transport`"), "{}", allowed.err);
    }
}
