//! TLS for probes: which certificates are accepted, and which protocols are offered.
//!
//! Session resumption is off, since a resumed session shows no certificate and an expired one would go unnoticed for
//! hours. No process-wide crypto provider is needed.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use super::ProberError;
use crate::config::Verify;

/// The TLS of many probes, made once for each way to verify and to offer protocols: CA files and the host's CAs are read once, and a thousand
/// replicas share them. One that is made anew, as for another config, reads them again.
#[derive(Debug, Default)]
pub struct TlsConfigs {
    made: Vec<Made>,
}

#[derive(Debug)]
struct Made {
    verify: Verify,
    alpn: Vec<String>,
    config: Arc<ClientConfig>,
}

impl TlsConfigs {
    /// For probes that verify like this and offer these protocols.
    pub(super) fn of(&mut self, verify: &Verify, alpn: &[String]) -> Result<Arc<ClientConfig>, ProberError> {
        let made = self.made.iter().find(|made| made.verify == *verify && made.alpn == alpn);
        if let Some(made) = made {
            return Ok(Arc::clone(&made.config));
        }
        let mut config = client_config(verify)?;
        config.alpn_protocols = alpn.iter().map(|name| name.clone().into_bytes()).collect();
        let config = Arc::new(config);
        self.made.push(Made { verify: verify.clone(), alpn: alpn.to_vec(), config: Arc::clone(&config) });
        Ok(config)
    }
}

/// The config for probes that verify as `verify` says.
fn client_config(verify: &Verify) -> Result<ClientConfig, ProberError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match verify {
        Verify::No => Arc::new(AcceptAny { provider: Arc::clone(&provider) }),
        Verify::Yes => Arc::new(
            rustls_platform_verifier::Verifier::new(Arc::clone(&provider))
                .map_err(ProberError::SystemRoots)?,
        ),
        Verify::Ca(path) => {
            let roots = Arc::new(read_roots(path)?);
            // Refuses a file without certificates.
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| ca_invalid(path, &error))?
        }
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ProberError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn read_roots(path: &Path) -> Result<RootCertStore, ProberError> {
    let pem = std::fs::read(path).map_err(|source| ProberError::CaRead { path: path.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| ca_invalid(path, &error))?;
        roots.add(certificate).map_err(|error| ca_invalid(path, &error))?;
    }
    Ok(roots)
}

fn ca_invalid(path: &Path, error: &dyn std::error::Error) -> ProberError {
    ProberError::CaInvalid { path: path.to_owned(), reason: error.to_string() }
}

/// Accepts any certificate, even one that cannot be parsed. Replicas usually sign their own, and a probe sends
/// nothing secret.
#[derive(Debug)]
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
