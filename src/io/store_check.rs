//! After an unclean stop: looks at what was open in child processes, before this one touches it. What makes a child die
//! or hang is copied, as far as it can be read, by another child; the copy takes its place, and it is set aside.

use std::path::PathBuf;
use std::time::Duration;

use tracing::{error, info, warn};

use super::store_child::{What, check};
use crate::store::inspect::Checked;
use crate::store::{Store, StoreError, Suspect};

/// A generation is some 16 MiB, some 50 MiB at worst: a second or two on a slow card.
const CHECK_MAX: Duration = Duration::from_secs(30);
/// The same, and as much is written.
const SALVAGE_MAX: Duration = Duration::from_secs(60);

/// Looks at what is suspect, and mends it.
///
/// # Errors
/// [`StoreError`]: something suspect can't be set aside; the store should not be used.
pub fn run(store: &mut Store) -> Result<(), StoreError> {
    let suspects = store.suspects()?;
    if suspects.is_empty() {
        return Ok(());
    }
    info!(databases = suspects.len(), "the last run did not stop cleanly; what it had open is checked");
    for suspect in suspects {
        let what = match &suspect {
            Suspect::Generation(path) => What::Generation(path.clone()),
            Suspect::State(path) => What::State(path.clone()),
        };
        let checked = check(&what, CHECK_MAX);
        // Single damaged records are passed over when they are read; only what can't be read at all is replaced.
        if let Some(error) = checked.error {
            salvage(store, &suspect, &error)?;
        }
    }
    store.cleared();
    Ok(())
}

fn salvage(store: &mut Store, suspect: &Suspect, why: &str) -> Result<(), StoreError> {
    let path = suspect.path().to_owned();
    warn!(path = %path.display(), error = why, "a part of the store can't be read; what can be is copied");
    let mut place = store.salvage_place(suspect)?;
    let mut copied = check(&job(suspect, path.clone(), place.clone()), SALVAGE_MAX);
    if copied.error.is_some() {
        // Not even that. An empty one takes its place, so that what is lost is counted.
        place = store.salvage_place(suspect)?;
        copied = check(&job(suspect, PathBuf::new(), place.clone()), SALVAGE_MAX);
    }
    let Checked { segments, records, .. } = copied;
    let quarantine = store.replace_suspect(suspect, &place)?;
    error!(path = %path.display(), quarantine = %quarantine.display(), segments, records,
        "a part of the store was damaged; it was set aside, and what could be read of it is used");
    Ok(())
}

fn job(suspect: &Suspect, from: PathBuf, into: PathBuf) -> What {
    match suspect {
        Suspect::Generation(_) => What::Salvage(from, into),
        Suspect::State(_) => What::SalvageState(from, into),
    }
}
