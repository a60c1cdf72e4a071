//! A set of record numbers, kept as ranges: what is done out of turn. Values and their arithmetic; who numbers what, and
//! what is done with it, is not its concern.

use std::collections::BTreeMap;

use crate::record::RecordNo;

/// Ranges that are kept on disk, at most: what fits into one block of 4 KiB. Where there are more, the smallest are left
/// out, and what they hold comes again after a crash; the bridge sends nothing further out of turn before it comes to that.
pub const STORED_RANGES_MAX: usize = 250;

/// Numbers, as ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// The first with the last of each.
    ranges: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Adds `first` to `last`, both included; nothing where `first` is the greater one.
    pub fn insert(&mut self, mut first: u64, mut last: u64) {
        if first > last {
            return;
        }
        // All that overlaps or touches becomes a part of it.
        while let Some((&begin, &end)) = self.ranges.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            self.ranges.remove(&begin);
            first = first.min(begin);
            last = last.max(end);
        }
        self.ranges.insert(first, last);
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        for (first, last) in other.iter() {
            self.insert(first, last);
        }
    }

    /// Takes one number out.
    pub fn remove(&mut self, no: u64) {
        let Some((first, last)) = self.around(no) else { return };
        self.ranges.remove(&first);
        if first < no {
            self.ranges.insert(first, no - 1);
        }
        if no < last {
            self.ranges.insert(no + 1, last);
        }
    }

    /// Takes out everything up to this number.
    pub fn remove_up_to(&mut self, no: u64) {
        while let Some((&first, &last)) = self.ranges.first_key_value()
            && first <= no
        {
            self.ranges.remove(&first);
            if last > no {
                self.ranges.insert(no + 1, last);
            }
        }
    }

    /// The range that holds a number.
    #[must_use]
    pub fn around(&self, no: u64) -> Option<(u64, u64)> {
        let (&first, &last) = self.ranges.range(..=no).next_back()?;
        (last >= no).then_some((first, last))
    }

    /// Whether it holds a number.
    #[must_use]
    pub fn contains(&self, no: u64) -> bool {
        self.around(no).is_some()
    }

    /// Whether it holds all of these.
    #[must_use]
    pub fn covers(&self, first: u64, last: u64) -> bool {
        self.around(first).is_some_and(|(_, end)| end >= last)
    }

    /// Whether it holds any of these.
    #[must_use]
    pub fn overlaps(&self, first: u64, last: u64) -> bool {
        self.ranges.range(..=last).next_back().is_some_and(|(_, &end)| end >= first)
    }

    /// How many of these it holds.
    #[must_use]
    pub fn count_within(&self, first: u64, last: u64) -> u64 {
        let before = self.ranges.range(..first).next_back();
        let within = before.into_iter().chain(self.ranges.range(first..=last.max(first)));
        within.fold(0, |sum: u64, (&begin, &end)| {
            let len = end.min(last).saturating_add(1).saturating_sub(begin.max(first));
            sum.saturating_add(len)
        })
    }

    /// The greatest number.
    #[must_use]
    pub fn last(&self) -> Option<RecordNo> {
        self.ranges.last_key_value().map(|(_, &last)| RecordNo(last))
    }

    /// How many ranges there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// First and last of each, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(&first, &last)| (first, last))
    }

    /// The largest of them, so many at most.
    #[must_use]
    pub fn largest(&self, count: usize) -> Self {
        if self.len() <= count {
            return self.clone();
        }
        let mut all: Vec<(u64, u64)> = self.iter().collect();
        all.sort_by_key(|(first, last)| std::cmp::Reverse(last - first));
        all.truncate(count);
        Self { ranges: all.into_iter().collect() }
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(ranges: I) -> Self {
        let mut all = Self::default();
        for (first, last) in ranges {
            all.insert(first, last);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ranges_hold_what_a_plain_set_holds() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let (mut ranges, mut plain) = (Ranges::default(), BTreeSet::new());
            for _ in 0..60 {
                let first = random.u64(1..80);
                let last = first + random.u64(0..10);
                match random.u8(0..6) {
                    0 => {
                        ranges.remove(first);
                        plain.remove(&first);
                    }
                    1 if random.u8(0..4) == 0 => {
                        ranges.remove_up_to(first);
                        plain.retain(|no| *no > first);
                    }
                    _ => {
                        ranges.insert(first, last);
                        plain.extend(first..=last);
                    }
                }
                let held: Vec<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
                assert_eq!(held, plain.iter().copied().collect::<Vec<_>>());
                assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1 + 1 < b.0), "they touch");
                let of = plain.range(first..=last).count();
                assert_eq!(ranges.count_within(first, last), u64::try_from(of).unwrap());
                assert_eq!(ranges.overlaps(first, last), of > 0);
                assert_eq!(ranges.covers(first, last), (first..=last).all(|no| plain.contains(&no)));
                assert_eq!(ranges.last().map(|no| no.0), plain.last().copied());
            }
        }
    }

    #[test]
    fn the_largest_are_kept_where_not_all_can_be() {
        let ranges: Ranges = [(1, 1), (5, 9), (20, 21), (30, 40)].into_iter().collect();
        assert_eq!(ranges.largest(2), [(5, 9), (30, 40)].into_iter().collect());
        assert_eq!(ranges.largest(9), ranges);
    }
}
