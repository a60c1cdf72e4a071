//! What each upstream needs: its bridge, where it can be reached, and the task that serves it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::{Notify, mpsc as answers, watch};
use tokio::task::{JoinHandle as Task, spawn_local};
use tracing::error;

use super::ground::{self, places as stores};
use crate::bridge::{self, Backlog, Bridge, Notes};
use crate::config::{self, Config, Upstream};
use crate::io::clock::Clock;
use crate::io::dial::{Target, Way};
use crate::io::files;
use crate::io::mailbox::Mailbox;
use crate::io::own_certificate::OwnCertificate;
use crate::io::panics::Panics;
use crate::io::shard::ToBroker;
use crate::io::store_task::{Answer, Job};
use crate::io::upstream::{self, SharedBridge};
use crate::message::OutboxId;
use crate::reading::Run;
use crate::store::OutboxState;
use crate::time::BootId;

type AnswerSenders = Vec<answers::UnboundedSender<(OutboxId, Answer)>>;
type AnswerReceivers = Vec<answers::UnboundedReceiver<(OutboxId, Answer)>>;

pub(super) fn make_bridges(
    config: &Config,
    clock: &Clock,
    boot: BootId,
    run: Run,
    instance: &Arc<str>,
    outboxes: &[OutboxState],
    notes: &[Notes],
) -> Vec<(SharedBridge, Vec<Target>)> {
    let stores = stores(config);
    let forms = super::readings::forms(config);
    let bridge = |((index, upstream), notes): ((usize, &Upstream), &Notes)| {
        let (password, secret_error) = match upstream.password.as_ref().map(files::secret) {
            Some(Ok(secret)) => (Some(secret), None),
            Some(Err(error)) => {
                error!(upstream = %upstream.name, error, "the upstream's password can't be read");
                (None, Some(format!("the password can't be read: {error}")))
            }
            None => (None, None),
        };
        let own = stores.iter().zip(outboxes).filter(|(store, _)| store.upstream == index);
        let backlogs = own.map(|(_, outbox)| backlog(outbox)).collect();
        let settings = bridge::Config {
            name: upstream.name.clone(),
            base: config.gateway.base_topic.clone(),
            run,
            boot,
            instance: instance.clone(),
            places: places(upstream),
            port: upstream.port,
            redirects: upstream.reach.redirects.clone(),
            start: upstream.start,
            failover: upstream.reach.failover,
            return_after: upstream.reach.return_after,
            client_id: upstream.client_id.clone(),
            version: upstream.version,
            user_name: upstream.user_name.clone(),
            password,
            keep_alive: upstream.keep_alive,
            connect_timeout: Duration::from_secs(10),
            ack_timeout: upstream.ack_timeout,
            session_expiry: upstream.session_expiry,
            clean_session: upstream.clean_session,
            watch_status: upstream.watch_status,
            notification_topic: upstream.notification_topic.clone(),
            inflight_max: upstream.inflight_max,
            topic_alias_max: upstream.topic_alias_max,
            backoff_min: upstream.backoff_min,
            backoff_max: upstream.backoff_max,
            backoff_refused_max: Duration::from_secs(15 * 60),
            stable_after: Duration::from_secs(60),
            receipts: upstream.receipts,
            health_every: upstream.health_every,
            bytes_per_day_max: upstream.bytes_per_day_max,
            drain: upstream.drain,
            live_share: upstream.live_share,
            drain_messages_max: upstream.drain_messages_max,
            drain_bytes_max: upstream.drain_bytes_max,
            streams: upstream.streams.iter().map(|stream| stream.machine.clone()).collect(),
            forms: forms.clone(),
            maps: upstream.maps.clone(),
            commit_interval: config.buffer.commit_interval,
            memory_bytes_max: config.buffer.memory,
        };
        let mut machine = Bridge::with_streams(settings, backlogs, fastrand::u64(..), clock.now());
        machine.restore(clock.now(), notes);
        let shared = SharedBridge {
            machine: Rc::new(RefCell::new(machine)),
            bell: Rc::new(Notify::new()),
            purges: Rc::default(),
            certificates: Rc::default(),
        };
        (shared, targets(upstream, secret_error))
    };
    config.upstreams.iter().enumerate().zip(notes).map(bridge).collect()
}

fn backlog(outbox: &OutboxState) -> Backlog {
    Backlog {
        acked: outbox.acked,
        beyond: outbox.beyond.clone(),
        last: outbox.last,
        records: outbox.records,
        bytes: outbox.bytes,
        oldest: outbox.oldest,
    }
}

/// The addresses of one upstream, in the order of the config.
fn targets(upstream: &Upstream, mut secret_error: Option<String>) -> Vec<Target> {
    let proxy = upstream.reach.proxy.as_ref().map(|proxy| {
        let password = proxy.password.as_ref().map(files::secret).transpose().unwrap_or_else(|error| {
            error!(upstream = %upstream.name, error, "the proxy's password can't be read");
            secret_error.get_or_insert(format!("the proxy's password can't be read: {error}"));
            None
        });
        (proxy.clone(), password)
    });
    let target = |address: config::Address| Target {
        host: address.host,
        port: address.port,
        tls: upstream.tls.clone(),
        secret_error: secret_error.clone(),
        way: Way {
            proxy: proxy.clone(),
            bind: upstream.reach.bind.clone(),
            websocket: upstream.reach.websocket.clone(),
            unix: None,
        },
    };
    addresses(upstream).map(target).collect()
}

fn addresses(upstream: &Upstream) -> impl Iterator<Item = config::Address> {
    let first = config::Address { host: upstream.host.clone(), port: upstream.port };
    std::iter::once(first).chain(upstream.reach.fallback.iter().cloned())
}

fn places(upstream: &Upstream) -> Vec<Arc<str>> {
    addresses(upstream).map(|address| Arc::from(address.to_string())).collect()
}

fn own_certificate(upstream: &Upstream) -> Option<OwnCertificate> {
    let tls = upstream.tls.as_ref()?;
    Some(OwnCertificate::new(upstream.name.clone(), tls.cert.as_ref()?, tls.key.as_ref()?))
}

/// What all upstream tasks share.
pub(super) struct UpstreamShared {
    jobs: mpsc::Sender<Job>,
    broker: Arc<Mailbox<ToBroker>>,
    clock: Clock,
    changed: Rc<Notify>,
    stop: watch::Receiver<bool>,
    panics: Arc<Panics>,
}

pub(super) fn upstream_shared(
    jobs: &mpsc::Sender<Job>,
    broker: &Arc<Mailbox<ToBroker>>,
    clock: &Clock,
    changed: &Rc<Notify>,
    stop: &watch::Receiver<bool>,
    panics: &Arc<Panics>,
) -> UpstreamShared {
    UpstreamShared {
        jobs: jobs.clone(),
        broker: broker.clone(),
        clock: clock.clone(),
        changed: changed.clone(),
        stop: stop.clone(),
        panics: panics.clone(),
    }
}

/// What the store has to say: a sender for each outbox, in their order, and a receiver for each upstream.
pub(super) fn answer_channels(config: &Config) -> (AnswerSenders, AnswerReceivers) {
    let (senders, receivers): (Vec<_>, Vec<_>) =
        config.upstreams.iter().map(|_| answers::unbounded_channel()).unzip();
    let of_outbox = |place: &ground::Place| senders.get(place.upstream).cloned();
    (ground::places(config).iter().filter_map(of_outbox).collect(), receivers)
}

pub(super) fn start_upstreams(
    config: &Config,
    bridges: Vec<(SharedBridge, Vec<Target>)>,
    answers: AnswerReceivers,
    shared: &UpstreamShared,
) -> Vec<Task<()>> {
    let stores = ground::places(config);
    let outboxes =
        |index| stores.iter().filter(|store| store.upstream == index).map(|store| store.id).collect();
    let start = |(index, ((bridge, targets), answers)): (usize, ((SharedBridge, Vec<Target>), _))| {
        let name =
            config.upstreams.get(index).map_or_else(|| Arc::from(""), |upstream| upstream.name.clone());
        spawn_local(upstream::run(upstream::Setup {
            name,
            own: config.upstreams.get(index).and_then(own_certificate),
            outboxes: outboxes(index),
            bridge,
            targets,
            jobs: shared.jobs.clone(),
            answers,
            broker: shared.broker.clone(),
            clock: shared.clock.clone(),
            changed: shared.changed.clone(),
            stop: shared.stop.clone(),
            panics: shared.panics.clone(),
        }))
    };
    bridges.into_iter().zip(answers).enumerate().map(start).collect()
}
