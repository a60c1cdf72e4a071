//! Topic names and filters (4.7): what is valid, and which filter matches which name.

use std::sync::Arc;

/// Why a string is no topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// Zero bytes (4.7.3-1).
    Empty,
    /// More than 65,535 bytes (4.7.3-3).
    TooLong,
    /// U+0000 (4.7.3-2).
    Nul,
    /// `+` or `#` in a name (3.3.2-2).
    WildcardInName,
    /// `#` elsewhere than as the last level, or beside other characters in its level (4.7.1-1).
    MultiLevelMisplaced,
    /// `+` beside other characters in its level (4.7.1-2).
    SingleLevelMisplaced,
    /// A `$share` filter without a valid name or without a filter (4.8.2-1, 4.8.2-2).
    ShareInvalid,
}

impl std::fmt::Display for TopicError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::TooLong => "is longer than 65,535 bytes",
            Self::Nul => "contains U+0000",
            Self::WildcardInName => "contains a wildcard (+ or #), which only filters may",
            Self::MultiLevelMisplaced => "has a # that is not alone in the last level",
            Self::SingleLevelMisplaced => "has a + that is not alone in its level",
            Self::ShareInvalid => "is no valid $share/<name>/<filter>",
        })
    }
}

impl std::error::Error for TopicError {}

/// Checks a topic name.
///
/// # Errors
/// [`TopicError`]: the rule that it breaks.
pub fn check_name(name: &str) -> Result<(), TopicError> {
    check_length(name)?;
    check_characters(name)
}

/// 4.7.3-1, 4.7.3-3
const fn check_length(text: &str) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError::Empty),
        1..=65_535 => Ok(()),
        _ => Err(TopicError::TooLong),
    }
}

/// Checks what may stand in a topic name, which may be empty here. One pass over the bytes, without a branch
/// for each.
pub(super) fn check_characters(name: &str) -> Result<(), TopicError> {
    let bytes = name.as_bytes();
    if !bytes.iter().fold(false, |found, byte| found | matches!(byte, 0 | b'+' | b'#')) {
        Ok(())
    } else if bytes.contains(&0) {
        Err(TopicError::Nul) // 4.7.3-2
    } else {
        Err(TopicError::WildcardInName) // 3.3.2-2
    }
}

/// Checks a filter's wildcards: each alone in its level (4.7.1-1, 4.7.1-2).
fn check_filter(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level.len() > 1 || levels.peek().is_some()) {
            return Err(TopicError::MultiLevelMisplaced);
        }
        if level.contains('+') && level.len() > 1 {
            return Err(TopicError::SingleLevelMisplaced);
        }
    }
    Ok(())
}

/// A valid topic filter, perhaps of a shared subscription.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter {
    filter: Arc<str>,
    share: Option<Arc<str>>,
}

impl TopicFilter {
    /// Checks and takes a filter as it stands in SUBSCRIBE; `$share/<name>/` is split off.
    ///
    /// # Errors
    /// [`TopicError`]: the rule that it breaks.
    pub fn parse(filter: &str) -> Result<Self, TopicError> {
        check_length(filter)?;
        if filter.as_bytes().contains(&0) {
            return Err(TopicError::Nul);
        }
        let (share, filter) = split_share(filter)?;
        check_filter(filter)?;
        Ok(Self { filter: filter.into(), share: share.map(Into::into) })
    }

    /// The filter without `$share/<name>/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.filter
    }

    /// The share name of a shared subscription (5.0, 4.8.2).
    #[must_use]
    pub fn share(&self) -> Option<&str> {
        self.share.as_deref()
    }

    /// Whether the filter matches a topic name. A wildcard in the first level doesn't match names that start
    /// with `$` (4.7.2-1).
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        matches(&self.filter, name)
    }
}

/// As it stands in SUBSCRIBE.
impl std::fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.share {
            Some(share) => write!(f, "$share/{share}/{}", self.filter),
            None => f.write_str(&self.filter),
        }
    }
}

/// Share name and filter; the name is not empty and has no wildcard (4.8.2-1, 4.8.2-2).
fn split_share(filter: &str) -> Result<(Option<&str>, &str), TopicError> {
    let Some(shared) = filter.strip_prefix("$share") else { return Ok((None, filter)) };
    let Some(shared) = shared.strip_prefix('/') else {
        // `$share` alone is none; `$shared` has nothing to do with it.
        return if shared.is_empty() { Err(TopicError::ShareInvalid) } else { Ok((None, filter)) };
    };
    match shared.split_once('/') {
        Some((name, rest)) if !name.is_empty() && !name.contains(['+', '#']) && !rest.is_empty() => {
            Ok((Some(name), rest))
        }
        _ => Err(TopicError::ShareInvalid),
    }
}

/// Whether a valid filter (without `$share`) matches a valid name; allocates nothing.
#[must_use]
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false; // 4.7.2-1
    }
    let mut levels = name.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true, // also the parent level (4.7.1.2)
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
