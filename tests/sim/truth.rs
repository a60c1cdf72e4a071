//! What was promised, what came of it, and whether the two agree.

use std::collections::{BTreeMap, HashMap};

use fieldgate::bridge::DrainOrder;
use fieldgate::message::Message;

use super::world::World;

/// A message's identity: its topic and its count.
pub type Id = String;

/// What is known of one message.
#[derive(Debug, Default)]
struct Told {
    topic: String,
    /// Its place among those of its topic.
    place: u64,
    qos: u8,
    is_reading: bool,
    /// Its publisher got PUBACK or PUBREC.
    acknowledged: bool,
    /// Its publisher was told that it is not taken.
    rejected: bool,
    /// It has been on disk in the outbox.
    committed: bool,
    /// It went with the oldest quarter of the outbox.
    dropped: bool,
    /// Upstream refuses it for good.
    refused: bool,
    /// Its publisher has sent it more than once.
    resent: bool,
    /// It was neither on disk nor acknowledged when the process died.
    died: bool,
    at: u64,
}

#[derive(Debug, Default)]
pub struct Truth {
    messages: BTreeMap<Id, Told>,
    counts: HashMap<String, u64>,
    /// Ids as they came to upstream.
    taken: Vec<Id>,
    times: HashMap<Id, u64>,
    /// How often messages may come twice upstream.
    pub duplicates_allowed: u64,
    /// Dropped by the bridge, since the disk did not take them.
    pub memory_full: u64,
    /// The orders of upstream: QoS, acknowledged, whether it may be lost.
    pub orders: BTreeMap<Id, Order>,
}

#[derive(Debug)]
pub struct Order {
    pub qos: u8,
    pub acknowledged: bool,
    /// How often the process died while it was under way.
    pub crashes: u64,
}

/// The first word; for a reading its topic and number.
pub fn id_of(topic: &str, payload: &[u8]) -> Id {
    let text = std::str::from_utf8(payload).unwrap();
    match text.split_once(r#""seq":""#) {
        Some((_, rest)) => format!("{topic}:{}", rest.split('"').next().unwrap()),
        None => text.split(' ').next().unwrap().to_owned(),
    }
}

/// The readings of an array; of any other payload what it is.
pub fn ids_of(topic: &str, payload: &[u8]) -> Vec<Id> {
    if payload.first() != Some(&b'[') {
        return vec![id_of(topic, payload)];
    }
    let all: Vec<serde_json::Value> = serde_json::from_slice(payload).unwrap();
    all.iter().map(|reading| format!("{topic}:{}", reading["seq"].as_str().unwrap())).collect()
}

pub fn id_of_message(message: &Message) -> Id {
    match &message.reading {
        Some(reading) => format!("{}:{}", message.topic, reading.seq),
        None => id_of(&message.topic, &message.payload),
    }
}

impl Truth {
    /// The next message of a topic: its identity.
    pub fn publish(&mut self, topic: &str, qos: u8, at: u64) -> Id {
        let place = self.place(topic);
        let id = format!("{topic}:{place}");
        let told = Told { topic: topic.to_owned(), place, qos, at, ..Told::default() };
        self.messages.insert(id.clone(), told);
        id
    }

    pub fn reading(&mut self, topic: &str, id: Id, at: u64) {
        let place = self.place(topic);
        let told = Told { topic: topic.to_owned(), place, qos: 1, is_reading: true, at, ..Told::default() };
        self.messages.insert(id, told);
    }

    fn place(&mut self, topic: &str) -> u64 {
        let count = self.counts.entry(topic.to_owned()).or_default();
        *count += 1;
        *count
    }

    fn told(&mut self, id: &str) -> &mut Told {
        self.messages.get_mut(id).unwrap_or_else(|| panic!("nobody has published {id}"))
    }

    pub fn acknowledged(&mut self, id: &str) {
        self.told(id).acknowledged = true;
    }

    pub fn rejected(&mut self, id: &str) {
        self.told(id).rejected = true;
    }

    pub fn resent(&mut self, id: &str) {
        self.told(id).resent = true;
        // It may have been forwarded before, and be so again.
        self.duplicates_allowed += 1;
    }

    pub fn committed(&mut self, id: &str) {
        self.told(id).committed = true;
    }

    pub fn dropped(&mut self, id: &str) {
        self.told(id).dropped = true;
    }

    pub fn refused(&mut self, id: &str) {
        self.told(id).refused = true;
    }

    pub fn is_refused(&self, id: &str) -> bool {
        self.messages[id].refused
    }

    pub fn is_taken(&self, id: &str) -> bool {
        self.times.contains_key(id)
    }

    pub fn taken(&mut self, id: Id) {
        self.told(&id);
        *self.times.entry(id.clone()).or_default() += 1;
        self.taken.push(id);
    }
}

impl World {
    /// The process has died: what was in its memory alone may be lost, if nobody was promised anything.
    pub fn note_died(&mut self) {
        let interval = self.bridge_config().commit_interval.as_micros() as u64;
        for (id, told) in &mut self.truth.messages {
            if self.truth.times.contains_key(id) || told.committed || (told.died && told.is_reading) {
                continue;
            }
            told.died = true;
            let age = self.time - told.at;
            let excused = told.refused || told.qos == 0 || self.plan.has_bad_disk();
            assert!(
                !told.is_reading || excused || age <= interval + 100_000,
                "the reading {id} was not on disk after {age} µs"
            );
        }
        let left = self.disk.logs.iter().flat_map(|log| {
            log.records.iter().filter(|(no, _)| !log.is_done(**no)).map(|(_, stored)| stored)
        });
        for id in left.map(|stored| id_of_message(&fieldgate::record::decode(stored).unwrap())) {
            self.truth.duplicates_allowed += u64::from(self.truth.times.contains_key(&id));
        }
        for order in self.truth.orders.values_mut().filter(|order| !order.acknowledged || order.qos == 2) {
            order.crashes += 1;
        }
    }

    /// When all is at rest.
    pub fn check_end(&self) {
        let mut unexplained = 0;
        for (id, told) in &self.truth.messages {
            if self.truth.is_taken(id) || told.refused || told.dropped || told.qos == 0 || told.rejected {
                continue;
            }
            assert!(!told.acknowledged, "{id} is lost, though it was acknowledged: {told:?}");
            assert!(!told.committed, "{id} is lost, though it was on disk: {told:?}");
            if told.is_reading && !told.died {
                unexplained += 1;
            } else {
                assert!(told.is_reading, "{id} is lost, and its publisher waits for ever: {told:?}");
            }
        }
        let counted = self.truth.memory_full;
        assert!(unexplained <= counted, "{unexplained} readings are lost, {counted} are counted");
        assert!(counted == 0 || self.plan.has_bad_disk(), "{counted} dropped with a disk that works");
        if self.plan.drain == DrainOrder::OldestFirst {
            self.check_order();
        }
        let twice: u64 = self.truth.times.values().map(|times| times - 1).sum();
        let allowed = self.truth.duplicates_allowed;
        assert!(twice <= allowed, "{twice} duplicates upstream, {allowed} are allowed");
        self.check_lan();
        self.check_orders();
    }

    /// The first copies come in the order in which they were published.
    fn check_order(&self) {
        let mut last: HashMap<&str, u64> = HashMap::new();
        let mut seen = std::collections::HashSet::new();
        for id in &self.truth.taken {
            let told = &self.truth.messages[id];
            // QoS 0 that a cut took may come from disk again. What the bridge had to drop while the disk failed, or the
            // outbox at its bound, its publisher may send again, behind what was sent since.
            let was_dropped = told.dropped || self.truth.memory_full > 0;
            // Readings that were refused together come again, each by itself.
            let come_again = told.is_reading && self.plan.batch && self.plan.refuses;
            let behind = told.qos == 0 || (told.resent && was_dropped) || come_again;
            if !seen.insert(id) || behind {
                continue;
            }
            let before = last.insert(&told.topic, told.place).unwrap_or(0);
            assert!(told.place > before, "{id} comes after {before}");
        }
    }

    /// Each persistent subscriber has all that was acknowledged; what was published with QoS 2, once.
    fn check_lan(&self) {
        for subscriber in self.clients.iter().filter(|client| client.subscribes()) {
            let mut times: HashMap<&str, u64> = HashMap::new();
            for id in &subscriber.got {
                *times.entry(id).or_default() += 1;
            }
            for (id, told) in
                self.truth.messages.iter().filter(|(_, told)| told.acknowledged && !told.rejected)
            {
                let times = times.get(id.as_str()).copied().unwrap_or(0);
                assert!(times >= 1, "{id} is lost on the LAN for {}: {told:?}", subscriber.name);
                let once = told.qos == 2 && subscriber.qos == 2;
                assert!(!once || times == 1, "{id} came {times} times to {}: {told:?}", subscriber.name);
            }
        }
    }

    fn check_orders(&self) {
        for (id, order) in &self.truth.orders {
            for subscriber in self.clients.iter().filter(|client| client.subscribes()) {
                let times = subscriber.got.iter().filter(|got| *got == id).count() as u64;
                assert!(times >= 1 || !order.acknowledged, "the order {id} is lost for {}", subscriber.name);
                let most = 1 + order.crashes;
                let once = order.qos == 2 && subscriber.qos == 2;
                assert!(!once || times <= most, "the order {id} came {times} times to {}", subscriber.name);
            }
        }
    }
}
