//! The terminal: keys without Enter, and its settings put back whatever happens.

use std::io::{IsTerminal, stdin};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// What a person can press.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The upstream down or up.
    Outage,
    /// The end.
    Quit,
}

/// Standard input as a keyboard. Dropping it, also in a panic, restores the terminal.
#[derive(Debug)]
pub(super) struct Keys {
    saved: Termios,
}

impl Keys {
    /// `None` if standard input is no terminal, or another job has it.
    pub(super) fn open() -> Option<Self> {
        let input = stdin();
        // Changing the settings of another job's terminal would stop us (SIGTTOU).
        if !input.is_terminal() || tcgetpgrp(&input).ok()? != getpgrp() {
            return None;
        }
        let keys = Self { saved: tcgetattr(&input).ok()? };
        keys.take().then_some(keys)
    }

    /// Turns line editing and echo off; Ctrl-C stays a signal. Again after the job was stopped and continued.
    pub(super) fn take(&self) -> bool {
        let mut settings = self.saved.clone();
        settings.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &settings).is_ok()
    }

    /// What was pressed since; doesn't wait.
    pub(super) fn pressed(&self) -> Vec<Key> {
        let input = stdin();
        let mut ready = [PollFd::new(&input, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if !poll(&mut ready, Some(&now)).is_ok_and(|ready| ready > 0) {
            return Vec::new();
        }
        let mut bytes = [0; 32];
        // Straight from the descriptor: a buffer of std's would hide from poll what it has taken.
        let read = rustix::io::read(&input, &mut bytes).unwrap_or(0);
        bytes.get(..read).unwrap_or_default().iter().copied().filter_map(key).collect()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.saved);
    }
}

fn key(byte: u8) -> Option<Key> {
    match byte {
        b'o' | b'O' => Some(Key::Outage),
        b'q' | b'Q' => Some(Key::Quit),
        _ => None,
    }
}
