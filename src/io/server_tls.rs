//! TLS for listeners: certificates from files, read again when they change, and what a client's certificate must be.
//! The handshake itself is `greet`'s.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::tls::{certificates, private_key};
use crate::config::{ClientCertificate, ListenerTls};

/// How often the files are looked at.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What tells that a file has changed: length, time of change, and number, since a file is often replaced by another.
type Stamp = Option<(u64, i64, i64, u64)>;

/// The stamps of all files of a listener.
type Stamps = Vec<Stamp>;

/// A listener's TLS settings, as they are now.
#[derive(Debug)]
pub(super) struct Keys {
    settings: Arc<ListenerTls>,
    current: RefCell<Arc<ServerConfig>>,
    /// The files as they were when they were last read.
    seen: RefCell<Stamps>,
    /// The last reading failed.
    stale: Cell<bool>,
}

impl Keys {
    /// Reads the files.
    ///
    /// # Errors
    /// In words, naming the file.
    pub(super) async fn open(settings: &ListenerTls) -> Result<Self, String> {
        let settings = Arc::new(settings.clone());
        let (seen, config) = read(&settings).await;
        Ok(Self {
            settings,
            current: RefCell::new(config?),
            seen: RefCell::new(seen),
            stale: Cell::new(false),
        })
    }

    /// What the next handshake uses.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.borrow().clone()
    }

    /// Reads the files again whenever they have changed, or at SIGHUP. `changed` is told what is wrong now, if
    /// anything. Never ends.
    pub(super) async fn watch(self: Rc<Self>, listener: &str, changed: impl Fn(Option<String>)) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut before = self.seen.borrow().clone();
        loop {
            let told = tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
                () = hung_up(&mut hangup) => true,
            };
            let now = stamps(&self.settings).await;
            // Certificate and key are two files: once they have settled they are read.
            let settled = std::mem::replace(&mut before, now.clone()) == now;
            if told || (settled && *self.seen.borrow() != now) {
                before = self.read_again(listener, &changed).await;
            }
        }
    }

    async fn read_again(&self, listener: &str, changed: &impl Fn(Option<String>)) -> Stamps {
        let (seen, config) = read(&self.settings).await;
        self.seen.replace(seen.clone());
        match config {
            Ok(config) => {
                self.current.replace(config);
                info!(listener, "certificates were read again; clients stay connected");
                if self.stale.replace(false) {
                    changed(None);
                }
            }
            Err(error) => {
                error!(listener, error, "the new certificates can't be used; the old ones are kept");
                self.stale.set(true);
                changed(Some(format!("the old certificates are still used: {error}")));
            }
        }
        seen
    }
}

async fn hung_up(signal: &mut Option<tokio::signal::unix::Signal>) {
    if let Some(hangup) = signal
        && hangup.recv().await.is_some()
    {
        return;
    }
    // There will be no more.
    *signal = None;
    std::future::pending().await
}

/// The files are on a disk that may stall, so another thread reads them.
async fn read(settings: &Arc<ListenerTls>) -> (Stamps, Result<Arc<ServerConfig>, String>) {
    let settings = settings.clone();
    // The stamps come first: a file that changes meanwhile is read once more.
    let read = tokio::task::spawn_blocking(move || (stamps_of(&settings), load(&settings)));
    read.await.unwrap_or_else(|error| (Vec::new(), Err(format!("the files can't be read: {error}"))))
}

async fn stamps(settings: &Arc<ListenerTls>) -> Stamps {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || stamps_of(&settings)).await.unwrap_or_default()
}

fn stamps_of(settings: &ListenerTls) -> Stamps {
    use std::os::unix::fs::MetadataExt;
    let ca = settings.client_ca.as_ref().map(|(path, _)| path);
    let files = [Some(&settings.cert), Some(&settings.key), ca, settings.crl.as_ref()];
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.len(), found.mtime(), found.mtime_nsec(), found.ino()))
    };
    files.into_iter().flatten().map(stamp).collect()
}

fn load(settings: &ListenerTls) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS can't be set up: {error}"))?;
    let builder = match &settings.client_ca {
        Some((ca, asked)) => builder.with_client_cert_verifier(verifier(settings, ca, *asked, provider)?),
        None => builder.with_no_client_auth(),
    };
    let (cert, key) = (&settings.cert, &settings.key);
    let config =
        builder.with_single_cert(certificates(cert)?, private_key(key)?).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("{} is not the key of the certificate in {}", key.display(), cert.display())
            }
            _ => format!("{} and {} can't be used: {error}", cert.display(), key.display()),
        })?;
    Ok(Arc::new(config))
}

fn verifier(
    settings: &ListenerTls,
    ca: &Path,
    asked: ClientCertificate,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: a certificate can't be used: {error}", ca.display()))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let mut named = ca.display().to_string();
    if let Some(crl) = &settings.crl {
        // As everywhere, only the client's own certificate is looked up: few authorities publish lists of authorities.
        builder = builder.with_crls(revoked(crl)?).only_check_end_entity_revocation();
        named = format!("{named} and {}", crl.display());
    }
    if asked == ClientCertificate::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| format!("{named} can't be used: {error}"))
}

fn revoked(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
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
