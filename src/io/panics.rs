//! A panic harms what it happened in, nothing else: it is caught, told with its place, and counted. A panic is always a
//! fault of the program (or of a library that it uses). What was being worked on is given up: a connection, the
//! connection of an upstream, a serial port's line. Who must be told of that, the caller knows.
//!
//! Too many of them, and the gateway stops in order, so that whoever supervises it starts it anew: what they leave
//! behind is not worth trusting for ever.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::error;

use crate::limits::{PANICS_MAX, PANICS_WITHIN};

/// A task that has panicked begins again after this, so that it can't do nothing else.
const PAUSE: Duration = Duration::from_millis(250);

thread_local! {
    /// Where this thread has panicked last.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
    /// How many times over this thread is inside of [`Panics::catch`].
    static CAUGHT: Cell<u32> = const { Cell::new(0) };
}

/// The panics of this process.
#[derive(Debug, Default)]
pub struct Panics {
    total: AtomicU64,
    recent: Mutex<VecDeque<Instant>>,
    last: Mutex<Option<String>>,
    too_many: Notify,
}

impl Panics {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        note_places();
        Self::default()
    }

    /// How many there were since the start.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The place of the last one in the program's text.
    #[must_use]
    pub fn last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Completes when the gateway had better stop. One waits for it.
    pub async fn too_many(&self) {
        self.too_many.notified().await;
    }

    /// Does the work; `None` if it panics. Then the caller judges what it has left half done. `what` is for the log.
    pub fn catch<T>(&self, what: &'static str, work: impl FnOnce() -> T) -> Option<T> {
        CAUGHT.set(CAUGHT.get() + 1);
        let result = catch_unwind(AssertUnwindSafe(work));
        CAUGHT.set(CAUGHT.get() - 1);
        match result {
            Ok(value) => Some(value),
            Err(cause) => {
                self.note(what, words(&*cause));
                None
            }
        }
    }

    /// The same for work that waits.
    pub async fn catch_async<F: Future>(
        &self,
        what: &'static str,
        mut work: Pin<&mut F>,
    ) -> Option<F::Output> {
        poll_fn(|cx| match self.catch(what, || work.as_mut().poll(cx)) {
            Some(Poll::Ready(value)) => Poll::Ready(Some(value)),
            Some(Poll::Pending) => Poll::Pending,
            None => Poll::Ready(None),
        })
        .await
    }

    /// Does the work of a task that must not end, again and again while it panics.
    pub async fn keep<F: Future<Output = ()>>(&self, what: &'static str, work: impl Fn() -> F) {
        while self.catch_async(what, pin!(work())).await.is_none() {
            self.pause().await;
        }
    }

    /// A rest after a panic, for who would only meet the next.
    pub async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
    }

    /// What was cut short was no single connection's work, and can't be put right while running.
    pub fn give_up(&self) {
        error!("what was cut short concerns everybody: the gateway stops in order, to be started anew");
        self.too_many.notify_one();
    }

    fn note(&self, what: &'static str, words: &'static str) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let place = PLACE.with_borrow(Clone::clone);
        error!(
            what,
            place, words, "a panic: a fault of this program, please report it; what was at work is given up"
        );
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        let now = Instant::now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|at| now.duration_since(*at) < PANICS_WITHIN);
        recent.push_back(now);
        if recent.len() > PANICS_MAX {
            recent.clear();
            error!(
                within_s = PANICS_WITHIN.as_secs(),
                "more than {PANICS_MAX} panics: the gateway stops in order, to be started anew"
            );
            self.too_many.notify_one();
        }
    }
}

/// What a panic says, where that stands in the program's text. Words made while running may quote a message or a
/// password.
fn words(cause: &(dyn Any + Send)) -> &'static str {
    cause.downcast_ref::<&'static str>().copied().unwrap_or_default()
}

/// Has each panic remember its place. One that is caught here is told by the log alone; of the others Rust tells as
/// ever.
fn note_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            PLACE.with_borrow_mut(|last| *last = place);
            if CAUGHT.get() == 0 {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_counted_and_known_by_its_place() {
        let panics = Panics::new();
        assert_eq!(panics.catch("work", || 7), Some(7));
        assert_eq!((panics.total(), panics.last()), (0, None));
        let line = line!() + 1;
        assert_eq!(panics.catch("work", || panic!("in the test")), None::<()>);
        assert_eq!(panics.total(), 1);
        let place = panics.last().unwrap();
        assert!(place.contains(&format!("panics.rs:{line}:")), "{place}");
    }

    #[tokio::test]
    async fn a_task_begins_again_and_too_many_panics_end_the_gateway() {
        let panics = Panics::new();
        let begun = Cell::new(0);
        panics
            .keep("task", || async {
                begun.set(begun.get() + 1);
                tokio::task::yield_now().await;
                assert!(begun.get() > 2, "not yet");
            })
            .await;
        assert_eq!((begun.get(), panics.total()), (3, 2));
        for _ in 2..PANICS_MAX {
            panics.catch("work", || panic!("again"));
        }
        let too_many = |panics: &'static Panics| async {
            tokio::time::timeout(Duration::from_millis(1), panics.too_many()).await.is_ok()
        };
        let panics: &'static Panics = Box::leak(Box::new(panics));
        assert!(!too_many(panics).await);
        panics.catch("work", || panic!("once more"));
        assert!(too_many(panics).await);
    }

    #[test]
    fn words_that_are_made_while_running_are_not_told() {
        let secret = "hunter2";
        let cause = catch_unwind(|| panic!("can't use {secret}")).unwrap_err();
        assert_eq!(words(&*cause), "");
        assert_eq!(words(&*catch_unwind(|| panic!("plain")).unwrap_err()), "plain");
    }
}
