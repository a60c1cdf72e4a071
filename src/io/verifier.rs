//! Whether a server is the one that is meant: by its certificate, by its public key (RFC 7469 has the form of the pin), or
//! both. A pin holds where no authority signs, for a certificate that signs itself, and against an authority that signs
//! for somebody else.

use std::sync::Arc;

use ring::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};

/// Takes a server that has all that is asked of it.
#[derive(Debug)]
pub(super) struct Verifier {
    /// With some, its public key must be one of them.
    pins: Vec<[u8; 32]>,
    /// Its certificate must be right by these authorities. `None` only where there are pins.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Its certificate may be for another name.
    any_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// One that looks at the certificate, at the key if there are pins, and at the name unless `any_name`.
    pub(super) fn of_certificate(
        chain: Arc<WebPkiServerVerifier>,
        pins: &[[u8; 32]],
        any_name: bool,
        provider: &CryptoProvider,
    ) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { pins: pins.to_vec(), chain: Some(chain), any_name, algorithms }
    }

    /// One that looks at the public key alone, so that none is taken where there are no pins.
    pub(super) fn of_key(pins: &[[u8; 32]], provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { pins: pins.to_vec(), chain: None, any_name: true, algorithms }
    }
}

/// SHA-256 of the certificate's public key, with its algorithm (SubjectPublicKeyInfo).
fn pin_of(certificate: &CertificateDer<'_>) -> Result<[u8; 32], rustls::Error> {
    let bad = |_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(bad)?;
    let digest = digest::digest(&digest::SHA256, parsed.subject_public_key_info().as_ref());
    digest.as_ref().try_into().map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::Error::InvalidCertificate;
        let by_key = self.chain.is_none() || !self.pins.is_empty();
        if by_key && !self.pins.contains(&pin_of(end_entity)?) {
            return Err(InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, when the chain and its dates were found right.
            Err(InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
