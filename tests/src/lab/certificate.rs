//! The lab's certificates: one authority a lab, and one certificate a replica, signed by it.
//!
//! Like DTR's own, every replica has a certificate of its own for the same service name. So a client can tell
//! from the certificate alone which replica it got, and that nothing on the way ended the TLS session.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use super::{error::Error, topology::SERVICE_NAME};

const AUTHORITY_NAME: &str = "dtr-lb lab authority";

/// The lab's certificate authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub(super) struct CertificateFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Authority {
    /// Makes an authority and writes its certificate to `file`, as PEM.
    pub(super) fn create(file: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Certificate { name: AUTHORITY_NAME.to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = common_name(AUTHORITY_NAME);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        fs::write(file, certificate.pem()).map_err(Error::file("write", file))?;
        Ok(Self { issuer: Issuer::new(parameters, key) })
    }

    /// Issues a server certificate for a replica: its own name, the service's name, and these addresses.
    pub(super) fn issue(
        &self,
        name: &str,
        addresses: &[IpAddr],
        directory: &Path,
    ) -> Result<CertificateFiles, Error> {
        let failed = |source| Error::Certificate { name: name.to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let names = [name.to_owned(), SERVICE_NAME.to_owned()];
        let all: Vec<_> = names.into_iter().chain(addresses.iter().map(ToString::to_string)).collect();
        let mut parameters = CertificateParams::new(all).map_err(failed)?;
        parameters.distinguished_name = common_name(name);
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(failed)?;
        let files =
            CertificateFiles { certificate: directory.join("server.crt"), key: directory.join("server.key") };
        fs::write(&files.certificate, certificate.pem()).map_err(Error::file("write", &files.certificate))?;
        fs::write(&files.key, key.serialize_pem()).map_err(Error::file("write", &files.key))?;
        Ok(files)
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;
    use crate::lab::command;

    /// Another implementation of X.509 has to agree that the chain and the names are right.
    #[test]
    fn openssl_verifies_a_replica_certificate_for_its_names_and_no_other() {
        let directory = TempDir::new().unwrap();
        let ca = directory.path().join("ca.crt");
        let authority = Authority::create(&ca).unwrap();
        let files = authority.issue("r1", &["10.77.0.10".parse().unwrap()], directory.path()).unwrap();
        let verify = |option: &str, value: &str| {
            command::success(
                Command::new("openssl")
                    .args(["verify", "-purpose", "sslserver", "-x509_strict", option, value, "-CAfile"])
                    .args([&ca, &files.certificate]),
            )
        };
        for (option, value) in
            [("-verify_hostname", "r1"), ("-verify_hostname", SERVICE_NAME), ("-verify_ip", "10.77.0.10")]
        {
            verify(option, value).unwrap();
        }
        for (option, value) in [("-verify_hostname", "r2"), ("-verify_ip", "10.77.0.11")] {
            assert!(verify(option, value).is_err(), "{value} is not in the certificate");
        }
    }
}
