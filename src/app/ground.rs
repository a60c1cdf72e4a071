//! What the start finds out before anything runs: the clock, the store and what is in it.

use std::sync::Arc;

use bytes::Bytes;
use tracing::{error, warn};

use crate::bridge::{Notes, notes};
use crate::config::{Buffer, Config, FullRule, Stream, Upstream};
use crate::io::clock::{self, Clock};
use crate::io::{files, store_check};
use crate::message::OutboxId;
use crate::reading::Run;
use crate::store::bounds::BYTES_DEFAULT;
use crate::store::{self, Bounds, Full, OutboxState, Store, StoreError};
use crate::time::BootId;

/// What the start finds out before anything runs.
pub(super) struct Ground {
    pub(super) clock: Clock,
    pub(super) boot: BootId,
    pub(super) run: Run,
    pub(super) instance: Arc<str>,
    pub(super) store: Result<Store, String>,
    /// In the order of [`places`].
    pub(super) outboxes: Vec<OutboxState>,
    /// Why the broker's state is not kept although it should be. Nobody is kept waiting for a disk that isn't there:
    /// what depends on it is acknowledged as with `persistence = false`, and people are told.
    pub(super) volatile_state: Option<String>,
    /// The machine that the data directory was made on, if that was another one.
    pub(super) moved_from: Option<String>,
    /// What was noted beside each.
    pub(super) notes: Vec<Notes>,
    /// The broker's state as it was kept; `None` if it is not.
    pub(super) state: Option<Vec<(Vec<u8>, Bytes)>>,
}

impl Ground {
    /// Why there is no store, and why what clients have is not kept.
    pub(super) fn errors(&mut self) -> (Option<String>, Option<String>) {
        (self.store.as_ref().err().cloned(), self.volatile_state.take())
    }

    /// Opens the store. Without one the gateway runs from memory and says so: it always starts.
    pub(super) fn find(config: &Config) -> Result<Self, String> {
        let clock = Clock::with_gnss(config.time.trust, config.time.gnss.as_ref());
        let now = clock.now().wall;
        let settings = store::Config { outbox_bytes_max: BYTES_DEFAULT };
        let opened = Store::open(&config.gateway.data_dir, settings, now);
        if let Err(error @ StoreError::Locked { .. }) = &opened {
            return Err(error.to_string());
        }
        let mut store = opened.map_err(|error| {
            error!(%error, "readings are kept in memory only until this is mended and the gateway restarted");
            error.to_string()
        });
        if let Ok(open) = &mut store {
            open.leave_free(config.buffer.reserve);
            if let Err(error) = store_check::run(open) {
                error!(%error, "the store can't be checked; readings are kept in memory only");
                store = Err(error.to_string());
            }
        }
        let moved_from = store.as_mut().ok().and_then(settle);
        let mut outboxes = Vec::new();
        let places = places(config);
        for place in &places {
            let Ok(open) = &mut store else { break };
            match open.open_outbox_within(place.id, &place.name, place.bounds) {
                Ok(state) => outboxes.push(state),
                Err(error) => {
                    error!(upstream = %place.name, %error, "the outbox can't be opened; readings are kept in memory only");
                    store = Err(error.to_string());
                }
            }
        }
        if store.is_err() {
            outboxes.clear();
        }
        let (run, instance) = match &store {
            Ok(store) => (store.run(), Arc::from(store.instance())),
            // Seconds since 1970: larger than any count of starts, and never the same twice.
            Err(_) => (Run(u64::try_from(now.as_millis() / 1_000).unwrap_or(0)), Arc::from(random_id())),
        };
        let noted = |index| {
            let kept = |name| store.as_ref().ok().and_then(|store| store.kept(outbox_id(index), name));
            Notes {
                outage: kept(notes::OUTAGE),
                refused: kept(notes::REFUSED),
                traffic: kept(notes::TRAFFIC),
                paused: kept(notes::PAUSED),
            }
        };
        let notes = (0..config.upstreams.len()).map(noted).collect();
        outboxes.resize_with(places.len(), OutboxState::default);
        let (state, volatile_state) = match &mut store {
            _ if !config.broker.persistence => (None, None),
            Ok(store) => match store.open_state() {
                Ok(state) => (Some(state), None),
                Err(error) => (None, Some(error.to_string())),
            },
            Err(error) => (None, Some(error.clone())),
        };
        if let Some(error) = &volatile_state {
            error!(%error, "sessions and retained messages are kept in memory only until this is mended and the gateway restarted");
        }
        Ok(Self {
            clock,
            boot: clock::boot_id(),
            run,
            instance,
            store,
            outboxes,
            volatile_state,
            moved_from,
            notes,
            state,
        })
    }
}

/// Tells the store where it is; the name of the machine that it was made on, if that was another one.
fn settle(store: &mut Store) -> Option<String> {
    let facts = files::facts();
    // A machine that has no identity can't be told from another.
    facts.machine.as_ref()?;
    match store.settle_on(&facts.default_id) {
        Ok(Some(before)) => {
            warn!(
                before,
                now = facts.default_id,
                "the data directory is another machine's: it has a new instance"
            );
            Some(before)
        }
        Ok(None) => None,
        Err(error) => {
            error!(%error, "can't note on which machine the data directory is");
            None
        }
    }
}

/// Where one stream of an upstream is stored.
pub(super) struct Place {
    pub(super) id: OutboxId,
    /// Which upstream's.
    pub(super) upstream: usize,
    name: String,
    bounds: Bounds,
}

/// The outboxes of all upstreams: first each one's own, then those of further streams, in the order of the config.
pub(super) fn places(config: &Config) -> Vec<Place> {
    let of = |(index, upstream)| outboxes(&config.buffer, upstream).into_iter().map(move |one| (index, one));
    let mut all: Vec<_> = config.upstreams.iter().enumerate().flat_map(|one| of(one).enumerate()).collect();
    all.sort_by_key(|(stream, _)| *stream > 0);
    let place = |(id, (_, (upstream, (name, bounds))))| Place { id: outbox_id(id), upstream, name, bounds };
    all.into_iter().enumerate().map(place).collect()
}

/// The outboxes of an upstream by their names, the default stream's first, and what each may hold. The default one's has
/// the upstream's name; another one's has the stream's behind a slash, which no name holds.
pub(super) fn outboxes(buffer: &Buffer, upstream: &Upstream) -> Vec<(String, Bounds)> {
    let own = (upstream.name.to_string(), bounds(buffer, None));
    let further = upstream
        .streams
        .iter()
        .map(|stream| (format!("{}/{}", upstream.name, stream.machine.name), bounds(buffer, Some(stream))));
    std::iter::once(own).chain(further).collect()
}

fn bounds(buffer: &Buffer, stream: Option<&Stream>) -> Bounds {
    Bounds {
        bytes_max: stream.and_then(|stream| stream.max_size).or(buffer.max_size),
        records_max: stream.and_then(|stream| stream.max_records).or(buffer.max_records),
        age_max: stream.and_then(|stream| stream.max_age).or(buffer.max_age),
        full: match stream.and_then(|stream| stream.full).unwrap_or(buffer.full) {
            FullRule::DropOldest => Full::DropOldest,
            FullRule::Refuse => Full::Refuse,
        },
    }
}

fn random_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

pub(super) fn outbox_id(index: usize) -> OutboxId {
    OutboxId(u16::try_from(index).unwrap_or(u16::MAX))
}
