//! What is told about options that aren't in the result as they stood in the file.

use std::fmt;
use std::sync::Arc;

use super::options::Weight;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// As the user named it, or as it was found in an include_dir.
    pub(super) file: Arc<str>,
    /// From 1.
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file's name may hold a line end, which would end a comment.
        let file: String = self.file.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        write!(f, "{file}:{}", self.line)
    }
}

/// What became of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Nothing, and nothing is missing.
    NotNeeded,
    /// It is in the result, and does not do quite the same.
    Differs,
    /// It isn't in the result.
    Refused(Weight),
    /// Mosquitto wouldn't start with it.
    Mistake,
}

/// One of these, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    /// Where; `None` if it is about something that stands nowhere.
    pub(super) place: Option<Place>,
    /// The option.
    pub(super) option: String,
    pub(super) kind: Kind,
    pub(super) text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        let kind = match self.kind {
            Kind::NotNeeded => "not needed",
            Kind::Differs => "carried over, with a difference",
            Kind::Refused(Weight::Minor) => "not carried over",
            Kind::Refused(Weight::Delivery) => "NOT CARRIED OVER (delivery)",
            Kind::Refused(Weight::Security) => "NOT CARRIED OVER (security)",
            Kind::Mistake => "MISTAKE",
        };
        write!(f, "{}: {kind}: {}", self.option, self.text)
    }
}

/// How an import went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All that matters is in the result.
    Complete,
    /// Something that matters for delivery or security isn't.
    Incomplete,
    /// Mosquitto itself wouldn't start with this file.
    Mistaken,
}

/// The gravest of all remarks.
pub(super) fn outcome(remarks: &[Remark]) -> Outcome {
    match remarks.iter().map(|remark| remark.kind).max() {
        Some(Kind::Mistake) => Outcome::Mistaken,
        Some(Kind::Refused(Weight::Delivery | Weight::Security)) => Outcome::Incomplete,
        _ => Outcome::Complete,
    }
}

/// The last line: how many of each.
pub(super) fn summary(carried: usize, remarks: &[Remark]) -> String {
    let count = |wanted: fn(Kind) -> bool| remarks.iter().filter(|remark| wanted(remark.kind)).count();
    format!(
        "{carried} options carried over ({} with a difference), {} not needed, {} not carried over ({} of them matter \
         for security or delivery), {} mistakes",
        count(|kind| kind == Kind::Differs),
        count(|kind| kind == Kind::NotNeeded),
        count(|kind| matches!(kind, Kind::Refused(_))),
        count(|kind| matches!(kind, Kind::Refused(Weight::Delivery | Weight::Security))),
        count(|kind| kind == Kind::Mistake),
    )
}
