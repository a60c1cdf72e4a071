//! Why there is no answer.

use crate::said::Said;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For programs.
    pub kind: FailureKind,
    /// For people.
    pub message: Said,
    /// The argument that is wrong, if it is one.
    pub field: Option<&'static str>,
}

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// An argument is wrong or missing, or what it names isn't there.
    Refused,
    /// The gateway can't answer now; later it may.
    Busy,
}

impl Failure {
    /// An argument is wrong, or missing.
    #[must_use]
    pub fn field(field: &'static str, message: impl Into<Said>) -> Self {
        Self { kind: FailureKind::Refused, message: message.into(), field: Some(field) }
    }

    /// It can't be done.
    #[must_use]
    pub fn refused(message: impl Into<Said>) -> Self {
        Self { kind: FailureKind::Refused, message: message.into(), field: None }
    }

    /// Not now.
    #[must_use]
    pub fn busy(message: impl Into<Said>) -> Self {
        Self { kind: FailureKind::Busy, message: message.into(), field: None }
    }
}
