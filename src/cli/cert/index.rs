//! The list of what the authority has issued, as a value: what is added, renewed and revoked, and the file's text.

use serde::{Deserialize, Serialize};

use crate::limits::CERTIFICATES_MAX;
use crate::time::Timestamp;

/// The layout of the file.
const VERSION: u32 = 1;

/// What was issued, and the number of the revocation list that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    version: u32,
    /// Raised with each change of what is revoked. A list with another number is out of date.
    pub(super) crl_number: u64,
    /// In the order of issue.
    certificates: Vec<Entry>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// In hexadecimal digits.
    pub(super) serial: String,
    /// The common name: a device's is its user name.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Names and addresses of a listener.
    pub(super) names: Vec<String>,
    pub(super) days: u32,
    pub(super) issued_unix_s: i64,
    pub(super) expires_unix_s: i64,
    /// SHA-256 of the certificate.
    pub(super) fingerprint: String,
    pub(super) revoked_unix_s: Option<i64>,
}

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Device,
    Listener,
}

impl Kind {
    /// For people.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Listener => "listener",
        }
    }
}

impl Entry {
    /// Neither revoked nor expired.
    pub(super) const fn is_good(&self, now: i64) -> bool {
        self.revoked_unix_s.is_none() && self.expires_unix_s > now
    }

    /// The end, counted in days from now; negative when it is over.
    pub(super) const fn days_left(&self, now: i64) -> i64 {
        self.expires_unix_s.saturating_sub(now).div_euclid(86_400)
    }
}

impl Index {
    pub(super) const fn new() -> Self {
        Self { version: VERSION, crl_number: 1, certificates: Vec::new() }
    }

    /// # Errors
    /// In words.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let index: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if index.version != VERSION {
            return Err(format!("has version {}, this program knows {VERSION}", index.version));
        }
        Ok(index)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // A value of strings and numbers can always be written.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.certificates
    }

    /// # Errors
    /// If there is no room.
    pub(super) fn add(&mut self, entry: Entry, now: i64) -> Result<(), String> {
        if self.certificates.len() >= CERTIFICATES_MAX {
            self.certificates.retain(|entry| entry.expires_unix_s > now);
        }
        if self.certificates.len() >= CERTIFICATES_MAX {
            return Err(format!("{CERTIFICATES_MAX} certificates are valid; there can't be more"));
        }
        self.certificates.push(entry);
        Ok(())
    }

    /// The newest good certificate of that name.
    pub(super) fn good(&self, kind: Kind, name: &str, now: i64) -> Option<&Entry> {
        let mut entries = self.certificates.iter().rev();
        entries.find(|entry| entry.kind == kind && entry.name == name && entry.is_good(now))
    }

    /// What a name or a serial number stands for: all certificates of that name, or the one with that number.
    ///
    /// # Errors
    /// In words, if it stands for nothing, or for a device and a listener.
    pub(super) fn find(&self, wanted: &str) -> Result<Vec<&Entry>, String> {
        let serial = serial_digits(wanted);
        if let Some(entry) = self.certificates.iter().find(|entry| entry.serial == serial) {
            return Ok(vec![entry]);
        }
        let found: Vec<&Entry> = self.certificates.iter().filter(|entry| entry.name == wanted).collect();
        match found.split_first() {
            None => Err(format!(
                "nothing was issued for {wanted:?}, and no certificate has that serial number; \
                 `fieldgate cert list` shows what there is"
            )),
            Some((first, rest)) if rest.iter().any(|entry| entry.kind != first.kind) => Err(format!(
                "a device and a listener are called {wanted:?}; name the serial number that `fieldgate cert list` shows"
            )),
            Some(_) => Ok(found),
        }
    }

    /// Revokes these; how many were not yet.
    pub(super) fn revoke(&mut self, serials: &[String], now: i64) -> usize {
        let mut count: usize = 0;
        for entry in &mut self.certificates {
            if serials.contains(&entry.serial) && entry.revoked_unix_s.is_none() {
                entry.revoked_unix_s = Some(now);
                count = count.saturating_add(1);
            }
        }
        if count > 0 {
            self.crl_number = self.crl_number.saturating_add(1);
        }
        count
    }
}

/// A serial number as people copy it: with colons, in capitals.
fn serial_digits(text: &str) -> String {
    text.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase()
}

/// `2026-11-21`.
pub(super) fn date(unix_s: i64) -> String {
    let mut text = Timestamp::from_millis(unix_s.saturating_mul(1_000)).to_string();
    text.truncate(10);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(serial: &str, name: &str, kind: Kind, expires: i64) -> Entry {
        Entry {
            serial: serial.into(),
            name: name.into(),
            kind,
            names: Vec::new(),
            days: 1,
            issued_unix_s: 0,
            expires_unix_s: expires,
            fingerprint: "00".into(),
            revoked_unix_s: None,
        }
    }

    fn index(entries: &[Entry]) -> Index {
        let mut index = Index::new();
        entries.iter().for_each(|entry| index.add(entry.clone(), 0).unwrap());
        index
    }

    #[test]
    fn the_file_says_the_same_when_it_is_read_again_and_is_refused_when_it_is_damaged() {
        let mut index = index(&[entry("0a", "plc", Kind::Device, 9), entry("0b", "gw", Kind::Listener, 9)]);
        index.revoke(&["0a".into()], 5);
        let bytes = index.to_bytes();
        assert_eq!(Index::parse(&bytes), Ok(index));
        for cut in 0..bytes.len() - 2 {
            assert!(Index::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let newer = String::from_utf8(bytes).unwrap().replace("\"version\": 1", "\"version\": 2");
        assert_eq!(Index::parse(newer.as_bytes()), Err("has version 2, this program knows 1".into()));
    }

    #[test]
    fn a_name_stands_for_all_its_certificates_and_a_serial_number_for_one() {
        let index = index(&[
            entry("4a01", "plc", Kind::Device, 9),
            entry("4a02", "plc", Kind::Device, 9),
            entry("4a03", "both", Kind::Device, 9),
            entry("4a04", "both", Kind::Listener, 9),
        ]);
        for (wanted, expected) in [
            ("plc", Ok(vec!["4a01", "4a02"])),
            ("4A:02", Ok(vec!["4a02"])),
            ("both", Err("a device and a listener")),
            ("4a04", Ok(vec!["4a04"])),
            ("nobody", Err("nothing was issued")),
            ("", Err("nothing was issued")),
        ] {
            match (index.find(wanted), expected) {
                (Ok(found), Ok(serials)) => {
                    assert_eq!(found.iter().map(|entry| &*entry.serial).collect::<Vec<_>>(), serials);
                }
                (Err(words), Err(part)) => assert!(words.contains(part), "{words}"),
                (found, _) => panic!("{wanted}: {found:?}"),
            }
        }
    }

    #[test]
    fn revoking_twice_changes_nothing_and_what_is_revoked_or_over_is_not_good() {
        let mut index = index(&[entry("01", "plc", Kind::Device, 100), entry("02", "old", Kind::Device, 10)]);
        assert_eq!(index.good(Kind::Device, "plc", 50).map(|entry| &*entry.serial), Some("01"));
        assert_eq!(index.good(Kind::Listener, "plc", 50), None);
        assert_eq!(index.good(Kind::Device, "old", 10), None, "it is over");
        assert_eq!((index.revoke(&["01".into()], 50), index.crl_number), (1, 2));
        assert_eq!((index.revoke(&["01".into()], 60), index.crl_number), (0, 2));
        assert_eq!(index.entries()[0].revoked_unix_s, Some(50));
        assert_eq!(index.good(Kind::Device, "plc", 50), None);
    }

    #[test]
    fn a_full_list_forgets_what_is_over_and_then_takes_no_more() {
        let mut index = Index::new();
        for number in 0..CERTIFICATES_MAX {
            let expires = if number == 0 { 10 } else { 1_000 };
            index.add(entry(&format!("{number:x}"), "plc", Kind::Device, expires), 0).unwrap();
        }
        index.add(entry("new", "plc", Kind::Device, 1_000), 10).unwrap();
        assert_eq!(index.entries().len(), CERTIFICATES_MAX);
        assert!(index.add(entry("more", "plc", Kind::Device, 1_000), 10).is_err());
    }

    #[test]
    fn days_left_are_whole_days_and_negative_afterwards() {
        let entry = entry("01", "plc", Kind::Device, 10 * 86_400);
        for (now, days) in [(0, 10), (1, 9), (9 * 86_400, 1), (10 * 86_400, 0), (10 * 86_400 + 1, -1)] {
            assert_eq!(entry.days_left(now), days, "{now}");
        }
        assert_eq!(date(1_795_186_265), "2026-11-20");
    }
}
