//! Whether a system may be reached without encryption, or without a check of who it is.

use windlass_model::network::is_loopback;

use crate::session::{CapabilityError, CapabilityErrorKind as Kind};

/// Where connections that say `insecure: true` may lead: what the operator of this process allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InsecureTransport {
    /// To this machine alone.
    #[default]
    Loopback,
    /// To any host: the operator trusts the network.
    Anywhere,
}

impl InsecureTransport {
    /// Permits a host that would be reached insecurely; `what` says how.
    ///
    /// # Errors
    ///
    /// [`CapabilityErrorKind::Denied`](Kind::Denied), unless the connection asks for it (`insecure`) and the host is this machine or
    /// the operator allows any.
    pub fn permit(self, what: &str, host: &str, insecure: bool) -> Result<(), CapabilityError> {
        let denied = |why: String| CapabilityError::new(Kind::Denied, format!("{what}: {why}"));
        if !insecure {
            return Err(denied(format!("credentials and secrets could be read or changed on the way to `{host}`")).hint(
                "reach the server with TLS and check its certificate; for a server on this machine say `insecure: true` in the connection",
            ));
        }
        if self == Self::Loopback && !is_loopback(host) {
            return Err(denied(format!("`{host}` is not this machine")).hint(
                "`insecure: true` is for servers on this machine; where the network is trusted, start windlass with `--allow-insecure-transport`",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_the_connection_and_the_place_decide() {
        use InsecureTransport::{Anywhere, Loopback};
        for (operator, host, insecure, permitted) in [
            (Loopback, "127.0.0.1", true, true),
            (Loopback, "127.0.0.1", false, false),
            (Loopback, "10.0.0.1", true, false),
            (Loopback, "localhost.example.com", true, false),
            (Anywhere, "10.0.0.1", true, true),
            (Anywhere, "10.0.0.1", false, false),
        ] {
            let answer = operator.permit("no TLS", host, insecure);
            assert_eq!(answer.is_ok(), permitted, "{operator:?} {host} {insecure}");
            assert!(answer.err().is_none_or(|error| error.kind == Kind::Denied && error.hint.is_some() && error.message.contains(host)));
        }
    }
}
