//! The broker's counters as `$SYS` topics, with Mosquitto's names. A machine of its own: counters in, changed topics
//! with their payloads out; it counts nothing itself and publishes nothing.

use std::collections::HashMap;
use std::time::Duration;

use super::Stats;
use crate::time::Mono;

/// Under which the topics stand that Mosquitto has too.
const BROKER: &str = "$SYS/broker";
/// Under which our own stand.
const OWN: &str = "$SYS/fieldgate";

/// Spans that loads are averaged over, in seconds, with their names.
const SPANS: [(f64, &str); 3] = [(60.0, "1min"), (300.0, "5min"), (900.0, "15min")];

/// The last levels of a topic, and what it tells.
type Row = (&'static str, fn(&Stats) -> u64);

/// Counters whose load is told: per minute, as a moving average.
const LOADS: [Row; 9] = [
    ("messages/received", |stats| stats.packets_received),
    ("messages/sent", |stats| stats.packets_sent),
    ("publish/dropped", dropped),
    ("publish/received", |stats| stats.publish_received),
    ("publish/sent", |stats| stats.publish_sent),
    ("bytes/received", |stats| stats.bytes_received),
    ("bytes/sent", |stats| stats.bytes_sent),
    ("sockets", |stats| stats.sockets_opened),
    ("connections", |stats| stats.connects_received),
];

/// Mosquitto's topics whose payload is a plain number.
const NUMBERS: [Row; 22] = [
    ("clients/total", |stats| stats.clients_connected.saturating_add(stats.sessions_offline)),
    ("clients/connected", |stats| stats.clients_connected),
    ("clients/active", |stats| stats.clients_connected),
    ("clients/disconnected", |stats| stats.sessions_offline),
    ("clients/inactive", |stats| stats.sessions_offline),
    ("clients/maximum", |stats| stats.clients_maximum),
    ("clients/expired", |stats| stats.sessions_expired),
    ("messages/received", |stats| stats.packets_received),
    ("messages/sent", |stats| stats.packets_sent),
    ("messages/stored", |stats| stats.stored_messages),
    ("store/messages/count", |stats| stats.stored_messages),
    ("store/messages/bytes", |stats| stats.stored_bytes),
    ("subscriptions/count", |stats| stats.subscriptions.saturating_sub(stats.shared_subscriptions)),
    ("shared_subscriptions/count", |stats| stats.shared_subscriptions),
    ("retained messages/count", |stats| stats.retained),
    ("publish/messages/dropped", dropped),
    ("publish/messages/received", |stats| stats.publish_received),
    ("publish/messages/sent", |stats| stats.publish_sent),
    ("publish/bytes/received", |stats| stats.publish_bytes_received),
    ("publish/bytes/sent", |stats| stats.publish_bytes_sent),
    ("bytes/received", |stats| stats.bytes_received),
    ("bytes/sent", |stats| stats.bytes_sent),
];

/// Our own.
const OWN_NUMBERS: [Row; 29] = [
    ("sessions/connected", |stats| stats.clients_connected),
    ("sessions/offline", |stats| stats.sessions_offline),
    ("drops/queue_full", |stats| stats.dropped_queue_full),
    ("drops/too_large", |stats| stats.dropped_too_large),
    ("drops/expired", |stats| stats.dropped_expired),
    ("drops/denied", |stats| stats.publish_denied),
    ("drops/retained_full", |stats| stats.retained_refused),
    ("protocol_errors", |stats| stats.protocol_errors),
    ("connects_refused", |stats| stats.connects_refused),
    ("disconnected_by_reload", |stats| stats.disconnected_by_reload),
    ("sessions/overflowed", |stats| stats.sessions_overflowed),
    ("subscriptions_refused", |stats| stats.subscriptions_refused),
    ("arrivals/address_full", |stats| stats.arrivals_address_full),
    ("arrivals/half_open", |stats| stats.arrivals_half_open),
    ("arrivals/too_fast", |stats| stats.arrivals_too_fast),
    ("arrivals/delayed", |stats| stats.arrivals_delayed),
    ("publishers/held", |stats| stats.publishers_held),
    ("receivers/left_behind", |stats| stats.receivers_left_behind),
    ("publishers/closed", |stats| stats.publishers_closed),
    ("arrivals/greetings_dropped", |stats| stats.greetings_dropped),
    ("arrivals/paused", |stats| stats.accepts_paused),
    ("memory/level", |stats| stats.shedding.level()),
    ("memory/used", |stats| stats.memory_used),
    ("memory/budget", |stats| stats.memory_budget),
    ("memory/refused", |stats| stats.refused_for_memory),
    ("memory/dropped", |stats| stats.dropped_for_memory),
    ("memory/closed", |stats| stats.closed_for_memory),
    ("logins_failed", |stats| stats.logins_failed),
    ("panics_total", |stats| stats.panics),
];

/// What subscribers of `$SYS/#` have been told.
#[derive(Debug)]
pub struct Sys {
    version: String,
    started: Mono,
    looked: Option<(Mono, Stats)>,
    /// Per minute, in the order of [`LOADS`] and [`SPANS`].
    loads: [[f64; SPANS.len()]; LOADS.len()],
    memory_max: u64,
    told: HashMap<String, String>,
}

impl Sys {
    /// Nothing is told yet. `version` is this program's.
    #[must_use]
    pub fn new(version: &str, started: Mono) -> Self {
        Self {
            version: format!("fieldgate version {version}"),
            started,
            looked: None,
            loads: Default::default(),
            memory_max: 0,
            told: HashMap::new(),
        }
    }

    /// Looks at the counters. Returns each topic whose payload is another one than last time; `memory` is what this
    /// process has, in bytes.
    pub fn look(&mut self, now: Mono, stats: &Stats, memory: Option<u64>) -> Vec<(String, String)> {
        self.update_loads(now, stats);
        let mut topics = vec![
            (format!("{BROKER}/version"), self.version.clone()),
            (format!("{BROKER}/uptime"), format!("{} seconds", now.since(self.started).as_secs())),
        ];
        if let Some(memory) = memory {
            self.memory_max = self.memory_max.max(memory);
            topics.push((format!("{BROKER}/heap/current"), memory.to_string()));
            topics.push((format!("{BROKER}/heap/maximum"), self.memory_max.to_string()));
        }
        for (root, numbers) in [(BROKER, NUMBERS.as_slice()), (OWN, OWN_NUMBERS.as_slice())] {
            let numbers =
                numbers.iter().map(|(name, number)| (format!("{root}/{name}"), number(stats).to_string()));
            topics.extend(numbers);
        }
        for ((name, _), loads) in LOADS.iter().zip(&self.loads) {
            for ((_, span), load) in SPANS.iter().zip(loads) {
                topics.push((format!("{BROKER}/load/{name}/{span}"), format!("{load:.2}")));
            }
        }
        topics.retain(|(topic, payload)| self.told.get(topic) != Some(payload));
        self.told.extend(topics.iter().cloned());
        topics
    }

    /// An exponential average weighs what is older by less: after a span its weight has fallen to 1/e.
    fn update_loads(&mut self, now: Mono, stats: &Stats) {
        let Some((before, old)) = self.looked.replace((now, stats.clone())) else { return };
        let elapsed = now.since(before);
        if elapsed.is_zero() {
            return;
        }
        for ((_, counter), loads) in LOADS.iter().zip(&mut self.loads) {
            let rate = per_minute(counter(stats).saturating_sub(counter(&old)), elapsed);
            for ((span, _), load) in SPANS.iter().zip(loads) {
                let kept = (-elapsed.as_secs_f64() / span).exp();
                *load = *load * kept + rate * (1.0 - kept);
            }
        }
    }
}

/// Messages that somebody will never get.
const fn dropped(stats: &Stats) -> u64 {
    stats.dropped_queue_full.saturating_add(stats.dropped_too_large).saturating_add(stats.dropped_expired)
}

fn per_minute(count: u64, elapsed: Duration) -> f64 {
    // More than four billion in one interval is as good as four billion.
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) * 60.0 / elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::ZERO + Duration::from_secs(seconds)
    }

    fn payload<'a>(topics: &'a [(String, String)], topic: &str) -> Option<&'a str> {
        topics.iter().find(|(name, _)| name == topic).map(|(_, payload)| payload.as_str())
    }

    #[test]
    fn all_is_told_first_and_then_only_what_has_changed() {
        let mut sys = Sys::new("1.2.3", at(100));
        let mut stats = Stats { clients_connected: 2, sessions_offline: 3, ..Stats::default() };
        let all = sys.look(at(100), &stats, Some(5_000));
        for (topic, expected) in [
            ("$SYS/broker/version", "fieldgate version 1.2.3"),
            ("$SYS/broker/uptime", "0 seconds"),
            ("$SYS/broker/clients/total", "5"),
            ("$SYS/broker/clients/connected", "2"),
            ("$SYS/broker/clients/inactive", "3"),
            ("$SYS/broker/retained messages/count", "0"),
            ("$SYS/broker/heap/maximum", "5000"),
            ("$SYS/broker/load/messages/received/15min", "0.00"),
            ("$SYS/fieldgate/protocol_errors", "0"),
        ] {
            assert_eq!(payload(&all, topic), Some(expected), "{topic}");
        }
        assert!(sys.look(at(100), &stats, Some(5_000)).is_empty());
        stats.protocol_errors = 1;
        let mut changed = sys.look(at(110), &stats, Some(4_000));
        changed.sort();
        let expected = [
            ("$SYS/broker/heap/current", "4000"),
            ("$SYS/broker/uptime", "10 seconds"),
            ("$SYS/fieldgate/protocol_errors", "1"),
        ];
        assert_eq!(changed, expected.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())));
    }

    #[test]
    fn loads_follow_the_rate_and_fade_over_their_span() {
        let mut sys = Sys::new("", at(0));
        let mut stats = Stats::default();
        sys.look(at(0), &stats, None);
        // One a second for a long time is 60 a minute.
        for second in (10..=7_200).step_by(10) {
            stats.publish_received += 10;
            sys.look(at(second), &stats, None);
        }
        let told = sys.told.clone();
        for span in ["1min", "5min", "15min"] {
            let load: f64 = told[&format!("$SYS/broker/load/publish/received/{span}")].parse().unwrap();
            assert!((59.9..=60.01).contains(&load), "{span}: {load}");
        }
        // After a silent minute, 1/e of it is left in the shortest span, and most in the longest.
        sys.look(at(7_260), &stats, None);
        for (span, expected) in [("1min", "22.07"), ("5min", "49.12"), ("15min", "56.11")] {
            let load: f64 = sys.told[&format!("$SYS/broker/load/publish/received/{span}")].parse().unwrap();
            let expected: f64 = expected.parse().unwrap();
            assert!((load - expected).abs() < 0.1, "{span}: {load}");
        }
    }
}
