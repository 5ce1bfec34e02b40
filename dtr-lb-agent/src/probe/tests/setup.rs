//! What cannot be probed is refused when the prober is made, with what to do about it.

use super::{probe, prober};
use crate::config::{Scheme, Verify};

#[test]
fn ca_files_that_are_not_usable() {
    let directory = tempfile::tempdir().expect("a directory");
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let unfinished = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    for (name, content, expected) in [
        ("missing.pem", None, "cannot read the probe's CA file"),
        ("empty.pem", Some(""), "must hold CA certificates in PEM form"),
        ("text.pem", Some("not a certificate"), "must hold CA certificates in PEM form"),
        ("damaged.pem", Some(damaged), "must hold CA certificates in PEM form"),
        ("unfinished.pem", Some(unfinished), "must hold CA certificates in PEM form"),
    ] {
        let path = directory.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).expect("a CA file");
        }
        let mut probe = probe(Scheme::Https, 443);
        probe.verify = Verify::Ca(path.clone());
        let error = prober(probe).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(error.contains(&path.display().to_string()), "{name}: {error}");
    }
}

#[test]
fn a_ca_file_is_not_read_where_there_is_no_tls() {
    for scheme in [Scheme::Http, Scheme::Tcp, Scheme::None] {
        let mut probe = probe(scheme, 80);
        probe.verify = Verify::Ca("/nonexistent/ca.pem".into());
        prober(probe).expect("no TLS, no CA file");
    }
}

#[test]
fn paths_and_hosts_that_make_no_url() {
    for (host, path, expected) in [
        (None, "health", "the path does not start with '/'"),
        (None, "", "the path does not start with '/'"),
        (None, "@192.0.2.1/", "the path does not start with '/'"),
        // Read as the address 10.0.0.1, and as a user name: each would probe something else.
        (Some("10.1"), "/", "neither a DNS name nor an IP address"),
        (Some("user@example.com"), "/", "neither a DNS name nor an IP address"),
        (Some("example.com/x"), "/", "neither a DNS name nor an IP address"),
        (Some("example.com:8443"), "/", "is not valid"),
        (Some("exam ple.com"), "/", "is not valid"),
        (Some(""), "/", "is not valid"),
    ] {
        let mut probe = probe(Scheme::Http, 80);
        probe.host = host.map(str::to_owned);
        probe.path = path.to_owned();
        let error = prober(probe).expect_err("no URL").to_string();
        assert!(error.contains(expected), "{host:?} {path:?}: {error}");
    }
}
