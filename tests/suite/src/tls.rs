//! TLS for what stands in front of a server: a certificate that nobody signed but itself.

use std::sync::Arc;

use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

/// Makes what takes TLS off connections to a host, with the certificate (PEM) that clients have to trust. It offers these protocols,
/// the best first; none is none said.
///
/// # Panics
///
/// If no certificate can be made.
#[must_use]
pub fn acceptor(host: &str, protocols: &[&str]) -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap_or_else(|error| unreachable!("a certificate: {error}"));
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key))
        .unwrap_or_else(|error| unreachable!("TLS: {error}"));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}
