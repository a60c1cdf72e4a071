//! What an upstream is told, from the config: its bridge's settings, where it is, what is shown there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::lineup::Constants;
use crate::bridge;
use crate::config::{Config, Upstream};
use crate::io::dial::Target;
use crate::io::dial_targets::{addresses, targets};
use crate::io::files;
use crate::io::own_certificate::OwnCertificate;
use crate::io::upstream::Destination;
use crate::payload::Forms;
use crate::secret::Secret;
use crate::store::Bounds;

/// One upstream as the config wants it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) settings: bridge::Config,
    pub(super) targets: Vec<Target>,
    /// Our certificate and its key.
    own: Option<(PathBuf, PathBuf)>,
    /// Its outboxes by their names, the default stream's first, and what each may hold.
    pub(super) outboxes: Vec<(String, Bounds)>,
    /// Why a password can't be read.
    pub(super) secret_error: Option<String>,
}

impl Wanted {
    pub(super) fn of(
        config: &Config,
        upstream: &Upstream,
        forms: &Arc<Forms>,
        constants: &Constants,
    ) -> Self {
        let (password, mut secret_error) = match upstream.password.as_ref().map(files::secret) {
            Some(Ok(secret)) => (Some(secret), None),
            Some(Err(error)) => (None, Some(format!("the password can't be read: {error}"))),
            None => (None, None),
        };
        let targets = targets(upstream, &mut secret_error);
        let key = upstream.tls.as_ref().and_then(|tls| Some((tls.cert.clone()?, tls.key.clone()?)));
        Self {
            settings: settings(config, upstream, password, forms.clone(), constants),
            targets,
            own: key,
            outboxes: super::ground::outboxes(&config.buffer, upstream),
            secret_error,
        }
    }

    /// Whether the connection may stay.
    pub(super) fn connects_as(&self, other: &Self) -> bool {
        // What no connection depends on may differ.
        let bridge::Config { forms, commit_interval, memory_bytes_max, .. } = &other.settings;
        let settings = bridge::Config {
            forms: forms.clone(),
            commit_interval: *commit_interval,
            memory_bytes_max: *memory_bytes_max,
            ..self.settings.clone()
        };
        settings == other.settings && self.targets == other.targets && self.own == other.own
    }

    pub(super) fn destination(&self) -> Destination {
        let own =
            |(cert, key): &(PathBuf, PathBuf)| OwnCertificate::new(self.settings.name.clone(), cert, key);
        Destination { targets: self.targets.clone(), own: self.own.as_ref().map(own) }
    }
}

fn settings(
    config: &Config,
    upstream: &Upstream,
    password: Option<Secret>,
    forms: Arc<Forms>,
    constants: &Constants,
) -> bridge::Config {
    bridge::Config {
        name: upstream.name.clone(),
        base: config.gateway.base_topic.clone(),
        run: constants.run,
        boot: constants.boot,
        instance: constants.instance.clone(),
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
        forms,
        maps: upstream.maps.clone(),
        commit_interval: config.buffer.commit_interval,
        memory_bytes_max: config.buffer.memory,
    }
}

fn places(upstream: &Upstream) -> Vec<Arc<str>> {
    addresses(upstream).map(|address| Arc::from(address.to_string())).collect()
}
