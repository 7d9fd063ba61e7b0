//! Whether a server may be reached without encryption, or without a check of who it is.

use windlass_engine::{session::CapabilityError, transport::InsecureTransport};
use windlass_model::platform::{PostgresSettings, SslMode};

/// Refuses modes that anybody on the way could read or answer, unless that is asked for and allowed.
pub(crate) fn check(settings: &PostgresSettings, allowed: InsecureTransport) -> Result<(), CapabilityError> {
    let mode = match settings.ssl_mode.unwrap_or(SslMode::VerifyFull) {
        SslMode::VerifyCa | SslMode::VerifyFull => return Ok(()),
        SslMode::Disable => "disable",
        SslMode::Allow => "allow",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
    };
    // A path is that of a socket of this machine.
    let host = if settings.host.starts_with('/') { "localhost" } else { &settings.host };
    allowed.permit(&format!("PostgreSQL with `sslMode: {mode}`"), host, settings.insecure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_without_a_check_of_the_server_are_asked_for_and_allowed() {
        use InsecureTransport::{Anywhere, Loopback};
        let is_fine = |host: &str, mode: SslMode, insecure: bool, allowed: InsecureTransport| {
            let settings = PostgresSettings {
                host: host.to_owned(),
                port: None,
                user: "manager".to_owned(),
                password: None,
                database: None,
                ssl_mode: Some(mode),
                ssl_root_cert: None,
                insecure,
            };
            check(&settings, allowed).is_ok()
        };
        for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
            assert!(is_fine("db.example.com", mode, false, Loopback), "{mode:?}");
        }
        for mode in [SslMode::Disable, SslMode::Allow, SslMode::Prefer, SslMode::Require] {
            assert!(!is_fine("localhost", mode, false, Anywhere), "{mode:?}");
            assert!(is_fine("localhost", mode, true, Loopback), "{mode:?}");
            assert!(is_fine("/var/run/postgresql", mode, true, Loopback), "{mode:?}");
            assert!(!is_fine("db.example.com", mode, true, Loopback), "{mode:?}");
            assert!(is_fine("db.example.com", mode, true, Anywhere), "{mode:?}");
        }
    }
}
