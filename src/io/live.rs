//! What whoever looks on is told: values as they change, four times a second at most, and how the gateway does. Lives on
//! the service thread; who looks on does so from anywhere, and loses what he is too slow for, which he is told.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::{Notify, broadcast, watch};

use super::reporter::Reporter;
use crate::health::{Snapshot, value_json};
use crate::history::History;
use crate::reading::Reading;

/// Values that change more often are told with the last.
const GATHER: Duration = Duration::from_millis(250);

/// How often those who look on are told how the gateway does.
const LOOK: Duration = Duration::from_secs(2);

/// Events that wait for whoever is slow, the same for all: at [`GATHER`] 16 s of them. At the bound the oldest go, and he
/// is told how many.
const EVENTS_MAX: usize = 64;

/// Points in one event, each of some 150 bytes (a text of 4 KiB at worst); the others follow in the next.
const POINTS_AT_ONCE_MAX: usize = 500;

/// Something that is told to all who look on.
#[derive(Clone, Debug)]
pub struct Event {
    /// `readings`, `status`.
    pub kind: &'static str,
    /// JSON in one line.
    pub data: Arc<str>,
}

/// What the history of the links may take, in bytes: a day of ten upstreams and buses. At the bound it gets shorter.
const LINKS_BYTES_MAX: usize = 256 * 1024;

/// A point by device and name.
type Name = (Arc<str>, Arc<str>);

/// Values, and who looks on.
#[derive(Debug)]
pub struct Live {
    /// What the points were like lately.
    pub history: RefCell<History>,
    /// What waited for each upstream and was delivered to it lately, and how busy each bus was.
    pub links: RefCell<History>,
    changed: RefCell<BTreeMap<Name, Json>>,
    stale: RefCell<Vec<Arc<str>>>,
    sender: broadcast::Sender<Event>,
    bell: Notify,
    is_on: bool,
}

impl Live {
    /// `is_on`: whether there is a page at all.
    #[must_use]
    pub fn new(is_on: bool) -> Self {
        Self {
            history: RefCell::default(),
            links: RefCell::new(History::new(LINKS_BYTES_MAX)),
            changed: RefCell::default(),
            stale: RefCell::default(),
            sender: broadcast::Sender::new(EVENTS_MAX),
            bell: Notify::new(),
            is_on,
        }
    }

    /// Where to look on.
    #[must_use]
    pub fn sender(&self) -> broadcast::Sender<Event> {
        self.sender.clone()
    }

    /// Takes note of a reading.
    pub(super) fn take(&self, reading: &Reading) {
        if !self.is_on {
            return;
        }
        self.history.borrow_mut().take(reading);
        if self.sender.receiver_count() == 0 {
            return;
        }
        let mut changed = self.changed.borrow_mut();
        for sample in &reading.samples {
            let value = json!({
                "device": &*reading.device,
                "point": &*sample.point,
                "value": value_json(sample.value.as_ref()),
                "quality": sample.quality.as_str(),
                "time": reading.wall.to_string(),
            });
            changed.insert((reading.device.clone(), sample.point.clone()), value);
        }
        self.bell.notify_one();
    }

    /// Takes note that nobody knows a device's values any more.
    pub(super) fn stale(&self, device: &str) {
        if self.is_on && self.sender.receiver_count() > 0 {
            self.stale.borrow_mut().push(Arc::from(device));
            self.bell.notify_one();
        }
    }

    /// Takes note of how the links do.
    pub(super) fn note(&self, snapshot: &Snapshot) {
        if !self.is_on {
            return;
        }
        let (waiting, delivered, load) = (Arc::from("waiting"), Arc::from("delivered"), Arc::from("load"));
        let mut links = self.links.borrow_mut();
        for upstream in &snapshot.upstreams {
            let at = snapshot.now.mono;
            links.note(&upstream.name, &waiting, at, number(upstream.backlog_records));
            links.note(&upstream.name, &delivered, at, number(upstream.delivered));
        }
        for bus in &snapshot.buses {
            links.note(&bus.port, &load, snapshot.now.mono, number(bus.load_percent.into()));
        }
    }

    fn send(&self, kind: &'static str, data: &Json) {
        // Nobody may look on any more.
        let _ = self.sender.send(Event { kind, data: Arc::from(data.to_string()) });
    }

    /// Tells the values that have changed.
    fn tell(&self) {
        let stale = self.stale.take();
        if !stale.is_empty() {
            let devices: Vec<&str> = stale.iter().map(|device| &**device).collect();
            self.send("stale", &json!({ "devices": devices }));
        }
        let mut changed = self.changed.take().into_values().peekable();
        while changed.peek().is_some() {
            let points: Vec<Json> = changed.by_ref().take(POINTS_AT_ONCE_MAX).collect();
            self.send("readings", &json!({ "points": points }));
        }
    }
}

/// A count for a curve.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a curve has no use for digits beyond a double's"
)]
const fn number(count: u64) -> f64 {
    count as f64
}

/// Tells those who look on until the gateway stops.
pub async fn run(reporter: Rc<Reporter>, mut stop: watch::Receiver<bool>) {
    let live = reporter.live.clone();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = live.bell.notified() => {
                tokio::time::sleep(GATHER).await;
                live.tell();
            }
            _ = look.tick() => {
                if live.sender.receiver_count() == 0 {
                    live.changed.take();
                    continue;
                }
                let snapshot = reporter.snapshot().await;
                live.note(&snapshot);
                live.send("status", &snapshot.summary());
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
