//! What the machine wants done, in order, until the shell asks: bytes and safe tokens are gathered, so that a turn
//! makes one write and one release.

use std::collections::VecDeque;

use super::streams::StreamNo;
use super::words::{Notice, Output};
use crate::message::SafeToken;

/// Outputs that wait for `poll_output`. Bounded by the machine's own windows: bytes by the inflight window, one
/// commit, one read, and one notice per change.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    queue: VecDeque<(StreamNo, Output)>,
    /// Bytes for the transport, not yet handed out.
    pub(super) tx: Vec<u8>,
    safe: Vec<SafeToken>,
    refused: Vec<SafeToken>,
}

impl Outputs {
    pub(super) fn push(&mut self, output: Output) {
        self.push_of(0, output);
    }

    /// What a stream wants of the store.
    pub(super) fn push_of(&mut self, stream: StreamNo, output: Output) {
        self.queue.push_back((stream, output));
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.push(Output::Notice(notice));
    }

    pub(super) fn safe(&mut self, token: SafeToken) {
        self.safe.push(token);
    }

    pub(super) fn refused(&mut self, token: SafeToken) {
        self.refused.push(token);
    }

    /// Closes the transport after what was written.
    pub(super) fn close(&mut self) {
        self.flush();
        self.push(Output::Close);
    }

    /// Puts the gathered bytes and tokens in line.
    pub(super) fn flush(&mut self) {
        if !self.tx.is_empty() {
            let bytes = std::mem::take(&mut self.tx);
            self.push(Output::Send(bytes));
        }
        if !self.safe.is_empty() {
            let safe = std::mem::take(&mut self.safe);
            self.push(Output::Safe(safe));
        }
        if !self.refused.is_empty() {
            let refused = std::mem::take(&mut self.refused);
            self.push(Output::Refused(refused));
        }
    }

    /// The transport is gone: bytes for it must not reach the next one.
    pub(super) fn forget_bytes(&mut self) {
        self.tx.clear();
        self.queue.retain(|(_, output)| !matches!(output, Output::Send(_)));
    }

    pub(super) fn pop(&mut self) -> Option<(StreamNo, Output)> {
        if self.queue.is_empty() {
            self.flush();
        }
        self.queue.pop_front()
    }
}
