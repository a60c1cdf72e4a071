//! What certificates and revocation lists say of themselves: their dates, names and numbers. Nothing is verified here.

use std::fmt::Write;
use std::net::IpAddr;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer, GeneralName, X509Certificate, X509Name};

use crate::time::Timestamp;

/// The first certificate in some PEM text.
#[must_use]
pub fn der(pem: &[u8]) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem).ok()
}

/// When the first certificate in some PEM text ends, in seconds since 1970.
#[must_use]
pub fn ends(pem: &[u8]) -> Option<i64> {
    certificate_ends(&der(pem)?)
}

/// When a certificate ends, in seconds since 1970.
#[must_use]
pub fn certificate_ends(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Whose a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whom it names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// From when on it counts.
    pub begins: Timestamp,
    /// Until when.
    pub ends: Timestamp,
}

/// What a certificate says of itself.
#[must_use]
pub fn identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let at = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1_000));
    // A name may hold anything, and is shown on a terminal.
    let words =
        |name: &X509Name<'_>| -> String { name.to_string().chars().filter(|c| !c.is_control()).collect() };
    Some(Identity {
        subject: words(certificate.subject()),
        issuer: words(certificate.issuer()),
        begins: at(certificate.validity().not_before.timestamp()),
        ends: at(certificate.validity().not_after.timestamp()),
    })
}

/// The names and addresses that a certificate is for.
#[must_use]
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

/// The public key of a certificate, DER.
#[must_use]
pub fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.public_key().raw.to_vec())
}

/// The SHA-256 of the first certificate in some PEM text, as openssl prints it.
#[must_use]
pub fn fingerprint(pem: &[u8]) -> Option<String> {
    let digest = ring::digest::digest(&ring::digest::SHA256, &der(pem)?);
    let mut text = String::new();
    for byte in digest.as_ref() {
        let colon = if text.is_empty() { "" } else { ":" };
        // Writing to a String can't fail.
        let _ = write!(text, "{colon}{byte:02X}");
    }
    Some(text)
}

/// The number of the first revocation list in some PEM text.
#[must_use]
pub fn crl_number(pem: &[u8]) -> Option<u64> {
    let list = CertificateRevocationListDer::from_pem_slice(pem).ok()?;
    let (_, list) = CertificateRevocationList::from_der(&list).ok()?;
    u64::try_from(list.crl_number()?).ok()
}

/// When a revocation list must have been followed by another, in seconds since 1970.
#[must_use]
pub fn list_ends(list: &CertificateRevocationListDer<'_>) -> Option<i64> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    Some(list.next_update()?.timestamp())
}
