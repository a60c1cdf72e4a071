//! Logins that failed, as the log tells them: of each address one in a while, so that a client with an old password, or
//! somebody who guesses, doesn't fill it. All are counted in [`super::Stats`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::warn;

use super::{Broker, ConnId};
use crate::time::Mono;

/// Of an address one failure in this time is told; the next one tells how many were not.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// Addresses that are remembered: some 100 bytes each, so 100 KB. Above it the one that was told longest ago is
/// forgotten, and its next failure is told at once.
const ADDRESSES_MAX: usize = 1_024;

#[derive(Debug)]
struct Told {
    at: Mono,
    untold: u64,
}

/// Who failed lately.
#[derive(Debug, Default)]
pub(super) struct FailedLogins {
    addresses: HashMap<String, Told>,
}

impl FailedLogins {
    /// Notes a failure; how many of that address went untold before it, if it is to be told.
    pub(super) fn failed(&mut self, now: Mono, peer: &str) -> Option<u64> {
        // Each connection has another port.
        let address =
            peer.parse::<SocketAddr>().map_or_else(|_| peer.to_owned(), |peer| peer.ip().to_string());
        if let Some(told) = self.addresses.get_mut(&address) {
            if now.since(told.at) < TELL_INTERVAL {
                told.untold = told.untold.saturating_add(1);
                return None;
            }
            told.at = now;
            return Some(std::mem::take(&mut told.untold));
        }
        if self.addresses.len() >= ADDRESSES_MAX {
            let oldest = self.addresses.iter().min_by_key(|(_, told)| told.at);
            if let Some(oldest) = oldest.map(|(address, _)| address.clone()) {
                self.addresses.remove(&oldest);
            }
        }
        self.addresses.insert(address, Told { at: now, untold: 0 });
        Some(0)
    }
}

impl Broker {
    /// Somebody isn't let in: name and password are wrong, or there is no name.
    pub(super) fn login_failed(&mut self, conn: ConnId, user_name: Option<&str>, now: Mono) {
        let Some(c) = self.conns.get(conn) else { return };
        self.stats.logins_failed += 1;
        if let Some(more) = self.failed_logins.failed(now, &c.peer) {
            let listener =
                self.config.listeners.get(usize::from(c.listener.0)).map(|listener| &*listener.name);
            let (conn, peer) = (conn.0, &*c.peer);
            match user_name {
                Some(user_name) => warn!(conn, peer, listener, user_name, more, "login failed"),
                None => warn!(conn, peer, listener, more, "login failed: a user name is needed here"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn of_each_address_one_failure_in_ten_seconds_is_told_and_the_others_are_counted() {
        let mut failed = FailedLogins::default();
        for (second, peer, expected) in [
            (0, "10.0.0.1:1000", Some(0)),
            (1, "10.0.0.1:1001", None),
            (2, "10.0.0.2:1000", Some(0)),
            (9, "10.0.0.1:1002", None),
            (10, "10.0.0.1:1003", Some(2)),
            (11, "unix:uid=0", Some(0)),
            (12, "unix:uid=0", None),
            (19, "10.0.0.1:1004", None),
            (20, "10.0.0.1:1005", Some(1)),
        ] {
            assert_eq!(failed.failed(at(second), peer), expected, "{second} s, {peer}");
        }
    }

    #[test]
    fn addresses_are_bounded_and_the_oldest_goes() {
        let mut failed = FailedLogins::default();
        for number in 0..=ADDRESSES_MAX {
            let now = Mono::from_nanos(u64::try_from(number).unwrap());
            assert_eq!(failed.failed(now, &number.to_string()), Some(0));
        }
        assert_eq!(failed.addresses.len(), ADDRESSES_MAX);
        assert_eq!(failed.failed(at(1), "1"), None, "it is remembered");
        assert_eq!(failed.failed(at(1), "0"), Some(0), "it was forgotten");
    }
}
