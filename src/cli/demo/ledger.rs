//! The account of the demo: what the sensors sent and what the subscriber saw, by (device, run, number). Pure; it
//! knows nothing of what the gateway says about itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::reading::{Run, Seq};

/// What was sent and what arrived.
#[derive(Debug)]
pub(super) struct Ledger {
    devices: BTreeMap<&'static str, Account>,
}

/// One device's share.
#[derive(Debug, Default)]
struct Account {
    written: u64,
    /// Nothing is written; the highest number that was seen counts.
    is_by_numbers: bool,
    runs: BTreeMap<Run, Seen>,
    duplicates: u64,
}

/// The numbers of one run that arrived. What arrives in order takes no memory.
#[derive(Debug, Default)]
struct Seen {
    /// All of 1 … this.
    prefix: u64,
    /// Those behind the first gap.
    beyond: BTreeSet<u64>,
}

impl Ledger {
    /// Nothing sent, nothing seen. Other devices are none of its business.
    pub(super) fn new(devices: impl IntoIterator<Item = &'static str>) -> Self {
        Self { devices: devices.into_iter().map(|device| (device, Account::default())).collect() }
    }

    /// Devices of which nobody knows what they sent, since the gateway asks or counts by itself: their numbers say it.
    pub(super) fn count_by_numbers(&mut self, devices: impl IntoIterator<Item = &'static str>) {
        let account = || Account { is_by_numbers: true, ..Account::default() };
        self.devices.extend(devices.into_iter().map(|device| (device, account())));
    }

    /// A sensor sent a whole line.
    pub(super) fn wrote(&mut self, device: &str) {
        if let Some(account) = self.devices.get_mut(device) {
            account.written += 1;
        }
    }

    /// A reading was delivered to the subscriber.
    pub(super) fn saw(&mut self, device: &str, seq: Seq) {
        let Some(account) = self.devices.get_mut(device) else { return };
        if !account.runs.entry(seq.run).or_default().insert(seq.number) {
            account.duplicates += 1;
        }
    }

    /// Lines sent.
    pub(super) fn readings(&self) -> u64 {
        self.devices.values().map(Account::taken).sum()
    }

    /// Distinct readings seen.
    pub(super) fn delivered(&self) -> u64 {
        self.devices.values().map(Account::distinct).sum()
    }

    /// What is missing as of now: per device, so that one's surplus can't hide another's loss.
    pub(super) fn missing(&self) -> u64 {
        self.devices.values().map(Account::missing).sum()
    }

    /// Deliveries beyond the first of a reading.
    pub(super) fn duplicates(&self) -> u64 {
        self.devices.values().map(|account| account.duplicates).sum()
    }
}

impl Account {
    fn taken(&self) -> u64 {
        if !self.is_by_numbers {
            return self.written;
        }
        self.runs.values().map(|seen| seen.count().saturating_add(seen.gaps())).sum()
    }

    fn distinct(&self) -> u64 {
        self.runs.values().map(Seen::count).sum()
    }

    fn missing(&self) -> u64 {
        let gaps: u64 = self.runs.values().map(Seen::gaps).sum();
        self.written.saturating_sub(self.distinct()).max(gaps)
    }
}

impl Seen {
    /// False if it was there already. Numbers start at 1.
    fn insert(&mut self, number: u64) -> bool {
        if number <= self.prefix || !self.beyond.insert(number) {
            return false;
        }
        while self.beyond.first() == Some(&(self.prefix + 1)) {
            self.beyond.pop_first();
            self.prefix += 1;
        }
        true
    }

    fn count(&self) -> u64 {
        self.prefix + u64::try_from(self.beyond.len()).unwrap_or(u64::MAX)
    }

    /// Numbers below the highest that never came.
    fn gaps(&self) -> u64 {
        self.beyond.last().map_or(0, |last| last.saturating_sub(self.count()))
    }
}

/// Reads `17-1842`.
pub(super) fn parse_seq(text: &str) -> Option<Seq> {
    let (run, number) = text.split_once('-')?;
    Some(Seq { run: Run(run.parse().ok()?), number: number.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `written` lines by each of two devices, and what of them was seen; expects delivered, missing, duplicates.
    fn check(written: [u64; 2], seen: &[(&str, &str)], expected: (u64, u64, u64)) {
        let mut ledger = Ledger::new(["a", "b"]);
        for (device, lines) in ["a", "b"].into_iter().zip(written) {
            (0..lines).for_each(|_| ledger.wrote(device));
        }
        for (device, seq) in seen {
            ledger.saw(device, parse_seq(seq).unwrap());
        }
        assert_eq!((ledger.delivered(), ledger.missing(), ledger.duplicates()), expected, "{seen:?}");
        assert_eq!(ledger.readings(), written.iter().sum::<u64>());
    }

    #[test]
    fn what_is_counted_by_its_numbers_lacks_what_its_gaps_say() {
        let mut ledger = Ledger::new([]);
        ledger.count_by_numbers(["m"]);
        for number in ["3-1", "3-2", "3-5", "3-5"] {
            ledger.saw("m", parse_seq(number).unwrap());
        }
        let counted = (ledger.readings(), ledger.delivered(), ledger.missing(), ledger.duplicates());
        assert_eq!(counted, (5, 3, 2, 1));
    }

    #[test]
    fn every_reading_counts_once_and_what_is_missing_is_told() {
        check([0, 0], &[], (0, 0, 0));
        check([2, 1], &[("a", "1-1"), ("a", "1-2"), ("b", "1-1")], (3, 0, 0));
        check([2, 1], &[("a", "1-2"), ("b", "1-1"), ("a", "1-1")], (3, 0, 0));
        check([2, 0], &[("a", "1-1")], (1, 1, 0));
        check([3, 0], &[("a", "1-1"), ("a", "1-3"), ("a", "1-3"), ("a", "1-1")], (2, 1, 2));
    }

    #[test]
    fn a_gap_is_a_loss_even_if_the_totals_agree() {
        check([2, 0], &[("a", "1-1"), ("a", "1-3")], (2, 1, 0));
        check([0, 0], &[("a", "1-4")], (1, 3, 0));
    }

    #[test]
    fn one_device_cannot_make_up_for_another() {
        check([1, 2], &[("a", "1-1"), ("a", "1-2"), ("b", "1-1")], (3, 1, 0));
    }

    #[test]
    fn runs_are_numbered_each_for_itself() {
        check([3, 0], &[("a", "1-1"), ("a", "2-1"), ("a", "2-2")], (3, 0, 0));
        check([3, 0], &[("a", "1-1"), ("a", "1-1"), ("a", "2-1")], (2, 1, 1));
    }

    #[test]
    fn strangers_are_ignored() {
        check([1, 0], &[("a", "1-1"), ("someone", "1-7")], (1, 0, 0));
    }

    #[test]
    fn a_seq_is_run_and_number() {
        assert_eq!(parse_seq("17-1842"), Some(Seq { run: Run(17), number: 1842 }));
        for text in ["", "17", "17-", "-1", "a-b", "1-2-3"] {
            assert_eq!(parse_seq(text), None, "{text}");
        }
    }
}
