//! How often somebody may try a password or a claim code: per address, and all together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Mono;

/// Failures of one address that cost nothing; from then on each is followed by a wait.
const FREE: u32 = 5;
/// The first wait; each further failure doubles it.
const WAIT_MIN: Duration = Duration::from_secs(2);
/// However often it failed.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// An address that has been quiet for this long starts anew.
const FORGET_AFTER: Duration = Duration::from_secs(900);
/// Addresses that are remembered, some 60 bytes each. Above it the one that failed longest ago is forgotten: the bound on
/// all together still holds.
const ADDRESSES_MAX: usize = 1_024;

/// Failures from everywhere within [`TOGETHER_WITHIN`]; beyond them everybody waits. One password costs 30 ms of a small
/// board, so nobody is kept busy with it.
const TOGETHER_MAX: u32 = 30;
const TOGETHER_WITHIN: Duration = Duration::from_secs(60);

/// Who has failed lately.
#[derive(Debug, Default)]
pub(super) struct Tries {
    addresses: HashMap<IpAddr, (u32, Mono)>,
    together: u32,
    since: Mono,
}

impl Tries {
    /// Whether an address may try; otherwise for how long it has to wait.
    pub(super) fn may(&self, now: Mono, address: IpAddr) -> Result<(), Duration> {
        let span = now.since(self.since);
        if self.together >= TOGETHER_MAX && span < TOGETHER_WITHIN {
            return Err(TOGETHER_WITHIN.saturating_sub(span));
        }
        let Some((count, last)) = self.addresses.get(&network(address)) else { return Ok(()) };
        let quiet = now.since(*last);
        let wait = wait(*count);
        if quiet >= FORGET_AFTER || quiet >= wait { Ok(()) } else { Err(wait.saturating_sub(quiet)) }
    }

    pub(super) fn failed(&mut self, now: Mono, address: IpAddr) {
        if now.since(self.since) >= TOGETHER_WITHIN {
            (self.together, self.since) = (0, now);
        }
        self.together = self.together.saturating_add(1);
        if self.addresses.len() >= ADDRESSES_MAX
            && let Some(oldest) =
                self.addresses.iter().min_by_key(|(_, (_, last))| *last).map(|(address, _)| *address)
        {
            self.addresses.remove(&oldest);
        }
        let (count, last) = self.addresses.entry(network(address)).or_insert((0, now));
        if now.since(*last) >= FORGET_AFTER {
            *count = 0;
        }
        (*count, *last) = (count.saturating_add(1), now);
    }

    pub(super) fn succeeded(&mut self, address: IpAddr) {
        self.addresses.remove(&network(address));
        self.together = self.together.saturating_sub(1);
    }
}

fn wait(count: u32) -> Duration {
    let Some(beyond) = count.checked_sub(FREE) else { return Duration::ZERO };
    WAIT_MIN.saturating_mul(1_u32.checked_shl(beyond.min(16)).unwrap_or(u32::MAX)).min(WAIT_MAX)
}

/// Whoever has one address of IPv6 has a network of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) if !six.is_loopback() => {
            IpAddr::V6(std::net::Ipv6Addr::from_bits(six.to_bits() >> 64 << 64))
        }
        other => other,
    }
}
