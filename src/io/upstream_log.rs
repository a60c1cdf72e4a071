//! What the log says of an upstream's changes of state.

use tracing::{debug, error, info, warn};

use crate::bridge::Notice;

/// Logs one.
pub(super) fn tell(name: &str, notice: &Notice) {
    match notice {
        Notice::Online { session_present, backlog, away } => {
            let away_ms = away.map(|away| u64::try_from(away.as_millis()).unwrap_or(u64::MAX));
            info!(upstream = name, session_present, backlog, away_ms, "upstream is online");
        }
        Notice::Offline { error } => warn!(upstream = name, error, "upstream is offline; readings are kept"),
        Notice::Refused { error, retry_in } => {
            let retry_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
            warn!(upstream = name, error, retry_ms, "no connection to upstream; readings are kept");
        }
        Notice::StoreFailing { error } => {
            error!(upstream = name, error, "can't write to the store; readings are kept in memory only");
        }
        Notice::Rival { instance } => {
            error!(
                upstream = name,
                instance, "another gateway publishes as this one; give each an id of its own"
            );
        }
        Notice::NotSubscribed { filter, reason } => {
            warn!(upstream = name, filter, reason, "upstream refuses a subscription");
        }
        Notice::Stray { topic, reason } => {
            warn!(upstream = name, topic, reason, "messages from upstream are dropped and counted");
        }
        Notice::BytesUsedUp => {
            error!(
                upstream = name,
                "the day's bytes are used up; until midnight UTC only status, health and what has high priority go"
            );
        }
        Notice::StoreWorks => info!(upstream = name, "the store works again"),
        Notice::Dropping { reason } => warn!(upstream = name, reason, "readings are being dropped"),
        Notice::MessageRefused { topic, reason } => {
            warn!(upstream = name, topic, reason, "upstream refused a message for good; it is dropped");
        }
    }
    debug!(upstream = name, ?notice, "notice");
}
