//! Who may knock, and how often: connections that aren't let in yet, and how fast new ones come, per address and in
//! all. Pure; it knows no sockets, only addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::config::Arrivals;
use crate::time::Mono;

/// Whoever would have to wait for longer is closed. With it, and with what may be half open, those that wait are few.
pub const WAIT_MAX: Duration = Duration::from_secs(2);

/// Addresses that are remembered: about 100 bytes each, so 800 KiB. Above it, those that have no connection are
/// forgotten, and may come as if for the first time.
const ADDRESSES_MAX: usize = 8_192;

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knock {
    /// It may come in.
    Enter,
    /// It may come in after this time.
    Wait(Duration),
    /// It must be closed: too many of its address are not let in yet.
    TooManyHalfOpen,
    /// It must be closed: too many come at once.
    TooFast,
}

/// Those who are at the door or inside, by address.
#[derive(Debug, Default)]
pub(super) struct Doorman {
    callers: HashMap<IpAddr, Caller>,
    all: Bucket,
}

#[derive(Debug, Default)]
struct Caller {
    half_open: usize,
    inside: usize,
    bucket: Bucket,
}

/// How much of a rate is used up, as the time at which nothing of it would be.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket(Mono);

impl Bucket {
    /// How long the next one must wait, and the bucket after it.
    fn next(self, now: Mono, rate: u32, burst: u32) -> (Duration, Self) {
        let each = Duration::from_secs(1) / rate.max(1);
        let free = self.0.max(now) + each;
        let wait = free.since(now + each.saturating_mul(burst.max(1)));
        (wait, Self(free))
    }
}

impl Doorman {
    /// A connection comes from an address; `None` where it has none that counts.
    pub(super) fn knock(&mut self, now: Mono, from: Option<IpAddr>, limits: &Arrivals) -> Knock {
        let Some(address) = from.and_then(counted) else { return Knock::Enter };
        if self.callers.len() >= ADDRESSES_MAX {
            self.callers.retain(|_, caller| caller.half_open > 0 || caller.inside > 0);
        }
        let caller = self.callers.entry(address).or_default();
        if caller.half_open >= limits.half_open_per_address_max {
            return Knock::TooManyHalfOpen;
        }
        let (own_wait, own) =
            caller.bucket.next(now, limits.rate_per_address_max, limits.burst_per_address_max);
        let (wait, all) = self.all.next(now, limits.rate_max, limits.rate_max);
        let wait = wait.max(own_wait);
        if wait > WAIT_MAX {
            return Knock::TooFast;
        }
        caller.bucket = own;
        self.all = all;
        caller.half_open += 1;
        if wait.is_zero() { Knock::Enter } else { Knock::Wait(wait) }
    }

    /// One that was at the door is inside.
    pub(super) fn let_in(&mut self, from: Option<IpAddr>) {
        if let Some(caller) = self.caller(from) {
            caller.half_open = caller.half_open.saturating_sub(1);
            caller.inside += 1;
        }
    }

    /// One that was at the door, or inside, has gone.
    pub(super) fn leave(&mut self, from: Option<IpAddr>, was_inside: bool) {
        if let Some(caller) = self.caller(from) {
            let place = if was_inside { &mut caller.inside } else { &mut caller.half_open };
            *place = place.saturating_sub(1);
        }
    }

    /// How many of an address are inside.
    pub(super) fn inside(&self, from: Option<IpAddr>) -> usize {
        from.and_then(counted)
            .and_then(|address| self.callers.get(&address))
            .map_or(0, |caller| caller.inside)
    }

    fn caller(&mut self, from: Option<IpAddr>) -> Option<&mut Caller> {
        self.callers.get_mut(&from.and_then(counted)?)
    }
}

/// What stands for an address; `None` for this machine's own. An IPv6 network is one caller: its hosts may call
/// themselves what they like.
fn counted(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(address) => Some(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))),
        address => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn ms(millis: u64) -> Mono {
        Mono::ZERO + Duration::from_secs(100) + Duration::from_millis(millis)
    }

    const LIMITS: Arrivals = Arrivals {
        clients_per_address_max: 3,
        half_open_per_address_max: 4,
        rate_per_address_max: 10,
        burst_per_address_max: 2,
        rate_max: 1_000,
    };

    #[test]
    fn an_address_has_its_places_at_the_door_and_gets_them_back() {
        let limits = Arrivals { burst_per_address_max: 100, ..LIMITS };
        let mut door = Doorman::default();
        for _ in 0..4 {
            assert_eq!(door.knock(ms(0), ip("10.0.0.1"), &limits), Knock::Enter);
        }
        assert_eq!(door.knock(ms(0), ip("10.0.0.1"), &limits), Knock::TooManyHalfOpen);
        assert_eq!(door.knock(ms(0), ip("::ffff:10.0.0.1"), &limits), Knock::TooManyHalfOpen);
        assert_eq!(door.knock(ms(0), ip("10.0.0.2"), &limits), Knock::Enter);
        door.let_in(ip("10.0.0.1"));
        assert_eq!(door.inside(ip("10.0.0.1")), 1);
        assert_eq!(door.knock(ms(0), ip("10.0.0.1"), &limits), Knock::Enter);
        assert_eq!(door.knock(ms(0), ip("10.0.0.1"), &limits), Knock::TooManyHalfOpen);
        door.leave(ip("10.0.0.1"), false);
        door.leave(ip("10.0.0.1"), true);
        assert_eq!(door.inside(ip("10.0.0.1")), 0);
        assert_eq!(door.knock(ms(0), ip("10.0.0.1"), &limits), Knock::Enter);
    }

    #[test]
    fn whoever_is_too_fast_waits_and_then_is_closed() {
        let limits = Arrivals { half_open_per_address_max: 1_000, ..LIMITS };
        let mut door = Doorman::default();
        let mut knock = |at| door.knock(ms(at), ip("10.0.0.1"), &limits);
        assert_eq!(knock(0), Knock::Enter);
        assert_eq!(knock(0), Knock::Enter);
        for n in 1..=20 {
            assert_eq!(knock(0), Knock::Wait(Duration::from_millis(100 * n)));
        }
        assert_eq!(knock(0), Knock::TooFast);
        assert_eq!(knock(99), Knock::TooFast);
        assert_eq!(knock(100), Knock::Wait(WAIT_MAX), "those that were closed don't count");
        assert_eq!(knock(5_000), Knock::Enter);
    }

    #[test]
    fn all_addresses_together_have_a_rate() {
        let limits = Arrivals { rate_max: 10, burst_per_address_max: 100, ..LIMITS };
        let mut door = Doorman::default();
        let outcomes: Vec<Knock> =
            (0..40).map(|n| door.knock(ms(0), ip(&format!("10.0.0.{n}")), &limits)).collect();
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Knock::Enter).count(), 10);
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Knock::Wait(_))).count(), 20);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Knock::TooFast).count(), 10);
    }

    #[test]
    fn this_machine_is_exempt_and_an_ipv6_network_is_one_caller() {
        let mut door = Doorman::default();
        for from in [None, ip("127.0.0.1"), ip("127.9.9.9"), ip("::1"), ip("::ffff:127.0.0.1")] {
            for _ in 0..1_000 {
                assert_eq!(door.knock(ms(0), from, &LIMITS), Knock::Enter);
            }
        }
        for host in ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:9::3", "2001:db8::4"] {
            assert!(matches!(door.knock(ms(0), ip(host), &LIMITS), Knock::Enter | Knock::Wait(_)), "{host}");
        }
        assert_eq!(door.knock(ms(0), ip("2001:db8::5"), &LIMITS), Knock::TooManyHalfOpen);
        assert_eq!(door.knock(ms(0), ip("2001:db8:0:1::5"), &LIMITS), Knock::Enter);
    }

    #[test]
    fn a_million_addresses_are_not_remembered() {
        let limits = Arrivals { rate_max: u32::MAX, ..LIMITS };
        let mut door = Doorman::default();
        for n in 0..20_000_u32 {
            let from = Some(IpAddr::from((0x0A00_0000 + n).to_be_bytes()));
            assert_eq!(door.knock(ms(0), from, &limits), Knock::Enter);
            door.leave(from, false);
        }
        assert!(door.callers.len() <= ADDRESSES_MAX);
    }
}
