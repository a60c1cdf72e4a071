//! TLS towards a server, mostly an upstream: roots, own certificate, and refusals in words.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::dial::{ConnectError, Target};
use super::own_certificate;
use super::verifier::Verifier;
use crate::config::UpstreamTls;
use crate::time::Timestamp;

/// The TLS settings of one connection attempt, made anew for each, so that a renewed file is used at once.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    pub(super) words: &'static Words,
}

/// Where the parts of a client's TLS settings are; without a CA, the system's roots.
#[derive(Clone, Copy, Debug)]
pub struct ClientFiles<'a> {
    /// PEM file of CAs, or a folder of such files.
    pub ca: Option<&'a Path>,
    /// A folder of such files.
    pub ca_dir: Option<&'a Path>,
    /// Our certificate chain, PEM.
    pub cert: Option<&'a Path>,
    /// Its key, PEM.
    pub key: Option<&'a Path>,
}

/// What else may be asked of a server's TLS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demands<'a> {
    /// Its certificate may be for another name.
    pub any_name: bool,
    /// SHA-256 of the public keys that it may have; with some and without a CA, nothing else about the certificate
    /// is looked at.
    pub pins: &'a [[u8; 32]],
    /// Protocols offered in the handshake (RFC 7301), the preferred first.
    pub alpn: &'a [String],
    /// TLS 1.3 only.
    pub only_13: bool,
}

/// What messages advise, where config and command line have other names for the same thing.
#[derive(Debug)]
pub struct Words {
    ca: &'static str,
    name: &'static str,
}

/// The names that an upstream's config has.
const CONFIG: Words = Words { ca: "tls.ca names your own", name: "tls.server_name can say which" };

/// The names that the command line has.
pub const COMMAND_LINE: Words =
    Words { ca: "--cafile names your own", name: "--insecure doesn't look at the name" };

/// The settings for an upstream, to which we show `own`.
///
/// # Errors
/// In words, naming the file.
pub fn client(settings: &UpstreamTls, host: &str, own: Option<Arc<CertifiedKey>>) -> Result<Client, String> {
    let files = ClientFiles { ca: settings.ca.as_deref(), ca_dir: None, cert: None, key: None };
    let demands =
        Demands { any_name: false, pins: &settings.pins, alpn: &settings.alpn, only_13: settings.only_13 };
    make(&files, own, settings.server_name.as_deref().unwrap_or(host), &demands, &CONFIG)
}

impl Client {
    /// One connection's state, for whoever moves its bytes without a runtime.
    ///
    /// # Errors
    /// In words.
    pub fn connection(&self) -> Result<rustls::ClientConnection, String> {
        rustls::ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|error| format!("TLS can't be set up: {error}"))
    }
}

/// The settings for a server of that name.
///
/// # Errors
/// In words, naming the file.
pub fn client_with(
    files: &ClientFiles<'_>,
    name: &str,
    demands: &Demands<'_>,
    words: &'static Words,
) -> Result<Client, String> {
    let own = match (files.cert, files.key) {
        (Some(cert), Some(key)) => Some(own_certificate::load(cert, key)?),
        _ => None,
    };
    make(files, own, name, demands, words)
}

fn make(
    files: &ClientFiles<'_>,
    own: Option<Arc<CertifiedKey>>,
    name: &str,
    demands: &Demands<'_>,
    words: &'static Words,
) -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    for path in [files.ca, files.ca_dir].into_iter().flatten() {
        add_authorities(&mut roots, path)?;
    }
    let own_roots = files.ca.is_some() || files.ca_dir.is_some();
    if !own_roots && demands.pins.is_empty() {
        roots = system_roots(words)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots);
    let versions = if demands.only_13 { &[&rustls::version::TLS13][..] } else { rustls::DEFAULT_VERSIONS };
    let cannot = |error: &dyn std::fmt::Display| format!("TLS can't be set up: {error}");
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| cannot(&error))?;
    let verifier = if own_roots || demands.pins.is_empty() {
        let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let chain = chain.map_err(|error| cannot(&error))?;
        Verifier::of_certificate(chain, demands.pins, demands.any_name, &provider)
    } else {
        Verifier::of_key(demands.pins, &provider)
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own {
        Some(own) => {
            let own = CertifiedKey::clone(&own);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = demands.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| format!("{name:?} is no host name for a certificate"))?;
    Ok(Client { config: Arc::new(config), name, words })
}

/// The authorities of a PEM file, or of a folder of such files.
pub(super) fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    if path.is_dir() { add_folder(roots, path) } else { add_roots(roots, path) }
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: a certificate can't be used: {error}", path.display()))?;
    }
    Ok(())
}

/// All certificates of a folder, each once: most files stand there a second time, under the hash of a name. Files that
/// hold none (keys, revocation lists) are passed over, but at least one must hold one.
fn add_folder(roots: &mut RootCertStore, dir: &Path) -> Result<(), String> {
    let mut seen = HashSet::new();
    for path in authority_files(dir).map_err(|error| format!("{}: can't be read: {error}", dir.display()))? {
        for certificate in certificates(&path).unwrap_or_default() {
            if seen.insert(certificate.clone()) {
                roots
                    .add(certificate)
                    .map_err(|error| format!("{}: a certificate can't be used: {error}", path.display()))?;
            }
        }
    }
    if seen.is_empty() {
        return Err(format!(
            "{}: no *.pem, *.crt or hash-named file in it has a certificate in PEM form",
            dir.display()
        ));
    }
    Ok(())
}

/// The files of a folder that may hold authorities, by name: `*.pem`, `*.crt`, and what `openssl rehash` makes.
///
/// # Errors
/// If the folder can't be read.
pub(super) fn authority_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(may_hold_authorities) && path.is_file()
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// `ca.pem`, `ca.crt`, `9d66eef0.0`.
fn may_hold_authorities(name: &str) -> bool {
    let Some((base, end)) = name.rsplit_once('.') else { return false };
    let is_digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    matches!(end, "pem" | "crt") || (base.len() == 8 && is_digits(base, 16) && is_digits(end, 10))
}

fn system_roots(words: &Words) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(format!(
            "this system has no root certificates; install ca-certificates, or: {}",
            words.ca
        ));
    }
    Ok(roots)
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error| format!("{}: can't read certificates: {error}", path.display());
    let found =
        CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if found.is_empty() {
        return Err(format!(
            "{}: has no certificate in PEM form (-----BEGIN CERTIFICATE-----)",
            path.display()
        ));
    }
    Ok(found)
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| format!("{}: can't read the private key: {error}", path.display()))
}

/// A handshake that failed, in words.
pub(super) fn refused(error: &io::Error, target: &Target, words: &Words) -> ConnectError {
    let name = &target.host;
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return ConnectError::passing(format!(
            "{name}: TLS handshake failed: {}; perhaps port {} doesn't speak TLS",
            super::transport::io_words(error),
            target.port
        ));
    };
    match tls {
        rustls::Error::InvalidCertificate(why) => {
            ConnectError::permanent(format!("{name}: {}", certificate_words(why, target, words)))
        }
        rustls::Error::InvalidMessage(_) => {
            ConnectError::permanent(format!("{name} port {} doesn't speak TLS ({tls})", target.port))
        }
        rustls::Error::AlertReceived(alert) => {
            ConnectError::permanent(format!("{name} refused our TLS connection: {alert:?}"))
        }
        _ => ConnectError::permanent(format!("{name}: TLS: {tls}")),
    }
}

fn certificate_words(why: &CertificateError, target: &Target, words: &Words) -> String {
    let ca = target.tls.as_ref().and_then(|tls| tls.ca.as_ref());
    match why {
        CertificateError::ApplicationVerificationFailure => {
            "its public key is not one of those that tls.pin names; if it was renewed on purpose, put the new pin there"
                .into()
        }
        CertificateError::Expired => "its certificate has expired".into(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired on {}", date(*not_after))
        }
        CertificateError::NotValidYet => {
            "its certificate is not valid yet; is this gateway's clock right?".into()
        }
        CertificateError::NotValidYetContext { not_before, time } => format!(
            "its certificate is not valid before {}, and this gateway's clock says {}: is it set?",
            date(*not_before),
            date(*time)
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let wanted =
                target.tls.as_ref().and_then(|tls| tls.server_name.as_deref()).unwrap_or(&target.host);
            format!("its certificate is for another name than {wanted:?} ({}): {why}", words.name)
        }
        CertificateError::UnknownIssuer => match ca {
            Some(path) => format!("its certificate was not issued by the CA in {}", path.display()),
            None => {
                format!("its certificate was not issued by a CA that this system trusts; {}", words.ca)
            }
        },
        CertificateError::Revoked => "its certificate was revoked".into(),
        // The verifier's own name for it is all that it tells.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "its certificate is a CA's own (openssl req -x509 makes such); a server needs one that is issued by the \
             CA, with basicConstraints CA:FALSE"
                .into()
        }
        _ => format!("its certificate is not right: {why}"),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 1_000);
    let mut text = Timestamp::from_millis(seconds.saturating_mul(1_000)).to_string();
    text.truncate(10);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_have_names_by_which_they_are_known() {
        for name in ["ca.pem", "a.b.crt", "9d66eef0.0", "0A1B2C3D.12", ".pem"] {
            assert!(may_hold_authorities(name), "{name}");
        }
        for name in
            ["ca.key", "pem", "9d66eef0", "9d66eef0.r0", "9d66eef.0", "9d66eefg.0", "ca.pem~", "9d66eef0."]
        {
            assert!(!may_hold_authorities(name), "{name}");
        }
    }
}
