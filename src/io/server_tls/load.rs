//! A listener's files made into what its handshakes use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::suites;
use crate::config::{ClientCertificate, CrlExpired, ListenerTls, TlsVersion};
use crate::expiry::{Dated, What};
use crate::io::certificate_dates::{certificate_ends, list_ends};
use crate::io::tls::{add_authorities, authority_files, certificates, private_key};
use crate::time::Timestamp;

/// How many further handshakes of TLS 1.3 each one makes shorter. A client has one connection, so it needs one, which brings
/// the next.
const TICKETS: usize = 1;

/// What tells that a file has changed: length, time of change, and number, since a file is often replaced by another.
type Stamp = Option<(u64, i64, i64, u64)>;

/// The stamps of all files of a listener.
pub(super) type Stamps = Vec<Stamp>;

/// What was read from the files.
#[derive(Debug)]
pub(super) struct Loaded {
    /// For handshakes.
    pub(super) config: Arc<ServerConfig>,
    /// Who must not be connected any more.
    pub(super) revoked: Revoked,
    /// Who vouches for clients.
    pub(super) authorities: Authorities,
    /// What ends when.
    pub(super) dates: Vec<Dated>,
}

/// Revoked client certificates.
#[derive(Debug, Default)]
pub(super) struct Revoked(Vec<webpki::CertRevocationList<'static>>);

impl Revoked {
    /// Whether a certificate, which was verified before, is among them.
    pub(super) fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return false };
        self.0.iter().any(|list| {
            list.issuer() == certificate.issuer()
                && matches!(list.find_serial(certificate.serial()), Ok(Some(_)))
        })
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The authorities that vouch for clients.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Names and keys, in order.
    roots: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Authorities {
    /// Whether one of those of `before` isn't there any more.
    pub(super) fn are_fewer(&self, before: &Self) -> bool {
        before.roots.iter().any(|root| self.roots.binary_search(root).is_err())
    }

    /// Whether none of them is behind a client's certificates, which were verified before. Anything else that may be
    /// wrong with them by now, such as their time, isn't looked at.
    pub(super) fn disown(&self, chain: &[CertificateDer<'_>]) -> bool {
        let (Some(verifier), Some((own, rest))) = (&self.verifier, chain.split_first()) else { return false };
        let verified = verifier.verify_client_cert(own, rest, UnixTime::now());
        matches!(verified, Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)))
    }
}

pub(super) fn stamps_of(settings: &ListenerTls) -> Stamps {
    use std::os::unix::fs::MetadataExt;
    let ca = settings.client_ca.as_ref().map(|(path, _)| path);
    let files =
        [Some(&settings.cert), Some(&settings.key), ca, settings.crl.as_ref()].into_iter().flatten().cloned();
    // A folder of authorities counts with what is in it.
    let inside = ca.and_then(|ca| authority_files(ca).ok()).unwrap_or_default();
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.len(), found.mtime(), found.mtime_nsec(), found.ino()))
    };
    files.chain(inside).map(|path| stamp(&path)).collect()
}

pub(super) fn load(settings: &ListenerTls) -> Result<Loaded, String> {
    let provider = Arc::new(suites::provider());
    let lists = settings.crl.as_deref().map(lists).transpose()?.unwrap_or_default();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions(settings.min_version))
        .map_err(|error| format!("TLS can't be set up: {error}"))?;
    let authorities = match &settings.client_ca {
        Some((ca, asked)) => authorities(settings, ca, *asked, lists.clone(), provider)?,
        None => Authorities::default(),
    };
    let builder = match authorities.verifier.clone() {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let (cert, key) = (&settings.cert, &settings.key);
    let chain = certificates(cert)?;
    let dates = dates(settings, &chain, &lists);
    let mut config = builder.with_single_cert(chain, private_key(key)?).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("{} is not the key of the certificate in {}", key.display(), cert.display())
        }
        _ => format!("{} and {} can't be used: {error}", cert.display(), key.display()),
    })?;
    config.send_tls13_tickets = TICKETS;
    config.ignore_client_order = true;
    let revoked = lists.iter().map(|list| webpki::OwnedCertRevocationList::from_der(list).map(Into::into));
    // The verifier has taken the same lists already.
    let revoked = revoked.collect::<Result<_, _>>().map_err(|error| format!("a revocation list: {error}"))?;
    Ok(Loaded { config: Arc::new(config), revoked: Revoked(revoked), authorities, dates })
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    match min {
        TlsVersion::V12 => rustls::ALL_VERSIONS,
        TlsVersion::V13 => &NEWEST,
    }
}

fn dates(
    settings: &ListenerTls,
    chain: &[CertificateDer<'_>],
    lists: &[CertificateRevocationListDer<'_>],
) -> Vec<Dated> {
    let at = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1_000));
    let own = chain.first().and_then(certificate_ends).map(|ends| Dated {
        what: What::Certificate,
        file: settings.cert.display().to_string(),
        ends: at(ends),
    });
    let what = What::RevocationList { denies: settings.crl_expired == CrlExpired::Deny };
    // Of several lists in a file the one that ends first counts.
    let list = settings.crl.as_ref().zip(lists.iter().filter_map(list_ends).min());
    let list = list.map(|(file, ends)| Dated { what, file: file.display().to_string(), ends: at(ends) });
    own.into_iter().chain(list).collect()
}

fn authorities(
    settings: &ListenerTls,
    ca: &Path,
    asked: ClientCertificate,
    lists: Vec<CertificateRevocationListDer<'static>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Authorities, String> {
    let mut roots = RootCertStore::empty();
    add_authorities(&mut roots, ca)?;
    let named_keys =
        roots.roots.iter().map(|root| (root.subject.to_vec(), root.subject_public_key_info.to_vec()));
    let mut sorted: Vec<_> = named_keys.collect();
    sorted.sort();
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let mut named = ca.display().to_string();
    if let Some(crl) = &settings.crl {
        // As everywhere, only the client's own certificate is looked up: few authorities publish lists of authorities.
        builder = builder.with_crls(lists).only_check_end_entity_revocation();
        if settings.crl_expired == CrlExpired::Deny {
            builder = builder.enforce_revocation_expiration();
        }
        named = format!("{named} and {}", crl.display());
    }
    if asked == ClientCertificate::Optional {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| format!("{named} can't be used: {error}"))?;
    Ok(Authorities { verifier: Some(verifier), roots: sorted })
}

fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let wrong = |error| format!("{}: can't read the revocation list: {error}", path.display());
    let lists = CertificateRevocationListDer::pem_file_iter(path).map_err(wrong)?;
    let lists = lists.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if lists.is_empty() {
        return Err(format!(
            "{}: has no revocation list in PEM form (-----BEGIN X509 CRL-----)",
            path.display()
        ));
    }
    Ok(lists)
}
