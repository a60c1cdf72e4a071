//! TLS towards a server, mostly an upstream: roots, own certificate, and refusals in words.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::transport::{ConnectError, Target};
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
    /// PEM file of CAs.
    pub ca: Option<&'a Path>,
    /// A folder of such files.
    pub ca_dir: Option<&'a Path>,
    /// Our certificate chain, PEM.
    pub cert: Option<&'a Path>,
    /// Its key, PEM.
    pub key: Option<&'a Path>,
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

/// The settings for an upstream.
///
/// # Errors
/// In words, naming the file.
pub fn client(settings: &UpstreamTls, host: &str) -> Result<Client, String> {
    let files = ClientFiles {
        ca: settings.ca.as_deref(),
        ca_dir: None,
        cert: settings.cert.as_deref(),
        key: settings.key.as_deref(),
    };
    client_with(&files, settings.server_name.as_deref().unwrap_or(host), false, &CONFIG)
}

/// The settings for a server of that name. With `any_name` its certificate may be for another one: everything else
/// about it is still checked.
///
/// # Errors
/// In words, naming the file.
pub fn client_with(
    files: &ClientFiles<'_>,
    name: &str,
    any_name: bool,
    words: &'static Words,
) -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = files.ca {
        add_roots(&mut roots, path)?;
    }
    if let Some(dir) = files.ca_dir {
        add_folder(&mut roots, dir)?;
    }
    if files.ca.is_none() && files.ca_dir.is_none() {
        roots = system_roots(words)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS can't be set up: {error}"))?;
    let builder = if any_name {
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| format!("TLS can't be set up: {error}"))?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(inner)))
    } else {
        builder.with_root_certificates(roots)
    };
    let config = match (files.cert, files.key) {
        (Some(cert), Some(key)) => {
            builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(|error| {
                format!("{} and {} don't go together: {error}", cert.display(), key.display())
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| format!("{name:?} is no host name for a certificate"))?;
    Ok(Client { config: Arc::new(config), name, words })
}

/// Checks a certificate as usual, but for whom it is.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::Error::InvalidCertificate;
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, when the chain and its dates were found right.
            Err(InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: a certificate can't be used: {error}", path.display()))?;
    }
    Ok(())
}

/// All certificates of a folder. Files that hold none (keys, revocation lists, notes) are passed over, but at least
/// one must hold one.
fn add_folder(roots: &mut RootCertStore, dir: &Path) -> Result<(), String> {
    let wrong = |error: io::Error| format!("{}: can't be read: {error}", dir.display());
    for entry in std::fs::read_dir(dir).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.is_file() && certificates(&path).is_ok() {
            add_roots(roots, &path)?;
        }
    }
    if roots.is_empty() {
        return Err(format!("{}: no file in it has a certificate in PEM form", dir.display()));
    }
    Ok(())
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
