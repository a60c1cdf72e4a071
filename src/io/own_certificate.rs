//! The certificate that the gateway shows to an upstream: its files are read for each connection, and while they can't be
//! used, the last that could is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::sign::CertifiedKey;
use tracing::{info, warn};

use super::certificate_dates::{Identity, identity};
use super::tls::{certificates, private_key};

/// Reads a chain and its key.
///
/// # Errors
/// In words, naming the files.
pub(super) fn load(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, String> {
    let loaded = CertifiedKey::from_der(certificates(cert)?, private_key(key)?, &default_provider());
    let loaded = loaded
        .map_err(|error| format!("{} and {} don't go together: {error}", cert.display(), key.display()))?;
    Ok(Arc::new(loaded))
}

/// The files, and what could last be used of them.
#[derive(Debug)]
pub struct OwnCertificate {
    upstream: Arc<str>,
    cert: PathBuf,
    key: PathBuf,
    current: Option<(Arc<CertifiedKey>, Option<Identity>)>,
    error: Option<String>,
}

impl OwnCertificate {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(upstream: Arc<str>, cert: &Path, key: &Path) -> Self {
        Self { upstream, cert: cert.to_owned(), key: key.to_owned(), current: None, error: None }
    }

    /// Reads the files again. A pair of which only one is renewed yet doesn't go together, and the old is kept.
    ///
    /// # Errors
    /// In words, if they can't be used and never could.
    pub(super) fn read(&mut self) -> Result<Arc<CertifiedKey>, String> {
        let upstream = &self.upstream;
        match load(&self.cert, &self.key) {
            Ok(new) => {
                if self.error.take().is_some() {
                    info!(%upstream, "the client certificate can be used again");
                }
                let who = new.cert.first().and_then(identity);
                if let Some((old, _)) = &self.current
                    && old.cert != new.cert
                {
                    info!(%upstream, file = %self.cert.display(), "the client certificate was renewed");
                }
                self.current = Some((new.clone(), who));
                Ok(new)
            }
            Err(error) => {
                let Some((old, _)) = &self.current else { return Err(error) };
                if self.error.as_ref() != Some(&error) {
                    warn!(%upstream, error, "the client certificate can't be used; the one before is");
                }
                self.error = Some(error);
                Ok(old.clone())
            }
        }
    }

    /// Whose it is, and until when.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.current.as_ref()?.1.as_ref()
    }

    /// Why the one before is used.
    pub(super) const fn error(&self) -> Option<&String> {
        self.error.as_ref()
    }

    /// Where it is.
    pub(super) fn file(&self) -> String {
        self.cert.display().to_string()
    }
}
