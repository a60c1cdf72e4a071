//! Why a connection or an attempt ended: in words, and what it means for the next one.

use super::Cut;
use crate::mqtt::{Properties, PropertyId, ReasonCode};

/// Why a connection or an attempt ended.
pub(super) struct Failure {
    pub(super) words: String,
    /// Only people can mend it.
    pub(super) refused: bool,
    /// Upstream broke the protocol: the next session starts clean, so that it can't break it again the same way.
    pub(super) clean: bool,
    /// Said to a 5.0 upstream before closing; `None` if it closed, or said so itself.
    pub(super) farewell: Option<ReasonCode>,
    /// What it says about what was sent.
    pub(super) cut: Cut,
    /// It is no failure: another address is better.
    pub(super) moves: bool,
    /// Upstream has named another server, which is tried next.
    pub(super) redirected: bool,
    /// Another client has our session now.
    pub(super) taken_over: bool,
    /// The transport is still open.
    pub(super) close: bool,
}

impl Failure {
    pub(super) fn ours(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            refused: false,
            clean: false,
            farewell: None,
            cut: Cut::Ours,
            moves: false,
            redirected: false,
            taken_over: false,
            close: true,
        }
    }

    /// Whether the connection is only moved.
    pub(super) const fn goes_on(&self) -> bool {
        self.moves || self.redirected
    }

    pub(super) fn theirs(words: impl Into<String>, reason: ReasonCode) -> Self {
        Self { clean: true, farewell: Some(reason), ..Self::ours(words) }
    }

    pub(super) fn gone(words: impl Into<String>) -> Self {
        Self { close: false, cut: Cut::Closed, ..Self::ours(words) }
    }
}

pub(super) fn wrong(words: &str) -> Failure {
    Failure::theirs(words, ReasonCode::ProtocolError)
}

pub(in crate::bridge) fn with_reason(what: &str, reason: ReasonCode, properties: Properties<'_>) -> String {
    let words = reason.words();
    match properties.string(PropertyId::ReasonString) {
        Some(said) => format!("{what}: {words} (\u{201c}{}\u{201d})", said.escape_debug()),
        None => format!("{what}: {words}"),
    }
}

/// Reasons of DISCONNECT that are about a message, not about us (5.0, 3.14.2.1).
pub(super) const fn about_message(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::TopicNameInvalid
            | ReasonCode::PacketTooLarge
            | ReasonCode::PayloadFormatInvalid
            | ReasonCode::RetainNotSupported
            | ReasonCode::QoSNotSupported
    )
}

/// Refusals that asking again soon doesn't change.
pub(super) const fn needs_people(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::UnsupportedProtocolVersion
            | ReasonCode::ClientIdentifierNotValid
            | ReasonCode::BadUserNameOrPassword
            | ReasonCode::NotAuthorized
            | ReasonCode::Banned
            | ReasonCode::BadAuthenticationMethod
            | ReasonCode::TopicNameInvalid
            | ReasonCode::PacketTooLarge
            | ReasonCode::UseAnotherServer
            | ReasonCode::ServerMoved
            | ReasonCode::RetainNotSupported
            | ReasonCode::QoSNotSupported
    )
}
