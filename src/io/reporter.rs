//! Gathers snapshots of all parts, publishes health and status from them, and answers the control socket.

use std::cell::{Cell, OnceCell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot, watch};
use tracing::{info, warn};

use super::access::{AccessErrors, KnownUsers};
use super::certificate_dates::Identity;
use super::change::Desk;
use super::clock::Clock;
use super::commands::CommandDesk;
use super::config_mqtt::RemoteDesk;
use super::gpio::Sim;
use super::journal::Journal;
use super::links::Links;
use super::listener::ListenerStatus;
use super::live::Live;
use super::lock::Locked;
use super::log::Logs;
use super::mailbox::Mailbox;
use super::memory::rss_bytes;
use super::operations::Reloaded;
use super::page_orders::PageOrders;
use super::panics::Panics;
use super::readings::Readings;
use super::scans::Scans;
use super::shard::ToBroker;
use super::source::Sources;
use super::store_task::{DiskStatus, Job};
use super::supervisor;
use super::upstream::SharedBridge;
use crate::bridge;
use crate::events::Events;
use crate::expiry::{self, Dated, What};
use crate::gpio::Bank;
use crate::health::{self, Page, Snapshot, UpstreamCertificate};
use crate::message::Message;
use crate::mqtt::{PropertiesBuf, QoS};
use crate::people::People;
use crate::sensor;
use crate::store::{Alarm, Usage};
use crate::time::{BootId, Now};

/// A burst of changes makes one message.
const SETTLE: Duration = Duration::from_millis(200);

/// A thread that doesn't answer within this is left out of the snapshot: a stalled disk must not silence health.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// Where the snapshots come from. Lives on the service thread.
#[derive(Debug)]
pub struct Reporter {
    /// The gateway's id.
    pub gateway: String,
    /// For people.
    pub site: RefCell<Option<String>>,
    /// The gateway's base topic.
    pub base: Arc<str>,
    /// This start's number.
    pub run: u64,
    /// The kernel's identifier of this boot.
    pub boot: BootId,
    /// The store's identity.
    pub instance: String,
    /// When the gateway started.
    pub started: Now,
    /// What readings come from.
    pub sources: Sources,
    /// Scans that the page asked for.
    pub scans: Rc<Scans>,
    /// The machine of the GPIO lines.
    pub gpio: Rc<RefCell<Bank>>,
    /// The simulated ones of them.
    pub sim: Rc<Sim>,
    /// Where commands come in.
    pub desk: Rc<CommandDesk>,
    /// The upstreams.
    pub links: Rc<Links>,
    /// The listeners.
    pub listeners: Arc<Mutex<Vec<ListenerStatus>>>,
    /// To the broker thread.
    pub broker: Arc<Mailbox<ToBroker>>,
    /// To the store thread.
    pub jobs: mpsc::Sender<Job>,
    /// Why there is no store.
    pub store_error: Option<String>,
    /// What came of the provisioning file, in words.
    pub provisioned: Option<String>,
    /// The machine that the data directory was made on, if that was another one.
    pub moved_from: Option<String>,
    /// Why the broker's state is not kept on disk although it should be.
    pub volatile_state: Option<String>,
    /// How the store thread is getting on.
    pub disk: Arc<Mutex<DiskStatus>>,
    /// What is wrong with the files that say who may do what.
    pub access_errors: Rc<RefCell<AccessErrors>>,
    /// The names of the users who may log in on the LAN.
    pub lan_users: Rc<RefCell<Vec<KnownUsers>>>,
    /// Where readings go; set once it is there.
    pub readings: OnceCell<Rc<Readings>>,
    /// Readings that the broker thread had no room for.
    pub readings_dropped: Rc<Cell<u64>>,
    /// Messages that the service thread had no room for.
    pub forwards_dropped: Arc<AtomicU64>,
    /// Where the store is.
    pub data_dir: PathBuf,
    /// What came of reading the config again.
    pub reload: RefCell<ReloadNews>,
    /// Where the config is changed; set once it is there, and only where the config came from a file.
    pub changes: OnceCell<Rc<Desk>>,
    /// Rung when status has something new to say.
    pub changed: Rc<Notify>,
    /// The clocks.
    pub clock: Clock,
    /// Which ends of certificates were told.
    pub told_ends: RefCell<expiry::Watch>,
    /// What the gateway says of itself.
    pub logs: Option<Logs>,
    /// Who catches panics.
    pub panics: Arc<Panics>,
    /// What the points were like lately, and whoever looks on.
    pub live: Rc<Live>,
    /// What has happened lately.
    pub events: Arc<Mutex<Events>>,
    /// Who may use the page.
    pub people: Arc<Mutex<People>>,
    /// How the page does.
    pub page: Arc<Mutex<Page>>,
    /// Where requests about the config come in over MQTT.
    pub remote: Rc<RemoteDesk>,
    /// To the page's thread.
    pub page_orders: PageOrders,
    /// Rung when somebody wants the gateway to be started again.
    pub restart: Rc<Notify>,
}

/// What status says about the config on disk.
#[derive(Clone, Debug, Default)]
pub struct ReloadNews {
    /// Why it isn't what runs.
    pub error: Option<String>,
    /// What of it counts at the next start.
    pub next_start: Vec<String>,
    /// What goes back unless it is confirmed.
    pub pending: Option<String>,
}

impl Reporter {
    /// Where events are written.
    #[must_use]
    pub fn journal(&self) -> Journal {
        Journal::new(self.events.clone(), self.clock.clone())
    }

    /// Looks at everything.
    pub async fn snapshot(&self) -> Snapshot {
        let (stats, stats_answer) = oneshot::channel();
        self.broker.force(ToBroker::Stats(stats));
        let (usage, usage_answer) = oneshot::channel();
        // A store thread that is gone doesn't answer: the time limit covers it.
        let _ = self.jobs.send(Job::Usage(usage));
        let answers = async { tokio::join!(answer(stats_answer), answer(usage_answer)) };
        let (broker, usage) = answers.await;
        let usage = usage.unwrap_or_default();
        let now = self.clock.now();
        let links = self.links.all();
        let bridges = links.iter().map(|bridge| bridge.machine.borrow().status(now));
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let page = self.page.locked().clone();
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Snapshot {
            now,
            clock_source: self.clock.source(),
            gateway: self.gateway.clone(),
            site: self.site.borrow().clone(),
            uptime: now.mono.since(self.started.mono),
            run: self.run,
            boot: Some(self.boot).filter(|boot| *boot != BootId::default()),
            ports: self.sources(now),
            buses: self.sources.buses(now),
            gpio: self.gpio.borrow().status(now.mono),
            commands: self.desk.counts(),
            upstreams: bridges.collect(),
            outboxes: self.links.outboxes().iter().map_while(|id| usage.get(id)).map(outbox).collect(),
            broker,
            dates: listeners
                .iter()
                .flat_map(|listener| {
                    listener.dates.iter().map(|dated| (listener.name.to_string(), dated.clone()))
                })
                .chain(page.dates.iter().map(|dated| ("web".to_owned(), dated.clone())))
                .collect(),
            listeners: listeners
                .into_iter()
                .map(|listener| (listener.name.to_string(), listener.address.to_string(), listener.error))
                .collect(),
            upstream_certificates: links.iter().flat_map(certificates).collect(),
            access_errors: self.access_errors.borrow().in_words(),
            config_error: self.reload.borrow().error.clone(),
            next_start: self.reload.borrow().next_start.clone(),
            config_pending: self.reload.borrow().pending.clone(),
            store_error: self.store_error.clone(),
            moved_from: self.moved_from.clone(),
            provisioned: self.provisioned.clone(),
            volatile_state: self.volatile_state.clone(),
            state_error: disk.state_error,
            disk_busy: disk.busy_since.map(|since| now.mono.since(since)),
            handover_dropped: self.readings_dropped.get() + self.forwards_dropped.load(Ordering::Relaxed),
            panics: self.panics.total(),
            last_panic: self.panics.last(),
            page,
            rss_bytes: rss_bytes(),
            disk_free_bytes: disk_free_bytes(&self.data_dir),
        }
    }

    /// The ports, and whatever else readings come from.
    fn sources(&self, now: Now) -> Vec<sensor::PortStatus> {
        self.sources.status(now).into_iter().map(|status| self.as_published(status)).collect()
    }

    /// Whatever bytes come over: ports, in the order of the config, and programs.
    #[must_use]
    pub fn lines(&self) -> Vec<sensor::PortStatus> {
        self.sources.lines(self.clock.now())
    }

    /// The last reading of each device with the number that was published last, as receivers know it. How many were taken
    /// stands beside it.
    fn as_published(&self, mut port: sensor::PortStatus) -> sensor::PortStatus {
        let Some(readings) = self.readings.get() else { return port };
        let machine = readings.machine.borrow();
        for device in &mut port.devices {
            if let Some(last) = &mut device.last {
                last.seq.number = machine.published(&device.name);
            }
        }
        drop(machine);
        port
    }

    /// Keeps what came of reading the config again. What counts at the next start stays known while the file is
    /// broken.
    pub fn note_reload(&self, outcome: &Reloaded) {
        let mut news = self.reload.borrow_mut();
        news.error = outcome.mistakes.first().map(|first| match outcome.mistakes.len() {
            1 => first.clone(),
            count => format!("{first}; {} more mistakes", count - 1),
        });
        if news.error.is_none() {
            news.next_start.clone_from(&outcome.next_start);
        }
        drop(news);
        self.changed.notify_one();
    }

    /// Publishes status and health on the LAN and to each upstream.
    pub async fn publish(&self) {
        let snapshot = self.snapshot().await;
        self.tell_ends(&snapshot);
        self.live.note(&snapshot);
        self.publish_lan_status(true, snapshot.state());
        supervisor::status(&snapshot.sentence());
        let topic: Arc<str> = Arc::from(format!("{}/health", self.base));
        let payload = Bytes::from(snapshot.health().to_string());
        self.broker.force(ToBroker::Local(retained(topic.clone(), payload.clone())));
        for (index, bridge) in self.links.all().iter().enumerate() {
            let now = self.clock.now();
            let degraded = !snapshot.problems_besides(Some(index)).is_empty();
            let slot = bridge::Input::Slot { topic: topic.clone(), payload: payload.clone() };
            let mut machine = bridge.machine.borrow_mut();
            machine.handle(now, bridge::Input::Health { degraded });
            machine.handle(now, slot);
            drop(machine);
            bridge.bell.notify_one();
        }
    }

    /// Says in time when the certificates of connections to upstreams end, each stage once.
    fn tell_ends(&self, snapshot: &Snapshot) {
        let dated: Vec<Dated> = snapshot.upstream_certificates.iter().map(|one| one.dated.clone()).collect();
        for reason in self.told_ends.borrow_mut().due(&dated, snapshot.now.wall) {
            warn!(reason, "a certificate of a connection to an upstream ends");
        }
    }

    /// Publishes `<base>/status` on the LAN.
    pub fn publish_lan_status(&self, online: bool, health: &str) {
        let time = self.clock.now().wall;
        let mut payload = health::lan_status(online, health, self.run, &self.instance, time);
        if let (Some(words), Some(payload)) = (&self.provisioned, payload.as_object_mut()) {
            payload.insert("provisioning".to_owned(), words.clone().into());
        }
        let topic: Arc<str> = Arc::from(format!("{}/status", self.base));
        self.broker.force(ToBroker::Local(retained(topic, Bytes::from(payload.to_string()))));
    }
}

/// Publishes every `interval`, and soon after each change, until the gateway stops.
pub async fn run(
    reporter: Rc<Reporter>,
    mut interval: watch::Receiver<Duration>,
    changed: Rc<Notify>,
    mut stop: watch::Receiver<bool>,
) {
    let mut trust = tokio::time::Instant::now();
    let mut due = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = changed.notified() => tokio::time::sleep(SETTLE).await,
            Ok(()) = interval.changed() => {}
            () = tokio::time::sleep_until(trust) => {
                let has_changed = reporter.clock.refresh_trust();
                trust = tokio::time::Instant::now() + reporter.clock.trust_interval();
                if !has_changed {
                    continue;
                }
                let clock = reporter.clock.now().trust.as_str();
                info!(clock, source = %reporter.clock.source(), "another word on whether the clock is right");
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
        reporter.publish().await;
        due = tokio::time::Instant::now() + *interval.borrow_and_update();
    }
}

fn certificates(bridge: &SharedBridge) -> Vec<UpstreamCertificate> {
    let upstream = bridge.machine.borrow().name().to_string();
    let seen = bridge.certificates.borrow();
    let one = |what, identity: &Identity, file: &str, error: Option<&String>| UpstreamCertificate {
        upstream: upstream.clone(),
        dated: Dated { what, file: file.to_owned(), ends: identity.ends },
        subject: identity.subject.clone(),
        issuer: identity.issuer.clone(),
        error: error.cloned(),
    };
    let server = seen.server.iter().map(|identity| one(What::Server, identity, &identity.subject, None));
    let client = seen
        .client
        .iter()
        .map(|(identity, file)| one(What::Client, identity, file, seen.client_error.as_ref()));
    server.chain(client).collect()
}

fn outbox(usage: &Usage) -> health::Outbox {
    health::Outbox {
        disk_bytes: usage.disk_bytes,
        bytes_max: usage.bytes_max,
        fill_percent: usage.fill_percent,
        is_high: usage.alarm > Alarm::None,
        quarantined: usage.quarantined,
        set_aside: usage.set_aside,
        damaged_segments: usage.damage.segments,
        damaged_records: usage.damage.records,
    }
}

async fn answer<T>(answer: oneshot::Receiver<T>) -> Option<T> {
    tokio::time::timeout(ANSWER_MAX, answer).await.ok()?.ok()
}

fn retained(topic: Arc<str>, payload: Bytes) -> Message {
    Message {
        topic,
        payload,
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: PropertiesBuf::new(),
        reading: None,
    }
}

fn disk_free_bytes(dir: &std::path::Path) -> Option<u64> {
    let usage = rustix::fs::statvfs(dir).ok()?;
    Some(usage.f_bavail.saturating_mul(usage.f_frsize))
}
