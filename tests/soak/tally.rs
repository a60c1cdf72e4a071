//! What arrived: each source numbers what it sends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{Gateway, client, eventually, publish};

/// What came of one source: the numbers below this, in order; and how often one came again.
#[derive(Clone, Copy, Default)]
pub(crate) struct Came {
    next: usize,
    again: usize,
}

/// The messages of a subscriber, counted by topic.
#[derive(Default)]
pub(crate) struct Tally(Mutex<BTreeMap<String, Came>>);

impl Tally {
    #[track_caller]
    pub(crate) fn count(&self, topic: &str, number: usize) {
        let mut all = self.0.lock().unwrap();
        let came = all.entry(topic.to_owned()).or_default();
        assert!(number <= came.next, "{topic}: {number} came before {}", came.next);
        if number < came.next {
            came.again += 1;
        } else {
            came.next += 1;
        }
    }

    /// Each of so many topics has had all its numbers. Panics once one came out of its order.
    pub(crate) fn has(&self, topics: usize, each: usize) -> bool {
        let all = self.0.lock().expect("each topic's numbers come in their order");
        all.len() == topics && all.values().all(|came| came.next == each)
    }

    pub(crate) fn again(&self) -> usize {
        self.0.lock().unwrap().values().map(|came| came.again).sum()
    }

    pub(crate) fn behind(&self, each: usize) -> Vec<(String, usize)> {
        let all = self.0.lock().unwrap();
        all.iter()
            .filter(|(_, came)| came.next != each)
            .map(|(topic, came)| (topic.clone(), came.next))
            .collect()
    }
}

/// Counts what comes upstream: readings by their device, the LAN's by their topic.
pub(crate) struct Upstream {
    child: Child,
    pub(crate) readings: Arc<Tally>,
    pub(crate) messages: Arc<Tally>,
}

impl Upstream {
    pub(crate) fn new(port: u16) -> Self {
        let mut command = client("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-F", "%t %p"]);
        command.args(["-t", &Gateway::topic("data/#"), "-t", "plant/#", "-t", "begin"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (readings, messages) = (Arc::<Tally>::default(), Arc::<Tally>::default());
        let begun = Arc::new(AtomicBool::new(false));
        let kept = (readings.clone(), messages.clone(), begun.clone());
        std::thread::spawn(move || {
            let (readings, messages, begun) = kept;
            for line in lines.map_while(Result::ok) {
                let (topic, payload) = line.split_once(' ').unwrap();
                if topic == "begin" {
                    begun.store(true, Ordering::SeqCst);
                } else if topic == "plant/end" {
                    // Told to those of the LAN; readings may still come.
                } else if let Ok(number) = payload.parse() {
                    messages.count(topic, number);
                } else {
                    let reading: serde_json::Value = serde_json::from_str(payload).unwrap();
                    let number = reading["values"]["n"].as_u64().unwrap();
                    readings.count(topic, number as usize);
                }
            }
        });
        eventually("upstream is subscribed to", || {
            publish(port, "begin", "x");
            begun.load(Ordering::SeqCst).then_some(())
        });
        Self { child, readings, messages }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
