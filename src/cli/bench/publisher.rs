//! One publisher: what it has under way, and whether it may publish more.

use std::collections::VecDeque;

use super::link::Link;
use super::packet::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Stamp, Template};
use super::scenario::{HeldBy, Load};
use super::tally::Tally;
use crate::mqtt::QoS;

/// Nothing more is encoded once so many bytes wait: others have their turn.
const FILL_BYTES_MAX: usize = 32 * 1024;

/// Messages of a publisher that are not acknowledged, at most, where nothing else says so.
const UNDER_WAY_MAX: u32 = 16_000;

/// A client that publishes.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) link: Link,
    number_of_publisher: u32,
    template: Template,
    qos: QoS,
    held_by: HeldBy,
    /// Deliveries that one message causes.
    copies: i64,
    /// When each message is due that the schedule has handed over; only with one.
    pub(super) due: VecDeque<u64>,
    /// The number of the next message.
    next: u32,
    /// Deliveries that are still to come.
    owed: i64,
    under_way: UnderWay,
}

impl Publisher {
    pub(super) fn new(number: u32, link: Link, template: Template, load: &Load) -> Self {
        Self {
            link,
            number_of_publisher: number,
            template,
            qos: load.qos,
            held_by: load.held_by,
            copies: i64::from(load.copies()),
            due: VecDeque::new(),
            next: 0,
            owed: 0,
            under_way: UnderWay::new(match load.held_by {
                HeldBy::Unacknowledged(max) => max,
                _ => UNDER_WAY_MAX,
            }),
        }
    }

    /// Whether nothing of it is under way.
    pub(super) fn is_done(&self) -> bool {
        self.link.is_flushed() && self.under_way.count == 0
    }

    pub(super) fn may_send(&self) -> bool {
        let fits = self.qos == QoS::AtMostOnce || self.under_way.has_room();
        fits && match self.held_by {
            HeldBy::Unacknowledged(max) => self.qos == QoS::AtMostOnce || self.under_way.count < max,
            HeldBy::Undelivered(max) => self.owed < i64::from(max) * self.copies,
            HeldBy::PerSecond(_) => !self.due.is_empty(),
            HeldBy::Nothing => true,
        }
    }

    /// A message has arrived. Tells whether it was what held this publisher back.
    pub(super) fn delivered(&mut self) -> bool {
        let HeldBy::Undelivered(max) = self.held_by else { return false };
        self.owed -= 1;
        self.owed + 1 >= i64::from(max) * self.copies
    }

    /// What has not arrived is taken for lost.
    pub(super) const fn forget_owed(&mut self) {
        self.owed = 0;
    }

    /// Encodes messages as far as it may; they are written afterwards.
    pub(super) fn fill(&mut self, now: u64, messages_max: u64, tally: &mut Tally) {
        if !self.link.writable || !self.link.is_flushed() {
            return;
        }
        while self.link.out.len() < FILL_BYTES_MAX && self.may_send() && tally.published < messages_max {
            let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { self.under_way.begin() };
            let nanos = self.due.pop_front().unwrap_or(now);
            let stamp = Stamp { nanos, publisher: self.number_of_publisher, number: self.next };
            self.template.append(&mut self.link.out, packet_id, stamp);
            self.next = self.next.wrapping_add(1);
            self.owed += self.copies;
            tally.published += 1;
        }
    }

    /// Reads acknowledgements.
    pub(super) fn read(&mut self, scratch: &mut [u8], tally: &mut Tally) -> Result<(), String> {
        let under_way = &mut self.under_way;
        self.link.read(scratch, |frame, out| {
            let kind = frame.first >> 4;
            if !matches!(kind, PUBACK | PUBREC | PUBCOMP) {
                return Ok(());
            }
            let (id, failed) = packet::acknowledged(frame).ok_or("a malformed acknowledgement")?;
            tally.refused += u64::from(failed);
            if kind == PUBREC && !failed {
                out.extend_from_slice(&packet::answer(PUBREL, id.get().to_be_bytes()));
            } else if under_way.end(id.get()) {
                tally.acknowledged += 1;
            }
            Ok(())
        })
    }
}

/// The packet identifiers that are in use.
#[derive(Debug)]
struct UnderWay {
    used: Box<[bool]>,
    last: u16,
    count: u32,
}

impl UnderWay {
    /// For so many at once. Half of the identifiers stay free, so that one is soon found.
    fn new(max: u32) -> Self {
        let identifiers = usize::try_from(max.clamp(1, UNDER_WAY_MAX)).unwrap_or(1) * 2 + 1;
        Self { used: vec![false; identifiers].into_boxed_slice(), last: 0, count: 0 }
    }

    fn has_room(&self) -> bool {
        usize::try_from(self.count).unwrap_or(usize::MAX) < self.used.len() / 2
    }

    fn begin(&mut self) -> u16 {
        loop {
            self.last = self.last.checked_add(1).filter(|id| usize::from(*id) < self.used.len()).unwrap_or(1);
            if let Some(used) = self.used.get_mut(usize::from(self.last))
                && !*used
            {
                *used = true;
                self.count += 1;
                return self.last;
            }
        }
    }

    /// Tells whether it was in use.
    fn end(&mut self, id: u16) -> bool {
        let used = self.used.get_mut(usize::from(id)).is_some_and(std::mem::take);
        self.count -= u32::from(used);
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_used_again_only_once_it_is_free() {
        let mut under_way = UnderWay::new(2);
        let first = under_way.begin();
        for _ in 0..70_000 {
            let id = under_way.begin();
            assert_ne!(id, 0);
            assert_ne!(id, first);
            assert!(!under_way.has_room());
            assert!(under_way.end(id));
        }
        assert!(under_way.end(first) && !under_way.end(first));
        assert_eq!(under_way.count, 0);
    }
}
