//! HTTPS probes: which certificates pass, for which name, and what the replica sees of that name.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::TempDir;

use super::{
    SHORT, ask, probe, prober, said,
    server::{Script, Server},
};
use crate::{
    config::{Scheme, Verify},
    probe::{Failure, Phase, ProberError},
};

/// A certificate authority, and the file that an operator would name in `verify`.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
    _directory: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("a CA certificate");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).expect("a CA file");
        Self { issuer, file, _directory: directory }
    }

    fn verify(&self) -> Verify {
        Verify::Ca(self.file.clone())
    }

    /// A server with a certificate for these names and addresses.
    async fn server(&self, names: &[&str]) -> Server {
        self.server_with(params(names)).await
    }

    async fn server_with(&self, params: CertificateParams) -> Server {
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Server::tls(config(certificate.der().clone(), &key)).await
    }
}

#[tokio::test]
async fn any_certificate_passes_without_verification() {
    let key = key();
    let mut expired = params(&["elsewhere.example.net"]);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let self_signed = expired.self_signed(&key).expect("a certificate");
    let server = Server::tls(config(self_signed.der().clone(), &key)).await;
    for host in [None, Some("dtr.example.com"), Some("192.0.2.10")] {
        let mut probe = probe(Scheme::Https, server.port());
        probe.host = host.map(str::to_owned);
        assert_eq!(said(&ask(probe).await), "ok", "{host:?}");
    }
}

#[tokio::test]
async fn the_replica_sees_the_configured_name() {
    let authority = Authority::new("ours");
    for (host, name, header) in [
        (Some("dtr.example.com"), Some("dtr.example.com"), Some("dtr.example.com")),
        // Server names are DNS names only (RFC 6066 section 3).
        (Some("192.0.2.10"), None, Some("192.0.2.10")),
        (None, None, None),
    ] {
        let server = authority.server(&["dtr.example.com", "192.0.2.10", "127.0.0.1"]).await;
        let mut probe = probe(Scheme::Https, server.port());
        probe.host = host.map(str::to_owned);
        probe.verify = authority.verify();
        assert_eq!(said(&ask(probe).await), "ok", "{host:?}");
        let seen = server.seen();
        assert_eq!(seen.names, [name.map(str::to_owned)]);
        let header = header.map_or_else(|| server.address.to_string(), str::to_owned);
        assert!(seen.requests[0].to_lowercase().contains(&format!("host: {header}\r\n")), "{seen:?}");
    }
}

#[tokio::test]
async fn certificates_are_verified_for_the_name_asked_for() {
    let authority = Authority::new("ours");
    let server = authority.server(&["dtr.example.com", "192.0.2.10"]).await;
    for (host, expected) in [
        (Some("dtr.example.com"), "ok"),
        (Some("192.0.2.10"), "ok"),
        (
            Some("other.example.com"),
            "certificate not valid for other.example.com, only for dtr.example.com, 192.0.2.10",
        ),
        (Some("192.0.2.11"), "certificate not valid for 192.0.2.11, only for dtr.example.com, 192.0.2.10"),
        (None, "certificate not valid for 127.0.0.1, only for dtr.example.com, 192.0.2.10"),
    ] {
        let mut probe = probe(Scheme::Https, server.port());
        probe.host = host.map(str::to_owned);
        probe.verify = authority.verify();
        let outcome = ask(probe).await;
        assert_eq!(said(&outcome), expected, "{host:?}");
        assert!(outcome.error.is_none_or(|failure| failure.answered()));
    }
}

#[tokio::test]
async fn a_certificate_of_many_names_is_not_listed_whole() {
    let authority = Authority::new("ours");
    for (names, expected) in [
        (&[] as &[&str], "certificate not valid for dtr.example.com: it names no host"),
        (
            &["a.example", "b.example", "c.example", "d.example", "e.example"],
            "certificate not valid for dtr.example.com, only for a.example, b.example, c.example and 2 more",
        ),
    ] {
        let server = authority.server(names).await;
        let mut probe = probe(Scheme::Https, server.port());
        probe.host = Some("dtr.example.com".to_owned());
        probe.verify = authority.verify();
        assert_eq!(said(&ask(probe).await), expected);
    }
}

#[tokio::test]
async fn certificates_of_another_ca_do_not_pass() {
    let server = Authority::new("ours").server(&["dtr.example.com"]).await;
    let unknown = "certificate not issued by a trusted CA";
    let renewed = "certificate not signed by the trusted CA of that name; has the CA been renewed?";
    for (verify, expected) in
        [(Authority::new("theirs").verify(), unknown), (Authority::new("ours").verify(), renewed)]
    {
        let mut probe = probe(Scheme::Https, server.port());
        probe.host = Some("dtr.example.com".to_owned());
        probe.verify = verify;
        assert_eq!(said(&ask(probe).await), expected);
    }
}

#[tokio::test]
async fn the_hosts_own_cas_do_not_vouch_for_a_private_one() {
    let server = Authority::new("ours").server(&["dtr.example.com"]).await;
    let mut probe = probe(Scheme::Https, server.port());
    probe.host = Some("dtr.example.com".to_owned());
    probe.verify = Verify::Yes;
    match prober(probe) {
        Ok(prober) => {
            assert_eq!(said(&prober.probe().await), "certificate not issued by a trusted CA");
        }
        // A host without CA certificates trusts nobody, and says so.
        Err(error) => assert!(matches!(error, ProberError::SystemRoots(_)), "{error}"),
    }
}

#[tokio::test]
async fn expired_certificates_do_not_pass() {
    let authority = Authority::new("ours");
    let mut expired = params(&["dtr.example.com"]);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut future = params(&["dtr.example.com"]);
    future.not_before = rcgen::date_time_ymd(4000, 1, 1);
    for (params, expected) in
        [(expired, "certificate expired"), (future, "certificate not valid yet; check the clocks")]
    {
        let server = authority.server_with(params).await;
        let mut probe = probe(Scheme::Https, server.port());
        probe.host = Some("dtr.example.com".to_owned());
        probe.verify = authority.verify();
        assert_eq!(said(&ask(probe).await), expected);
    }
}

#[tokio::test]
async fn every_probe_is_a_whole_handshake() {
    let authority = Authority::new("ours");
    let server = authority.server(&["dtr.example.com"]).await;
    let mut probe = probe(Scheme::Https, server.port());
    probe.host = Some("dtr.example.com".to_owned());
    probe.verify = authority.verify();
    let prober = prober(probe).expect("a valid probe");
    for asked in 1..=3 {
        assert_eq!(said(&prober.probe().await), "ok");
        let seen = server.seen();
        assert_eq!(seen.connections, asked);
        assert_eq!(seen.resumed, 0);
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_a_connection_that_never_was() {
    // Waits for the end of a request that the TLS client never sends.
    let server = Server::plain(Script::Answer(Vec::new())).await;
    let mut probe = probe(Scheme::Https, server.port());
    probe.timeout = SHORT;
    let outcome = ask(probe).await;
    assert_eq!(outcome.error, Some(Failure::Timeout { after: SHORT, phase: Phase::Connecting }));
}

#[tokio::test]
async fn a_connection_closed_in_the_handshake_is_closed() {
    let server = Server::plain(Script::Close).await;
    let outcome = ask(probe(Scheme::Https, server.port())).await;
    assert_eq!(outcome.error, Some(Failure::Closed));
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        .expect("valid names")
}

fn config(certificate: CertificateDer<'static>, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate and its key")
}
