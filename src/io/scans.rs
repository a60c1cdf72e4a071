//! Scans that were asked for on the page: they go on when whoever asked looks away, and what they found stays to be looked
//! at. A scan of the command line is a conversation of its own: see `scan_control`. Lives on the service thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::{Value as Json, json};
use tokio::sync::Notify;

use super::scan_control::Scanning;
use crate::limits::{SCAN_FINDINGS_MAX, SCANS_MAX};
use crate::said;
use crate::said::Said;
use crate::time::Timestamp;

/// The scans, the newest last.
#[derive(Debug, Default)]
pub struct Scans {
    all: RefCell<VecDeque<Rc<Kept>>>,
}

/// One scan.
#[derive(Debug)]
struct Kept {
    port: String,
    by: String,
    started: Timestamp,
    about: Json,
    told: RefCell<Told>,
    stop: Notify,
}

/// What it told.
#[derive(Debug, Default)]
struct Told {
    /// `None` while it goes on.
    end: Option<&'static str>,
    error: Option<String>,
    progress: Option<Json>,
    findings: Vec<Json>,
    more: u64,
}

impl Told {
    fn take(&mut self, event: Json) {
        match event.get("event").and_then(Json::as_str) {
            Some("progress") => self.progress = Some(event),
            Some("end") => self.end = Some("done"),
            Some("failed") => {
                self.error = event.get("error").and_then(Json::as_str).map(str::to_owned);
            }
            _ if self.findings.len() >= SCAN_FINDINGS_MAX => self.more += 1,
            _ => self.findings.push(event),
        }
    }
}

/// Why a scan can't begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Full {
    /// This line is being scanned already.
    Running,
    /// So many lines are.
    Many {
        /// As many as may be.
        max: usize,
    },
}

impl Full {
    /// In words.
    #[must_use]
    pub fn said(self) -> Said {
        match self {
            Self::Running => said!("scan_running", "this line is being scanned already"),
            Self::Many { max } => {
                said!(
                    "scans_full",
                    "{max} lines are being scanned already; wait until one has ended",
                    max = max
                )
            }
        }
    }
}

impl Scans {
    /// Whether one more may begin.
    ///
    /// # Errors
    /// Why not.
    pub fn has_room(&self, port: &str) -> Result<(), Full> {
        let all = self.all.borrow();
        let running = || all.iter().filter(|scan| scan.is_running());
        if running().any(|scan| scan.port == port) {
            return Err(Full::Running);
        }
        if running().count() >= SCANS_MAX { Err(Full::Many { max: SCANS_MAX }) } else { Ok(()) }
    }

    /// Keeps what a scan that has begun tells, until its end. The earlier one of that line is forgotten, and beyond the
    /// bound the oldest that has ended.
    pub(super) fn keep(&self, port: &str, by: &str, started: Timestamp, scanning: Scanning) {
        let Scanning { about, mut events } = scanning;
        let (port, by) = (port.to_owned(), by.to_owned());
        let kept = Rc::new(Kept { port, by, started, about, told: RefCell::default(), stop: Notify::new() });
        let mut all = self.all.borrow_mut();
        all.retain(|scan| scan.port != kept.port);
        if all.len() >= SCANS_MAX
            && let Some(oldest) = all.iter().position(|scan| !scan.is_running())
        {
            all.remove(oldest);
        }
        all.push_back(kept.clone());
        drop(all);
        tokio::task::spawn_local(async move {
            let end = loop {
                tokio::select! {
                    event = events.recv() => match event {
                        Some(event) => kept.told.borrow_mut().take(event),
                        None => break "done",
                    },
                    // Dropping the events ends the scan, and gives the line back.
                    () = kept.stop.notified() => break "stopped",
                }
            };
            let mut told = kept.told.borrow_mut();
            let end = if told.error.is_some() { "failed" } else { end };
            told.end = Some(if told.end == Some("done") { "done" } else { end });
        });
    }

    /// Ends the scan of a line; false if there is none.
    #[must_use]
    pub fn stop(&self, port: &str) -> bool {
        let all = self.all.borrow();
        let running = all.iter().find(|scan| scan.port == port && scan.is_running());
        running.inspect(|scan| scan.stop.notify_one()).is_some()
    }

    /// The last scan of a line; null if there was none.
    #[must_use]
    pub fn json(&self, port: &str) -> Json {
        self.all.borrow().iter().find(|scan| scan.port == port).map_or(Json::Null, |scan| scan.json())
    }
}

impl Kept {
    fn is_running(&self) -> bool {
        self.told.borrow().end.is_none()
    }

    fn json(&self) -> Json {
        let told = self.told.borrow();
        json!({
            "kind": self.about.get("kind"),
            "about_s": self.about.get("about_s"),
            "started": self.started.to_string(),
            "by": self.by,
            "state": told.end.unwrap_or("running"),
            "error": told.error,
            "progress": told.progress,
            "findings": told.findings,
            "more": told.more,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;

    fn scanning() -> (mpsc::Sender<Json>, Scanning) {
        let (tell, events) = mpsc::channel(8);
        (tell, Scanning { about: json!({"kind": "modbus", "about_s": 3}), events })
    }

    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn findings_stay_after_the_end_and_a_scan_that_is_stopped_ends() {
        LocalSet::new()
            .run_until(async {
                let scans = Scans::default();
                assert_eq!(scans.json("a"), Json::Null);
                let (tell, scan) = scanning();
                scans.keep("a", "anna", Timestamp::from_millis(0), scan);
                assert_eq!(scans.has_room("a"), Err(Full::Running));
                tell.send(json!({"event": "progress", "done": 1})).await.unwrap();
                tell.send(json!({"event": "unit", "unit_id": 5})).await.unwrap();
                settle().await;
                let json = scans.json("a");
                assert_eq!((&json["state"], &json["by"]), (&json!("running"), &json!("anna")));
                assert_eq!(json["progress"]["done"], 1);
                assert!(scans.stop("a"));
                tell.closed().await;
                settle().await;
                let json = scans.json("a");
                assert_eq!((&json["state"], &json["findings"][0]["unit_id"]), (&json!("stopped"), &json!(5)));
                assert!(!scans.stop("a") && scans.has_room("a").is_ok());

                let (tell, scan) = scanning();
                scans.keep("a", "anna", Timestamp::from_millis(0), scan);
                tell.send(json!({"event": "failed", "error": "gone"})).await.unwrap();
                tell.send(json!({"event": "end"})).await.unwrap();
                drop(tell);
                settle().await;
                let json = scans.json("a");
                assert_eq!((&json["error"], &json["findings"]), (&json!("gone"), &json!([])));
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn so_many_scans_and_findings_are_kept_and_no_more() {
        LocalSet::new()
            .run_until(async {
                let scans = Scans::default();
                let mut tells = Vec::new();
                for number in 0..SCANS_MAX {
                    let (tell, scan) = scanning();
                    scans.keep(&number.to_string(), "", Timestamp::from_millis(0), scan);
                    tells.push(tell);
                }
                assert_eq!(scans.has_room("more"), Err(Full::Many { max: SCANS_MAX }));
                for _ in 0..SCAN_FINDINGS_MAX + 3 {
                    tells[1].send(json!({"event": "unit"})).await.unwrap();
                }
                tells.remove(0);
                settle().await;
                let json = scans.json("1");
                assert_eq!(json["findings"].as_array().unwrap().len(), SCAN_FINDINGS_MAX);
                assert_eq!((&json["more"], &scans.json("0")["state"]), (&json!(3), &json!("done")));
                scans.has_room("more").unwrap();
                scans.keep("more", "", Timestamp::from_millis(0), scanning().1);
                assert_eq!(scans.json("0"), Json::Null, "the oldest that has ended is forgotten");
                assert_eq!(scans.all.borrow().len(), SCANS_MAX);
            })
            .await;
    }
}
