//! Passwords that were right lately, as keyed digests: a storm of reconnects costs one HMAC each instead of a
//! password hash.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ring::hmac;

use super::hash::Hash;
use crate::time::Mono;

/// How long a right password needs no hashing.
const KEPT: Duration = Duration::from_secs(600);
/// Some 100 bytes each, so 400 KB. Above it what has expired goes, then everything: that costs hashes only.
const ENTRIES_MAX: usize = 4_096;

#[derive(Debug)]
struct Entry {
    until: Mono,
    /// What it was right for: a changed password ends it.
    hash: Arc<Hash>,
}

/// What was right.
#[derive(Debug)]
pub(super) struct Cache {
    key: hmac::Key,
    entries: HashMap<[u8; 32], Entry>,
}

impl Cache {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), entries: HashMap::new() }
    }

    pub(super) fn knows(&self, now: Mono, user: &str, password: &[u8], hash: &Hash) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        // The digest is keyed, so how far a look-up got tells nothing about the password.
        let entry = self.digest(user, password).and_then(|digest| self.entries.get(&digest));
        entry.is_some_and(|entry| entry.until > now && *entry.hash == *hash)
    }

    pub(super) fn remember(&mut self, now: Mono, user: &str, password: &[u8], hash: &Arc<Hash>) {
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.retain(|_, entry| entry.until > now);
        }
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.clear();
        }
        if let Some(digest) = self.digest(user, password) {
            self.entries.insert(digest, Entry { until: now + KEPT, hash: Arc::clone(hash) });
        }
    }

    fn digest(&self, user: &str, password: &[u8]) -> Option<[u8; 32]> {
        let mut context = hmac::Context::with_key(&self.key);
        // With its length, so that no other pair gives the same bytes.
        context.update(&u64::try_from(user.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password);
        context.sign().as_ref().try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_for_its_user_and_hash_until_it_expires() {
        let hash = Arc::new(Hash::of_nobody());
        let other = Hash::make(b"x", &[1; 12]).unwrap();
        let start = Mono::from_nanos(5);
        let mut cache = Cache::new(&[7; 32]);
        assert!(!cache.knows(start, "ab", b"c", &hash));
        cache.remember(start, "ab", b"c", &hash);
        for (now, user, password, against, expected) in [
            (start, "ab", &b"c"[..], &*hash, true),
            (start + KEPT, "ab", b"c", &hash, false),
            (start, "a", b"bc", &hash, false),
            (start, "ab", b"C", &hash, false),
            (start, "ab", b"c", &other, false),
        ] {
            assert_eq!(cache.knows(now, user, password, against), expected, "{user} {password:?}");
        }
    }

    #[test]
    fn the_cache_is_bounded() {
        let hash = Arc::new(Hash::of_nobody());
        let mut cache = Cache::new(&[7; 32]);
        for number in 0..3 * ENTRIES_MAX {
            cache.remember(Mono::ZERO, &number.to_string(), b"p", &hash);
            assert!(cache.entries.len() <= ENTRIES_MAX);
        }
    }
}
