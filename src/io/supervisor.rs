//! What a supervisor that speaks systemd's protocol (sd_notify(3)) is told: ready, reading the config again, stopping, in
//! a sentence how the gateway is; and that it makes progress. Without such a supervisor nothing is sent.
//!
//! The watchdog is fed by a thread of its own, and only while every thread that has joined [`Progress`] is seen to get on
//! with its work. One that stands still is named in the log, and the supervisor is asked to start the gateway again:
//! within `WatchdogSec` of its last beat, not only that long after the last feeding. A store thread that is at a job is
//! judged by [`super::store_watch`], for a disk that stalls is no hang.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{error, warn};

use super::clock;
use crate::time::Mono;

/// Threads are asked for a beat this often.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// The beats are looked at this often at least.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// The log has this long for its last words.
const LOG_GRACE: Duration = Duration::from_millis(300);
/// Stands in [`Place::last`] while nobody waits for a beat.
const EXCUSED: u64 = u64::MAX;

/// The threads whose work must go on. A thread joins with its name when it starts.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Vec<Beat>>>);

impl Progress {
    /// One more thread that must make progress from now on: it calls [`Beat::beat`] at least every few seconds, from where
    /// its work is done. One that asks others for their beats joins before them.
    #[must_use]
    pub fn join(&self, name: &'static str) -> Beat {
        let beat = Beat::unwatched(name);
        beat.beat();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(beat.clone());
        beat
    }

    fn last_beats(&self) -> Vec<(&'static str, Option<Mono>)> {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.iter().map(|beat| (beat.0.name, beat.last())).collect()
    }
}

/// Where one thread tells that it gets on.
#[derive(Clone, Debug)]
pub struct Beat(Arc<Place>);

#[derive(Debug)]
struct Place {
    name: &'static str,
    /// In nanoseconds of the monotonic clock, or [`EXCUSED`].
    last: AtomicU64,
    /// Somebody has asked for a beat, and it hasn't come yet.
    asked: AtomicBool,
}

impl Beat {
    /// One that nobody looks at.
    #[must_use]
    pub fn unwatched(name: &'static str) -> Self {
        let (last, asked) = (AtomicU64::new(EXCUSED), AtomicBool::new(false));
        Self(Arc::new(Place { name, last, asked }))
    }

    /// The thread has got on with its work.
    pub fn beat(&self) {
        self.0.last.store(clock::mono().as_nanos(), Ordering::Relaxed);
        self.0.asked.store(false, Ordering::Relaxed);
    }

    /// Beats as a task of the thread, until it is dropped: from then on the thread is excused.
    pub async fn steadily(self) {
        let excused = Excused(self);
        loop {
            excused.0.beat();
            tokio::time::sleep(BEAT_INTERVAL).await;
        }
    }

    /// Until its next beat somebody else judges whether the thread gets on, or it has ended in order.
    pub fn excuse(&self) {
        self.0.last.store(EXCUSED, Ordering::Relaxed);
    }

    /// Whether the thread is to be asked for a beat; not while it has one to answer for. So what is asked never piles up.
    #[must_use]
    pub fn ask(&self) -> bool {
        !self.0.asked.swap(true, Ordering::Relaxed)
    }

    fn last(&self) -> Option<Mono> {
        match self.0.last.load(Ordering::Relaxed) {
            EXCUSED => None,
            nanos => Some(Mono::from_nanos(nanos)),
        }
    }
}

/// Excuses its thread when dropped, also by a panic: that a thread has ended is told elsewhere.
struct Excused(Beat);

impl Drop for Excused {
    fn drop(&mut self) {
        self.0.excuse();
    }
}

/// Tells a thread that stands still from a process that was stopped as a whole, or that has slept with its machine. Pure.
#[derive(Debug)]
struct Watchdog {
    /// A thread may be without a beat for this long.
    limit: Duration,
    looked: Mono,
    /// Since when the process runs without a break.
    awake_since: Mono,
}

impl Watchdog {
    const fn new(limit: Duration, now: Mono) -> Self {
        Self { limit, looked: now, awake_since: now }
    }

    /// One look: who has stood still for too long, and for how long.
    fn look(
        &mut self,
        now: Mono,
        beats: &[(&'static str, Option<Mono>)],
    ) -> Option<(&'static str, Duration)> {
        // Nobody could beat while this thread didn't run either.
        if now.since(self.looked) > self.limit / 2 {
            self.awake_since = now;
        }
        self.looked = now;
        let age = |last: Mono| now.since(last.max(self.awake_since));
        let mut ages = beats.iter().filter_map(|(name, last)| Some((*name, age((*last)?))));
        if !ages.clone().any(|(_, age)| age >= self.limit) {
            return None;
        }
        // Who isn't asked has no beat either: the one that asks has joined before.
        ages.find(|(_, age)| *age >= self.limit * 3 / 4)
    }
}

/// The thread that feeds the supervisor's watchdog; it ends when this is dropped.
#[derive(Debug)]
pub struct Feeder {
    stop: Arc<AtomicBool>,
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Starts to feed the watchdog, if the supervisor has one for this process.
///
/// # Errors
/// If the thread can't be started.
pub fn feed(progress: Progress) -> std::io::Result<Option<Feeder>> {
    let Some(limit) = sd_notify::watchdog_enabled() else { return Ok(None) };
    let stop = Arc::<AtomicBool>::default();
    let stopped = stop.clone();
    let run = move || {
        let mut watchdog = Watchdog::new(limit, clock::mono());
        let mut fed = None;
        while !stopped.load(Ordering::Relaxed) {
            let now = clock::mono();
            if let Some((thread, still)) = watchdog.look(now, &progress.last_beats()) {
                error!(
                    thread,
                    still_ms = u64::try_from(still.as_millis()).unwrap_or(u64::MAX),
                    "a thread stands still; the watchdog starts the gateway again"
                );
                std::thread::sleep(LOG_GRACE);
                tell(&[NotifyState::WatchdogTrigger]);
                // A supervisor that doesn't know that word finds the watchdog unfed.
                return;
            }
            if fed.is_none_or(|at| now.since(at) >= limit / 4) {
                tell(&[NotifyState::Watchdog]);
                fed = Some(now);
            }
            std::thread::sleep(LOOK_MAX.min(limit / 8));
        }
    };
    std::thread::Builder::new().name("fg-watchdog".into()).stack_size(128 * 1024).spawn(run)?;
    Ok(Some(Feeder { stop }))
}

/// The gateway does what it is for, be it less than all.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The config is read again; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The gateway ends in order.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How it is, in a sentence.
pub fn status(sentence: &str) {
    tell(&[NotifyState::Status(sentence)]);
}

fn tell(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        warn!(%error, "the supervisor can't be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    /// Looks once a second for two minutes; who stood still, and at which second it was found.
    fn watch(beats: impl Fn(u64) -> Vec<(&'static str, Option<u64>)>) -> Option<(u64, &'static str)> {
        let mut watchdog = Watchdog::new(Duration::from_secs(30), at(1));
        (1..120).find_map(|second| {
            let beats: Vec<_> = beats(second).into_iter().map(|(name, last)| (name, last.map(at))).collect();
            watchdog.look(at(second), &beats).map(|(name, _)| (second, name))
        })
    }

    #[test]
    fn the_one_that_stands_still_is_found_within_the_limit_of_its_last_beat() {
        assert_eq!(watch(|second| vec![("a", Some(second)), ("b", Some(second))]), None);
        let stuck = |second: u64| vec![("a", Some(second)), ("b", Some(second.min(50))), ("c", None)];
        assert_eq!(watch(stuck), Some((80, "b")));
        let asker = |second: u64| vec![("asks", Some(second.min(51))), ("is asked", Some(second.min(50)))];
        assert_eq!(watch(asker), Some((80, "asks")));
        assert_eq!(watch(|second| vec![("a", Some(second / 20 * 20))]), None, "slow, but not still");
        assert_eq!(watch(|_| vec![("excused", None)]), None);
    }

    #[test]
    fn a_process_that_was_stopped_as_a_whole_has_the_whole_time_again() {
        let mut watchdog = Watchdog::new(Duration::from_secs(30), at(1));
        let beats = [("a", Some(at(1)))];
        assert_eq!(watchdog.look(at(10), &beats), None);
        assert_eq!(watchdog.look(at(500), &beats), None, "it has slept");
        assert_eq!(watchdog.look(at(514), &beats), None);
        assert_eq!(watchdog.look(at(529), &beats), None);
        assert_eq!(watchdog.look(at(530), &beats), Some(("a", Duration::from_secs(30))));
    }

    #[test]
    fn a_beat_is_asked_for_once_until_it_has_come() {
        let progress = Progress::default();
        let beat = progress.join("thread");
        assert!(beat.ask());
        assert!(!beat.ask());
        beat.beat();
        assert!(beat.ask());
        assert!(progress.last_beats()[0].1.is_some());
        beat.excuse();
        assert_eq!(progress.last_beats(), [("thread", None)]);
    }
}
