//! TLS towards an upstream: roots, own certificate, and refusals in words.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::transport::{ConnectError, Target};
use crate::config::UpstreamTls;
use crate::time::Timestamp;

/// The TLS settings of one connection attempt, made anew for each, so that a renewed file is used at once.
///
/// # Errors
/// In words, naming the file.
pub fn client(
    settings: &UpstreamTls,
    host: &str,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
    let roots = match &settings.ca {
        Some(path) => roots_of(path)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS can't be set up: {error}"))?
        .with_root_certificates(roots);
    let config = match (&settings.cert, &settings.key) {
        (Some(cert), Some(key)) => {
            builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(|error| {
                format!("{} and {} don't go together: {error}", cert.display(), key.display())
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    let name = settings.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| format!("{name:?} is no host name for a certificate"))?;
    Ok((Arc::new(config), name))
}

fn roots_of(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: a certificate can't be used: {error}", path.display()))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err("this system has no root certificates; install ca-certificates, or set tls.ca".into());
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
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

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| format!("{}: can't read the private key: {error}", path.display()))
}

/// A handshake that failed, in words.
pub(super) fn refused(error: &io::Error, target: &Target) -> ConnectError {
    let name = &target.host;
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return ConnectError::passing(format!(
            "{name}: TLS handshake failed: {}",
            super::transport::io_words(error)
        ));
    };
    match tls {
        rustls::Error::InvalidCertificate(why) => {
            ConnectError::permanent(format!("{name}: {}", certificate_words(why, target)))
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

fn certificate_words(why: &CertificateError, target: &Target) -> String {
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
            format!(
                "its certificate is for another name than {wanted:?} (tls.server_name can say which): {why}"
            )
        }
        CertificateError::UnknownIssuer => match ca {
            Some(path) => format!("its certificate was not issued by the CA in {}", path.display()),
            None => {
                "its certificate was not issued by a CA that this system trusts; tls.ca names your own".into()
            }
        },
        CertificateError::Revoked => "its certificate was revoked".into(),
        _ => format!("its certificate is not right: {why}"),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 1_000);
    let mut text = Timestamp::from_millis(seconds.saturating_mul(1_000)).to_string();
    text.truncate(10);
    text
}
