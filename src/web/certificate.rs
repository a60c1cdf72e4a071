//! The page's certificate: the configured one, or one of its own that is made at the first start. It is read again when
//! its files change.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};
use tracing::info;

use crate::config::{CrlExpired, ListenerTls, TlsVersion, Web};
use crate::io::certificate_dates::fingerprint;
use crate::io::files::{read_limited, rewrite};
use crate::io::own_names;
use crate::limits::CONFIG_FILE_BYTES_MAX;

/// The end of an own certificate: no clock is needed to make one, and nobody stands on a ladder to renew it.
const ENDS_AFTER_1970: Duration = Duration::days(80 * 365);

/// What listeners call the files; makes them where there are none.
///
/// # Errors
/// In words.
pub(super) fn settings(config: &Web, folder: &Path) -> Result<ListenerTls, String> {
    let (cert, key) = match &config.certificate {
        Some((cert, key)) => (cert.clone(), key.clone()),
        None => own(folder, &config.hosts)?,
    };
    Ok(ListenerTls {
        cert,
        key,
        min_version: TlsVersion::V12,
        client_ca: None,
        crl: None,
        crl_expired: CrlExpired::Warn,
        user_from_cert: None,
    })
}

/// SHA-256 of a certificate, to be compared with what a browser shows.
pub(super) fn fingerprint_of(cert: &Path) -> Option<String> {
    let pem = read_limited(cert, CONFIG_FILE_BYTES_MAX).ok()?;
    fingerprint(&pem)
}

fn own(folder: &Path, hosts: &[String]) -> Result<(PathBuf, PathBuf), String> {
    let (cert, key) = (folder.join("certificate.pem"), folder.join("certificate.key"));
    if !cert.exists() || !key.exists() {
        let (cert_pem, key_pem) = make(hosts)?;
        rewrite(&key, |_| Ok((key_pem.into_bytes(), ())))?;
        rewrite(&cert, |_| Ok((cert_pem.into_bytes(), ())))?;
        info!(file = %cert.display(), "made a certificate for the page");
    }
    Ok((cert, key))
}

fn make(hosts: &[String]) -> Result<(String, String), String> {
    let in_words = |error: rcgen::Error| format!("can't make a certificate: {error}");
    let key = KeyPair::generate().map_err(in_words)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    let common: String = own_names::host_name().chars().filter(|c| !c.is_control()).take(64).collect();
    name.push(DnType::CommonName, if common.is_empty() { "fieldgate".to_owned() } else { common });
    params.distinguished_name = name;
    params.not_before = OffsetDateTime::UNIX_EPOCH;
    params.not_after = OffsetDateTime::UNIX_EPOCH + ENDS_AFTER_1970;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let names = own_names::own().into_iter().chain(hosts.iter().cloned());
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().map_err(in_words)?),
        });
    }
    let certificate = params.self_signed(&key).map_err(in_words)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
