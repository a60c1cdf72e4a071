//! An output's rules: what it is to be set to, and when, whatever nobody says: at the start, at the end, without an
//! upstream, after too long. It sets nothing itself.

use super::Found;
use super::config::{OutputConfig, Startup};
use crate::time::Mono;

/// Why an output is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The gateway has started, or the line has come back.
    Start,
    /// A command.
    Command,
    /// It was on for `max_on`.
    MaxOn,
    /// No upstream was there for as long as `on_disconnect` says.
    Disconnect,
    /// The gateway stops.
    Exit,
}

impl Cause {
    /// The word for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Command => "command",
            Self::MaxOn => "max_on",
            Self::Disconnect => "no upstream",
            Self::Exit => "exit",
        }
    }
}

/// The state of an output.
#[derive(Debug)]
pub(super) struct Switch {
    config: OutputConfig,
    /// What it is to be; `None`: nobody has said.
    pub(super) desired: Option<bool>,
    /// What it is being set to.
    aimed: Option<bool>,
    /// What was read back last.
    pub(super) actual: Option<bool>,
    on_since: Option<Mono>,
    /// Since when there is no upstream; `None` while there is one, and once the rule was followed.
    alone_since: Option<Mono>,
    was_online: bool,
    /// What the disk has of it, where it is to be kept.
    kept: Option<bool>,
    writing: bool,
    /// The disk refused it: the next change is written whatever it is.
    unkept: bool,
}

impl Switch {
    /// An output, with what was kept of it.
    pub(super) fn new(config: OutputConfig, found: &Found, now: Mono) -> Self {
        let kept = match found {
            Found::Kept(bytes) => match bytes.as_slice() {
                [1, state @ (0 | 1)] => Some(*state == 1),
                _ => None,
            },
            _ => None,
        };
        Self {
            config,
            desired: None,
            aimed: None,
            actual: None,
            on_since: None,
            // A gateway that never finds its upstream is without one from the start.
            alone_since: Some(now),
            was_online: false,
            kept,
            writing: false,
            unkept: false,
        }
    }

    /// The line is there, at this level. What it must be set to; `None`: left as it is. `held` says that another output
    /// keeps it off.
    pub(super) fn opened(&mut self, level: bool, held: bool) -> Option<bool> {
        self.actual = Some(level);
        let wanted = match (self.desired, self.config.startup) {
            // It was lost and is back: what was said last still holds.
            (Some(desired), _) => Some(desired),
            (None, Startup::Off) => Some(false),
            (None, Startup::On) => Some(true),
            (None, Startup::Keep) => None,
            (None, Startup::Last) => Some(self.kept.unwrap_or(false)),
        };
        match wanted {
            Some(true) if held => Some(false),
            wanted => wanted,
        }
    }

    /// It was set, and this was read back. A command to be on begins the time of `max_on` anew.
    pub(super) fn set(&mut self, on: bool, actual: Option<bool>, now: Mono) {
        self.desired = Some(on);
        self.aimed = None;
        self.actual = actual;
        self.on_since = on.then_some(now);
        if std::mem::take(&mut self.unkept) {
            self.kept = None;
        }
    }

    /// It is left as it was found.
    pub(super) fn left(&mut self, level: bool, now: Mono) {
        self.desired = Some(level);
        self.on_since = level.then_some(now);
    }

    /// It is about to be set.
    pub(super) fn aim(&mut self, on: bool) {
        self.aimed = Some(on);
    }

    /// Whether it is on, or is to be.
    pub(super) fn is_on(&self) -> bool {
        [self.desired, self.aimed, self.actual].contains(&Some(true))
    }

    /// Whether an upstream is there.
    pub(super) fn online(&mut self, online: bool, now: Mono) {
        if online {
            self.alone_since = None;
        } else if self.was_online {
            self.alone_since = Some(now);
        }
        self.was_online = online;
    }

    /// What it must be set to by now, and why.
    pub(super) fn due(&mut self, now: Mono) -> Option<(bool, Cause)> {
        if self.max_on_at().is_some_and(|at| at <= now) {
            self.on_since = None;
            return Some((false, Cause::MaxOn));
        }
        let (state, _) = self.config.on_disconnect?;
        if self.alone_at().is_some_and(|at| at <= now) {
            // Once per outage: whoever switches it after that is on the spot.
            self.alone_since = None;
            return (self.desired != Some(state)).then_some((state, Cause::Disconnect));
        }
        None
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        [self.max_on_at(), self.alone_at()].into_iter().flatten().min()
    }

    fn max_on_at(&self) -> Option<Mono> {
        Some(self.on_since? + self.config.max_on?)
    }

    fn alone_at(&self) -> Option<Mono> {
        Some(self.alone_since? + self.config.on_disconnect?.1)
    }

    /// What it must be set to at the end.
    pub(super) fn exit(&self) -> Option<bool> {
        self.config.on_exit
    }

    /// Whom it excludes.
    pub(super) fn interlock(&self) -> &[std::sync::Arc<str>] {
        &self.config.interlock
    }

    /// What must be written now, if it is kept at all; one write at a time.
    pub(super) fn write(&mut self) -> Option<Vec<u8>> {
        let desired = self.desired.filter(|desired| {
            self.config.startup == Startup::Last && self.kept != Some(*desired) && !self.writing
        })?;
        self.kept = Some(desired);
        self.writing = true;
        Some(vec![1, u8::from(desired)])
    }

    /// The disk has answered.
    pub(super) fn wrote(&mut self, result: &Result<(), String>) {
        self.writing = false;
        self.unkept = result.is_err();
    }

    pub(super) const fn is_writing(&self) -> bool {
        self.writing
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config() -> OutputConfig {
        OutputConfig {
            startup: Startup::Off,
            on_exit: Some(false),
            on_disconnect: None,
            max_on: None,
            interlock: Vec::new(),
        }
    }

    fn s(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn at_the_start_it_is_what_the_config_says() {
        let check = |startup, found: Found, level, held, expected| {
            let mut switch = Switch::new(OutputConfig { startup, ..config() }, &found, s(0));
            assert_eq!(switch.opened(level, held), expected, "{startup:?} {found:?} {level} {held}");
        };
        check(Startup::Off, Found::Nothing, true, false, Some(false));
        check(Startup::On, Found::Nothing, false, false, Some(true));
        check(Startup::On, Found::Nothing, false, true, Some(false));
        check(Startup::Keep, Found::Nothing, true, false, None);
        check(Startup::Last, Found::Kept(vec![1, 1]), false, false, Some(true));
        check(Startup::Last, Found::Kept(vec![1, 1]), false, true, Some(false));
        check(Startup::Last, Found::Kept(vec![1, 0]), true, false, Some(false));
        check(Startup::Last, Found::Kept(vec![2, 1]), true, false, Some(false));
        check(Startup::Last, Found::Damaged, true, false, Some(false));
    }

    #[test]
    fn a_line_that_was_away_is_set_to_what_was_said_last() {
        let mut switch = Switch::new(config(), &Found::Nothing, s(0));
        assert_eq!(switch.opened(false, false), Some(false));
        switch.set(true, Some(true), s(1));
        assert_eq!(switch.opened(false, false), Some(true));
    }

    #[test]
    fn on_for_too_long_is_off_and_a_further_on_begins_anew() {
        let max_on = Some(Duration::from_secs(10));
        let mut switch = Switch::new(OutputConfig { max_on, ..config() }, &Found::Nothing, s(0));
        switch.set(true, Some(true), s(5));
        assert_eq!((switch.due(s(14)), switch.deadline()), (None, Some(s(15))));
        switch.set(true, Some(true), s(14));
        assert_eq!(switch.due(s(23)), None);
        assert_eq!(switch.due(s(24)), Some((false, Cause::MaxOn)));
        switch.set(false, Some(false), s(24));
        assert_eq!((switch.due(s(1_000)), switch.deadline()), (None, None));
    }

    #[test]
    fn without_an_upstream_it_is_set_once_per_outage() {
        let on_disconnect = Some((false, Duration::from_secs(60)));
        let mut switch = Switch::new(OutputConfig { on_disconnect, ..config() }, &Found::Nothing, s(0));
        switch.online(true, s(5));
        switch.set(true, Some(true), s(10));
        switch.online(false, s(100));
        switch.online(false, s(130));
        assert_eq!((switch.due(s(159)), switch.deadline()), (None, Some(s(160))));
        assert_eq!(switch.due(s(160)), Some((false, Cause::Disconnect)));
        switch.set(true, Some(true), s(170));
        assert_eq!(switch.due(s(10_000)), None, "whoever set it since is on the spot");
        switch.online(true, s(10_001));
        switch.online(false, s(10_002));
        assert_eq!(switch.due(s(10_062)), Some((false, Cause::Disconnect)));
        // A short outage does nothing.
        switch.set(true, Some(true), s(10_100));
        switch.online(true, s(10_101));
        switch.online(false, s(10_102));
        switch.online(true, s(10_103));
        assert_eq!((switch.due(s(99_999)), switch.deadline()), (None, None));
    }

    #[test]
    fn what_it_was_last_goes_to_disk_one_write_at_a_time() {
        let mut switch =
            Switch::new(OutputConfig { startup: Startup::Last, ..config() }, &Found::Nothing, s(0));
        switch.set(true, Some(true), s(1));
        assert_eq!(switch.write(), Some(vec![1, 1]));
        switch.set(false, Some(false), s(2));
        assert_eq!(switch.write(), None);
        switch.wrote(&Ok(()));
        assert_eq!(switch.write(), Some(vec![1, 0]));
        switch.wrote(&Err("full".into()));
        assert_eq!(switch.write(), None, "not at once: a disk that refuses isn't beaten");
        switch.set(false, Some(false), s(3));
        assert_eq!(switch.write(), Some(vec![1, 0]), "again");
        switch.wrote(&Ok(()));
        assert_eq!(switch.write(), None);
        let mut other = Switch::new(config(), &Found::Nothing, s(0));
        other.set(true, Some(true), s(1));
        assert_eq!(other.write(), None, "only where the start asks for it");
    }
}
