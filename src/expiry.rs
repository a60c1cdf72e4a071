//! When certificates and revocation lists end, and when that must be said: thirty days before, seven, one, and after.
//! Pure: their dates and the time come in, sentences come out.

use crate::time::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// A file that ends one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated {
    /// What it is.
    pub what: What,
    /// Where it is.
    pub file: String,
    /// Its end.
    pub ends: Timestamp,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The listener's own certificate.
    Certificate,
    /// An upstream's certificate.
    Server,
    /// The certificate that we show to an upstream.
    Client,
    /// The list of revoked client certificates; whether clients are refused once it has ended.
    RevocationList {
        /// Nobody gets in with a certificate then.
        denies: bool,
    },
}

impl What {
    /// For people and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Server => "certificate of the upstream",
            Self::Client => "client certificate",
            Self::RevocationList { .. } => "revocation list",
        }
    }
}

/// How near the end is, the nearer the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Within thirty days.
    Month,
    /// Within seven days.
    Week,
    /// Within a day.
    Day,
    /// It is over.
    Over,
}

impl Dated {
    /// How near its end is, if that is worth a word. A revocation list is made anew every few days by those who let it
    /// end at all, so only its end counts.
    #[must_use]
    pub fn stage(&self, now: Timestamp) -> Option<Stage> {
        let left = self.ends.as_millis().saturating_sub(now.as_millis());
        let is_list = matches!(self.what, What::RevocationList { .. });
        match left {
            ..=0 => Some(Stage::Over),
            _ if is_list => None,
            left if left <= DAY_MS => Some(Stage::Day),
            left if left <= 7 * DAY_MS => Some(Stage::Week),
            left if left <= 30 * DAY_MS => Some(Stage::Month),
            _ => None,
        }
    }

    /// Whole days until the end, negative after it.
    #[must_use]
    pub const fn days_left(&self, now: Timestamp) -> i64 {
        self.ends.as_millis().saturating_sub(now.as_millis()).div_euclid(DAY_MS)
    }

    /// The sentence for log, status and health, if there is something to say.
    #[must_use]
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let stage = self.stage(now)?;
        let day: String = self.ends.to_string().chars().take(10).collect();
        let (what, file) = (self.what.as_str(), &self.file);
        Some(match (stage, self.what) {
            (Stage::Over, What::Certificate) => {
                format!("the {what} {file} expired on {day}: clients refuse it")
            }
            (Stage::Over, What::Server) => {
                format!(
                    "the {what} {file} expired on {day}: unless it was renewed since, the next connection fails"
                )
            }
            (Stage::Over, What::Client) => {
                format!("the {what} {file} expired on {day}: the upstream refuses it")
            }
            (Stage::Over, What::RevocationList { denies: false }) => {
                format!("the {what} {file} is out of date since {day}; it still counts")
            }
            (Stage::Over, What::RevocationList { denies: true }) => {
                format!("the {what} {file} is out of date since {day}: nobody gets in with a certificate")
            }
            _ => match self.days_left(now) {
                0 => format!("the {what} {file} expires within a day"),
                1 => format!("the {what} {file} expires in 1 day, on {day}"),
                days => format!("the {what} {file} expires in {days} days, on {day}"),
            },
        })
    }
}

/// Whether a certificate is so near its end that a connection with it should give way to one with its successor: within a
/// day, or within the last third of a life that is shorter than three days.
#[must_use]
pub fn is_renewal_due(begins: Timestamp, ends: Timestamp, now: Timestamp) -> bool {
    let life = ends.as_millis().saturating_sub(begins.as_millis());
    ends.as_millis().saturating_sub(now.as_millis()) <= DAY_MS.min(life / 3)
}

/// What was said already, so that each stage is said once.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    said: Vec<(Dated, Stage)>,
}

impl Watch {
    /// What there is to say now. A file that was replaced starts anew.
    pub fn due(&mut self, files: &[Dated], now: Timestamp) -> Vec<String> {
        self.said.retain(|(said, _)| files.contains(said));
        let mut due = Vec::new();
        for file in files {
            let Some(stage) = file.stage(now) else { continue };
            match self.said.iter_mut().find(|(said, _)| said == file) {
                Some((_, said)) if *said >= stage => continue,
                Some((_, said)) => *said = stage,
                None => self.said.push((file.clone(), stage)),
            }
            due.extend(file.warning(now));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dated(what: What, day: i64) -> Dated {
        Dated { what, file: "/x.pem".into(), ends: at(day) }
    }

    fn at(day: i64) -> Timestamp {
        Timestamp::from_millis(day * DAY_MS)
    }

    #[test]
    fn an_end_is_told_thirty_days_before_and_seven_and_one_and_afterwards_each_once() {
        let files = [dated(What::Certificate, 100)];
        let mut watch = Watch::default();
        let mut said = Vec::new();
        for hour in 60 * 24..110 * 24 {
            let now = Timestamp::from_millis(hour * 3_600_000);
            said.extend(watch.due(&files, now).into_iter().map(|words| (hour / 24, words)));
        }
        let expected = [
            (70, "the certificate /x.pem expires in 30 days, on 1970-04-11"),
            (93, "the certificate /x.pem expires in 7 days, on 1970-04-11"),
            (99, "the certificate /x.pem expires in 1 day, on 1970-04-11"),
            (100, "the certificate /x.pem expired on 1970-04-11: clients refuse it"),
        ];
        assert_eq!(said, expected.map(|(day, words)| (day, words.to_owned())));
    }

    #[test]
    fn a_connection_is_renewed_within_the_last_day_or_third_of_its_certificate() {
        let hours = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
        for (life, left, expected) in
            [(90 * 24, 25, false), (90 * 24, 24, true), (24, 9, false), (24, 8, true), (24, -1, true)]
        {
            assert_eq!(
                is_renewal_due(hours(0), hours(life), hours(life - left)),
                expected,
                "{left} of {life} h"
            );
        }
    }

    #[test]
    fn a_file_that_was_replaced_starts_anew() {
        let mut watch = Watch::default();
        assert_eq!(watch.due(&[dated(What::Certificate, 100)], at(95)).len(), 1);
        assert_eq!(watch.due(&[dated(What::Certificate, 500)], at(95)).len(), 0);
        assert_eq!(watch.due(&[dated(What::Certificate, 101)], at(95)).len(), 1);
        assert_eq!(watch.due(&[dated(What::Certificate, 100)], at(95)).len(), 1);
    }

    #[test]
    fn a_revocation_list_is_told_of_only_when_it_is_over() {
        for (denies, words) in [(false, "it still counts"), (true, "nobody gets in")] {
            let list = dated(What::RevocationList { denies }, 10);
            assert_eq!(list.warning(at(9)), None);
            assert!(list.warning(at(10)).unwrap().contains(words));
        }
    }
}
