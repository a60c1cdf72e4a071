//! The account of a capture: which numbers of which device and run came, which are missing, which came twice or late,
//! and what the receipts say about it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::reading::{Run, Seq};

/// Gaps that are listed per device and run; further ones are only counted.
const GAPS_TOLD_MAX: usize = 100;

/// What a capture says.
#[derive(Debug, Default)]
pub(super) struct Account {
    topics: BTreeMap<String, Topic>,
    receipts: BTreeMap<String, Receipt>,
    /// Lines that hold no reading and no receipt.
    pub(super) others: u64,
}

#[derive(Debug, Default)]
struct Topic {
    runs: BTreeMap<Run, Numbers>,
    first_run: Option<Run>,
    newest: Seq,
    duplicates: u64,
    late: u64,
}

/// The numbers of one run that came. What comes in order takes no memory.
#[derive(Debug, Default)]
struct Numbers {
    /// From first to last, both included; ascending, apart from each other.
    ranges: BTreeMap<u64, u64>,
}

/// What one receipt explains.
#[derive(Debug, Default)]
struct Receipt {
    dropped: u64,
    /// Device, run, first and last number of what fell into the outage.
    ranges: BTreeSet<(String, Run, u64, u64)>,
}

/// Numbers that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) topic: String,
    pub(super) run: Run,
    pub(super) first: u64,
    pub(super) last: u64,
    /// A receipt says that they were dropped.
    pub(super) explained: bool,
}

impl Gap {
    pub(super) const fn len(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// The judgement about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) topic: String,
    pub(super) runs: usize,
    pub(super) readings: u64,
    pub(super) missing: u64,
    pub(super) duplicates: u64,
    pub(super) late: u64,
}

/// The judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) lines: Vec<Line>,
    pub(super) gaps: Vec<Gap>,
    /// Missing numbers that no receipt explains.
    pub(super) unexplained: u64,
    pub(super) explained: u64,
    pub(super) duplicates: u64,
    pub(super) late: u64,
    pub(super) receipts: usize,
}

impl Account {
    /// Takes one message of the capture.
    pub(super) fn message(&mut self, topic: &str, payload: &Json) {
        let seq = payload.get("seq").and_then(Json::as_str).and_then(parse_seq);
        match seq {
            Some(seq) => self.topics.entry(topic.to_owned()).or_default().saw(seq),
            None if topic.ends_with("/receipt") && payload.get("dropped").is_some() => self.receipt(payload),
            None => self.others += 1,
        }
    }

    fn receipt(&mut self, payload: &Json) {
        let word =
            |json: &Json, key: &str| json.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let count = |json: &Json, key: &str| json.get(key).and_then(Json::as_u64);
        let mut receipt = Receipt::default();
        let reasons = payload.get("dropped").and_then(Json::as_object);
        receipt.dropped = reasons.into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
        for device in payload.get("devices").and_then(Json::as_array).into_iter().flatten() {
            if let (Some(run), Some(first), Some(last)) =
                (count(device, "run"), count(device, "first"), count(device, "last"))
            {
                receipt.ranges.insert((word(device, "device"), Run(run), first, last));
            }
        }
        // The retained copy that a subscriber gets first is the same receipt once more.
        let name = format!("{} {}", word(payload, "upstream"), word(payload, "number"));
        self.receipts.insert(name, receipt);
    }

    /// What it all means. With `receipts`, numbers that a receipt tells to be dropped are explained by it.
    pub(super) fn verdict(&self, receipts: bool) -> Verdict {
        let mut verdict = Verdict { receipts: self.receipts.len(), ..Verdict::default() };
        let mut budgets: Vec<(u64, &Receipt)> =
            self.receipts.values().map(|receipt| (receipt.dropped, receipt)).collect();
        for (topic, account) in &self.topics {
            let mut line = Line {
                topic: topic.clone(),
                runs: account.runs.len(),
                readings: 0,
                missing: 0,
                duplicates: account.duplicates,
                late: account.late,
            };
            for (run, numbers) in &account.runs {
                line.readings += numbers.count();
                // A capture begins in the middle of its first run; the others begin with 1.
                let from_start = account.first_run != Some(*run);
                for (index, (first, last)) in numbers.gaps(from_start).into_iter().enumerate() {
                    let mut gap = Gap { topic: topic.clone(), run: *run, first, last, explained: false };
                    gap.explained = receipts && explain(&mut budgets, &gap);
                    line.missing += gap.len();
                    let sum = if gap.explained { &mut verdict.explained } else { &mut verdict.unexplained };
                    *sum += gap.len();
                    if index < GAPS_TOLD_MAX {
                        verdict.gaps.push(gap);
                    }
                }
            }
            verdict.duplicates += line.duplicates;
            verdict.late += line.late;
            verdict.lines.push(line);
        }
        verdict
    }
}

/// Whether a receipt has this gap among what fell into its outage, and dropped enough for it.
fn explain(budgets: &mut [(u64, &Receipt)], gap: &Gap) -> bool {
    let device = gap.topic.rsplit('/').next().unwrap_or_default();
    let fits = |receipt: &Receipt| {
        receipt.ranges.iter().any(|(name, run, first, last)| {
            name == device && *run == gap.run && *first <= gap.first && gap.last <= *last
        })
    };
    match budgets.iter_mut().find(|(left, receipt)| *left >= gap.len() && fits(receipt)) {
        Some((left, _)) => {
            *left -= gap.len();
            true
        }
        None => false,
    }
}

impl Topic {
    fn saw(&mut self, seq: Seq) {
        self.first_run.get_or_insert(seq.run);
        if !self.runs.entry(seq.run).or_default().insert(seq.number) {
            self.duplicates += 1;
        } else if seq < self.newest {
            self.late += 1;
        }
        self.newest = self.newest.max(seq);
    }
}

impl Numbers {
    /// False if it was there.
    fn insert(&mut self, number: u64) -> bool {
        let before = self.ranges.range(..=number).next_back().map(|(&first, &last)| (first, last));
        if before.is_some_and(|(_, last)| last >= number) {
            return false;
        }
        let joins = before.filter(|&(_, last)| last.checked_add(1) == Some(number));
        let behind = number.checked_add(1).and_then(|next| self.ranges.remove(&next));
        let first = joins.map_or(number, |(first, _)| first);
        self.ranges.insert(first, behind.unwrap_or(number));
        true
    }

    fn count(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| last - first + 1).sum()
    }

    fn gaps(&self, from_start: bool) -> Vec<(u64, u64)> {
        let mut expected = if from_start { Some(1) } else { None };
        let mut gaps = Vec::new();
        for (&first, &last) in &self.ranges {
            if let Some(expected) = expected.filter(|&expected| expected < first) {
                gaps.push((expected, first - 1));
            }
            expected = last.checked_add(1);
        }
        gaps
    }
}

/// `17-1842`.
fn parse_seq(text: &str) -> Option<Seq> {
    let (run, number) = text.split_once('-')?;
    Some(Seq { run: Run(run.parse().ok()?), number: number.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(seqs: &[&str]) -> Account {
        let mut account = Account::default();
        for seq in seqs {
            account.message("fieldgate/gw/data/scale", &json!({"seq": seq, "values": {}}));
        }
        account
    }

    fn check(seqs: &[&str], missing: u64, duplicates: u64, late: u64) {
        let verdict = account(seqs).verdict(false);
        assert_eq!(
            (verdict.unexplained, verdict.duplicates, verdict.late),
            (missing, duplicates, late),
            "{seqs:?}"
        );
    }

    #[test]
    fn gaps_duplicates_and_late_readings_are_told_apart_per_run() {
        check(&["1-5", "1-6", "1-7"], 0, 0, 0);
        check(&["1-5", "1-8"], 2, 0, 0);
        check(&["1-5", "1-6", "1-5", "1-6", "1-7"], 0, 2, 0);
        check(&["1-5", "1-8", "1-6", "1-7"], 0, 0, 2);
        // The next run begins with 1; a capture may begin in the middle of its first.
        check(&["1-5", "2-1", "2-2"], 0, 0, 0);
        check(&["1-5", "2-3"], 2, 0, 0);
        check(&["1-5", "2-1", "1-6"], 0, 0, 1);
        check(&["1-18446744073709551615", "1-18446744073709551614", "1-18446744073709551615"], 0, 1, 1);
    }

    #[test]
    fn what_is_no_reading_is_counted_and_harms_nothing() {
        let mut account = account(&["1-1"]);
        for payload in
            [json!({"seq": 5}), json!({"seq": "x-1"}), json!({"seq": "1-"}), json!([1]), json!(null)]
        {
            account.message("fieldgate/gw/data/scale", &payload);
        }
        assert_eq!((account.others, account.verdict(false).unexplained), (5, 0));
    }

    #[test]
    fn a_receipt_explains_what_it_says_was_dropped_and_no_more() {
        let receipt = |dropped: u64, device: &str| {
            json!({"upstream": "up", "number": "1-1", "dropped": {"disk_full": dropped, "refused": 0},
                "devices": [{"device": device, "run": 1, "first": 4, "last": 20}]})
        };
        let judge = |receipt: &Json| {
            let mut account = account(&["1-3", "1-11", "1-30"]);
            account.message("fieldgate/gw/receipt", receipt);
            account.message("fieldgate/gw/receipt", receipt);
            let (with, without) = (account.verdict(true), account.verdict(false));
            assert_eq!((without.unexplained, without.explained, without.receipts), (25, 0, 1));
            (with.explained, with.unexplained)
        };
        assert_eq!(judge(&receipt(7, "scale")), (7, 18));
        assert_eq!(judge(&receipt(6, "scale")), (0, 25));
        assert_eq!(judge(&receipt(100, "other")), (0, 25));
    }
}
