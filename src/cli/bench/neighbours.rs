//! Who else bothers the broker while a load runs: dead and slow readers, halves of messages, endless connects, retained
//! messages for one who asks again and again. They have threads of their own, and what they get is counted nowhere.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::link::{Greeting, Identity};
use super::scenario::{Beside, Load};
use super::target::Target;
use crate::mqtt::{Packet, PacketId, Properties, Publish, QoS};

/// A slow reader takes this much, so often.
const SLOW_BYTES: usize = 4_096;
const SLOW_PAUSE: Duration = Duration::from_millis(20);

/// Who breaks off within a message, and the bytes of it that are sent.
const DEAD_PUBLISHERS: u32 = 10;
const HALF: usize = 40;

/// Subscriptions of one bystander.
const FILTERS_EACH: u32 = 1_000;

/// Retained messages that are published before an answer is waited for.
const RETAINED_AT_ONCE: u32 = 20;

/// All who are beside a load, until they are dropped.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    stop: Arc<AtomicBool>,
    /// How often the busy one has done what it does.
    rounds: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
    quiet: Vec<Greeting>,
    /// Retained messages to be cleared.
    retained: u32,
}

impl Neighbours {
    /// Puts them there.
    pub(super) fn move_in(
        target: &Arc<Target>,
        load: &Load,
        retained: u32,
        prefix: &str,
    ) -> Result<Self, String> {
        let mut all = Self::default();
        for at in (0..load.filters).step_by(usize::try_from(FILTERS_EACH).unwrap_or(1)) {
            let many = at..load.filters.min(at + FILTERS_EACH);
            let filters: Vec<String> = many.map(|at| format!("{prefix}-other/{at}")).collect();
            all.quiet.push(greet(target, &format!("{prefix}-b{at}"), &filters)?);
        }
        let everything = [format!("{prefix}/#")];
        match load.beside {
            Beside::Nobody => {}
            Beside::DeadReader => all.quiet.push(greet(target, &format!("{prefix}-dead"), &everything)?),
            Beside::SlowReader => {
                let reader = greet(target, &format!("{prefix}-slow"), &everything)?;
                all.start(move |stop, rounds| read_slowly(reader, stop, rounds));
            }
            Beside::DeadPublishers => {
                for at in 0..DEAD_PUBLISHERS {
                    let mut publisher = greet(target, &format!("{prefix}-half{at}"), &[])?;
                    publisher.send_bytes(target.version, &message(&format!("{prefix}/half"), false), HALF)?;
                    all.quiet.push(publisher);
                }
            }
            Beside::Connects => {
                let (target, name) = (Arc::clone(target), format!("{prefix}-c"));
                all.start(move |stop, rounds| {
                    while !stop.load(Ordering::Relaxed) && greet(&target, &name, &[]).is_ok() {
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            Beside::Retained => {
                let count = retained;
                all.retained = count;
                publish_retained(target, prefix, count, false)?;
                let (target, prefix) = (Arc::clone(target), prefix.to_owned());
                all.start(move |stop, rounds| get_retained(&target, &prefix, count, stop, rounds));
            }
        }
        Ok(all)
    }

    fn start(&mut self, work: impl FnOnce(&AtomicBool, &AtomicU64) + Send + 'static) {
        let (stop, rounds) = (Arc::clone(&self.stop), Arc::clone(&self.rounds));
        self.threads.push(thread::spawn(move || work(&stop, &rounds)));
    }

    /// What the busy one has done, by now.
    pub(super) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Lets them go, and takes away what they have left behind.
    pub(super) fn move_out(mut self, target: &Target, prefix: &str) -> Result<(), String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that has panicked has said so.
            let _ = thread.join();
        }
        if self.retained > 0 {
            publish_retained(target, prefix, self.retained, true)?;
        }
        Ok(())
    }
}

fn greet(target: &Target, client_id: &str, filters: &[String]) -> Result<Greeting, String> {
    Greeting::open(target, Identity { client_id, clean: true }, filters, QoS::AtMostOnce)
}

fn read_slowly(mut reader: Greeting, stop: &AtomicBool, rounds: &AtomicU64) {
    let mut chunk = [0; SLOW_BYTES];
    // Without it the wait for a message that never comes would outlast the load.
    if reader.stream.set_read_timeout(Some(SLOW_PAUSE)).is_err() {
        return;
    }
    while !stop.load(Ordering::Relaxed) {
        match reader.stream.read(&mut chunk) {
            Ok(0) => return,
            Ok(_) => thread::sleep(SLOW_PAUSE),
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

fn topic_of_retained(prefix: &str, at: u32) -> String {
    format!("{prefix}-retained/{}/{at}", at % 100)
}

fn publish_retained(target: &Target, prefix: &str, count: u32, clears: bool) -> Result<(), String> {
    let mut publisher = greet(target, &format!("{prefix}-retains"), &[])?;
    let mut waiting = 0;
    for at in 0..count {
        publisher.send(target.version, &message(&topic_of_retained(prefix, at), clears))?;
        waiting += 1;
        while waiting >= RETAINED_AT_ONCE || (at + 1 == count && waiting > 0) {
            publisher.wait(target.version, |packet| matches!(packet, Packet::PubAck(_)).then_some(Ok(())))?;
            waiting -= 1;
        }
    }
    Ok(())
}

/// A retained message with QoS 1; without a payload it clears.
fn message(topic: &str, clears: bool) -> Packet<'_> {
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic,
        packet_id: PacketId::new(1),
        properties: Properties::EMPTY,
        payload: if clears { b"" } else { &[b'r'; 64] },
    })
}

fn get_retained(target: &Target, prefix: &str, count: u32, stop: &AtomicBool, rounds: &AtomicU64) {
    let filters = [format!("{prefix}-retained/#")];
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut reader) = greet(target, &format!("{prefix}-gets"), &filters) else { return };
        for _ in 0..count {
            let got =
                reader.wait(target.version, |packet| matches!(packet, Packet::Publish(_)).then_some(Ok(())));
            if got.is_err() || stop.load(Ordering::Relaxed) {
                return;
            }
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}
