//! The certificates of connections to upstreams: theirs, and the one that is shown to them.

use serde_json::{Value as Json, json};

use super::Snapshot;
use crate::expiry::{Dated, What};
use crate::time::Timestamp;

/// A certificate of a connection to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCertificate {
    /// Which upstream.
    pub upstream: String,
    /// Its end; for theirs, which is no file here, `file` is the subject.
    pub dated: Dated,
    /// Whom it names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Why it isn't the one on disk.
    pub error: Option<String>,
}

impl UpstreamCertificate {
    /// What people should know.
    pub(super) fn problem(&self, now: Timestamp) -> Option<String> {
        let words = match &self.error {
            Some(error) => format!("the client certificate can't be used, the one before is: {error}"),
            None => self.dated.warning(now)?,
        };
        Some(format!("upstream {}: {words}", self.upstream))
    }

    pub(super) fn json(&self, now: Timestamp) -> Json {
        json!({
            "upstream": self.upstream,
            "what": self.dated.what.as_str(),
            "file": (self.dated.what == What::Client).then_some(&self.dated.file),
            "subject": self.subject,
            "issuer": self.issuer,
            "expires": self.dated.ends.to_string(),
            "days": self.dated.days_left(now),
            "error": self.error,
        })
    }
}

impl Snapshot {
    /// Those of listeners and of upstreams.
    pub(super) fn certificates_json(&self) -> Vec<Json> {
        let of_listeners = self.dates.iter().map(|(listener, dated)| {
            json!({
                "listener": listener,
                "what": dated.what.as_str(),
                "file": dated.file,
                "expires": dated.ends.to_string(),
                "days": dated.days_left(self.now.wall),
            })
        });
        of_listeners.chain(self.upstream_certificates.iter().map(|one| one.json(self.now.wall))).collect()
    }
}
