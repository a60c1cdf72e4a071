//! What the start finds out before anything runs: the clock, the store and what is in it.

use std::sync::Arc;

use bytes::Bytes;
use tracing::error;

use crate::bridge::{Notes, notes};
use crate::config::{Buffer, Config, FullRule};
use crate::io::clock::{self, Clock};
use crate::io::store_check;
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
    pub(super) outboxes: Vec<OutboxState>,
    /// Why the broker's state is not kept although it should be. Nobody is kept waiting for a disk that isn't there:
    /// what depends on it is acknowledged as with `persistence = false`, and people are told.
    pub(super) volatile_state: Option<String>,
    /// What was noted beside each.
    pub(super) notes: Vec<Notes>,
    /// The broker's state as it was kept; `None` if it is not.
    pub(super) state: Option<Vec<(Vec<u8>, Bytes)>>,
}

impl Ground {
    /// Opens the store. Without one the gateway runs from memory and says so: it always starts.
    pub(super) fn find(config: &Config) -> Result<Self, String> {
        let clock = Clock::new(config.time.trust);
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
        let mut outboxes = Vec::new();
        for (index, upstream) in config.upstreams.iter().enumerate() {
            let Ok(open) = &mut store else { break };
            match open.open_outbox_within(outbox_id(index), &upstream.name, bounds(&config.buffer)) {
                Ok(state) => outboxes.push(state),
                Err(error) => {
                    error!(upstream = %upstream.name, %error, "the outbox can't be opened; readings are kept in memory only");
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
            }
        };
        let notes = (0..config.upstreams.len()).map(noted).collect();
        outboxes.resize_with(config.upstreams.len(), OutboxState::default);
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
            notes,
            state,
        })
    }
}

fn bounds(buffer: &Buffer) -> Bounds {
    Bounds {
        bytes_max: buffer.max_size,
        records_max: buffer.max_records,
        age_max: buffer.max_age,
        full: match buffer.full {
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
