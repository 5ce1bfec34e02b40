//! HTTPS probes: which certificates pass, for which name, and what the replica sees of that name.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tempfile::TempDir;

use super::{
    SHORT, ask, probe, prober, said,
    server::{Script, Server, Turn},
};
use crate::{
    config::{Probe, Scheme, Verify},
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
async fn a_process_that_is_frozen_is_seen_in_the_handshake() {
    // Waits for the end of a request that the TLS client never sends.
    let server = Server::plain(Script::Answer(Vec::new())).await;
    for scheme in [Scheme::Https, Scheme::Tls] {
        let mut probe = probe(scheme, server.port());
        probe.timeout = SHORT;
        let outcome = ask(probe).await;
        assert_eq!(outcome.error, Some(Failure::Timeout { after: SHORT, phase: Phase::Handshake }));
        assert_eq!(said(&outcome), "no answer within 100ms (TCP accepted, frozen in the TLS handshake)");
        assert!(!outcome.error.is_some_and(|failure| failure.answered()), "its kernel alone has accepted");
    }
}

#[tokio::test]
async fn a_handshake_is_enough_for_tls() {
    let authority = Authority::new("ours");
    let server = authority.server(&["dtr.example.com"]).await;
    for (host, verify, expected) in [
        (Some("dtr.example.com"), authority.verify(), "ok"),
        (
            Some("other.example.com"),
            authority.verify(),
            "certificate not valid for other.example.com, only for dtr.example.com",
        ),
        (None, Verify::No, "ok"),
    ] {
        let mut probe = probe(Scheme::Tls, server.port());
        (probe.host, probe.verify) = (host.map(str::to_owned), verify);
        let outcome = ask(probe).await;
        assert_eq!((said(&outcome).as_str(), outcome.status), (expected, None), "{host:?}");
    }
    let plain = Server::plain(Script::Greet(b"220 mail.example.com ESMTP\r\n".to_vec())).await;
    assert_eq!(
        said(&ask(probe(Scheme::Tls, plain.port())).await),
        "TLS failed: the answer is not TLS; does this port speak plain HTTP?"
    );
}

/// Remembers which protocols clients offer.
#[derive(Debug)]
struct Offers {
    key: Arc<CertifiedKey>,
    seen: Mutex<Vec<Vec<String>>>,
}

impl ResolvesServerCert for Offers {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered = hello.alpn().into_iter().flatten();
        let offered = offered.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        self.seen.lock().expect("not poisoned").push(offered);
        Some(Arc::clone(&self.key))
    }
}

#[tokio::test]
async fn the_replica_sees_the_protocols_that_are_offered() {
    let none_of_them = "TLS failed: the replica speaks none of the protocols in `alpn`";
    for (scheme, offered, spoken, expected) in [
        (Scheme::Https, &[] as &[&str], &[] as &[&str], "ok"),
        (Scheme::Https, &["http/1.1", "http/1.0"], &["http/1.1"], "ok"),
        // One that knows no ALPN lets it pass (RFC 7301 section 3.2).
        (Scheme::Https, &["http/1.1"], &[], "ok"),
        (Scheme::Https, &["http/1.1"], &["h2"], none_of_them),
        (Scheme::Tls, &["h2", "x-any"], &["x-any"], "ok"),
        (Scheme::Tls, &["h2"], &["x-any"], none_of_them),
        (Scheme::Tls, &[], &["x-any"], "ok"),
    ] {
        let key = key();
        let certificate = params(&["a.example"]).self_signed(&key).expect("a certificate");
        let signing = any_supported_type(&PrivatePkcs8KeyDer::from(key.serialize_der()).into());
        let certified = CertifiedKey::new(vec![certificate.der().clone()], signing.expect("a key"));
        let offers = Arc::new(Offers { key: Arc::new(certified), seen: Mutex::default() });
        let mut config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&offers) as _);
        config.alpn_protocols = spoken.iter().map(|name| name.as_bytes().to_vec()).collect();
        let server = Server::tls(config).await;
        let mut probe = probe(scheme, server.port());
        probe.alpn = offered.iter().map(ToString::to_string).collect();
        assert_eq!(said(&ask(probe).await), expected, "{scheme} {offered:?} {spoken:?}");
        let seen = offers.seen.lock().expect("not poisoned");
        if expected == "ok" {
            assert_eq!(*seen, [offered.to_vec()], "{scheme}");
        }
    }
}

#[tokio::test]
async fn steps_go_over_tls_as_over_tcp() {
    let authority = Authority::new("ours");
    let key = key();
    let certificate = params(&["a.example"]).signed_by(&key, &authority.issuer).expect("a certificate");
    let turns = vec![Turn::Hear, Turn::Say("+PONG\r\n")];
    let server = Server::tls_talking(config(certificate.der().clone(), &key), turns).await;
    let mut probe = Probe {
        scheme: Scheme::Tls,
        host: Some("a.example".to_owned()),
        verify: authority.verify(),
        ..super::steps(r#"{ send = "PING\r\n" }, { expect = '^\+PONG' }"#)
    };
    probe.port = server.port();
    assert_eq!(said(&ask(probe.clone()).await), "ok");
    assert_eq!(server.seen().requests, ["PING\r\n"]);
    let wrong = super::steps(r#"{ send = "PING\r\n" }, { expect = '^\+PONG' }, { reject = 'PONG' }"#);
    probe.steps = wrong.steps;
    assert_eq!(said(&ask(probe).await), "step 3: the answer matches /PONG/, which is rejected");
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
