//! The store of a gateway that doesn't run, in its data directory.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::{CHILD_MAX, tell_checked, written};
use crate::config::TimeTrust;
use crate::io::clock::Clock;
use crate::io::store_child::{self, What};
use crate::io::store_json;
use crate::message::OutboxId;
use crate::ranges::Ranges;
use crate::record::RecordNo;
use crate::store::bounds::BYTES_DEFAULT;
use crate::store::inspect::{self, Inspection};
use crate::store::{Bounds, Config, Store};
use crate::time::Timestamp;

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(super) fn stat(inspection: &Inspection) -> Result<Json, String> {
    let mut reports = Vec::new();
    for (name, path) in inspection.outboxes().map_err(words)? {
        reports.push(store_json::report(&inspection.report(&name, &path).map_err(words)?));
    }
    inspection.hand_back();
    let state_bytes = inspection.state().map_or(0, |(_, bytes)| bytes);
    Ok(json!({ "running": false, "outboxes": reports, "state": { "disk_bytes": state_bytes } }))
}

/// Each database in a process of its own: a damaged one may take the process that looks at it along.
pub(super) fn verify(inspection: &Inspection) -> Result<bool, String> {
    let mut whole = true;
    for (name, path) in inspection.outboxes().map_err(words)? {
        let kept = inspect::generations(&path).map_err(words)?;
        for generation in kept {
            let checked = store_child::check(&What::Generation(generation.clone()), CHILD_MAX);
            whole &= checked.is_whole();
            tell_checked(&format!("{name}, {}", file_name(&generation)), &store_json::checked(&checked));
        }
    }
    if let Some((path, _)) = inspection.state() {
        let checked = store_child::check(&What::State(path), CHILD_MAX);
        whole &= checked.is_whole();
        tell_checked("sessions and retained messages", &store_json::checked(&checked));
    }
    inspection.hand_back();
    Ok(whole)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn selected(inspection: &Inspection, upstream: Option<&str>) -> Result<Vec<(String, PathBuf)>, String> {
    match upstream {
        None => inspection.outboxes().map_err(words),
        Some(name) => {
            let path =
                inspection.outbox(name).ok_or_else(|| format!("nothing is stored for upstream {name}"))?;
            Ok(vec![(name.to_owned(), path)])
        }
    }
}

pub(super) fn export(
    inspection: &Inspection,
    upstream: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), String> {
    for (name, path) in selected(inspection, upstream)? {
        let mut next = inspect::acked(&path).map_err(words)?.next();
        let beyond = inspect::acked_beyond(&path).map_err(words)?;
        for generation in inspect::generations(&path).map_err(words)? {
            next = write_records(&name, &generation, next, &beyond, out)?;
        }
    }
    inspection.hand_back();
    Ok(())
}

pub(super) fn export_quarantine(
    data_dir: &Path,
    upstream: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), String> {
    for (name, path) in inspect::outboxes(data_dir).map_err(words)? {
        if upstream.is_none_or(|wanted| wanted == name) {
            for generation in inspect::quarantined(&path).map_err(words)? {
                write_records(&name, &generation, RecordNo(0), &Ranges::default(), out)?;
            }
        }
    }
    Ok(())
}

/// Writes a generation's records from `next` on but for those that are `done`; gives the number behind the last one.
fn write_records(
    name: &str,
    generation: &Path,
    mut next: RecordNo,
    done: &Ranges,
    out: &mut dyn Write,
) -> Result<RecordNo, String> {
    let mut failed = Ok(());
    let checked = inspect::walk_generation(generation, next, &mut |stored| {
        next = stored.no.next();
        if done.contains(stored.no.0) {
            return ControlFlow::Continue(());
        }
        failed = writeln!(out, "{}", store_json::record(name, &stored));
        if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .map_err(words)?;
    written(failed)?;
    if !checked.is_whole() {
        let why = checked.error.unwrap_or_else(|| format!("{} records are lost", checked.damage.records));
        super::complain(format_args!("{}: damaged: {why}", generation.display()));
    }
    Ok(next)
}

pub(super) fn purge(
    inspection: Inspection,
    upstream: &str,
    before: Option<Timestamp>,
) -> Result<(u64, u64), String> {
    let path =
        inspection.outbox(upstream).ok_or_else(|| format!("nothing is stored for upstream {upstream}"))?;
    let dir = path.parent().unwrap_or(&path).to_owned();
    // The store takes the lock itself.
    drop(inspection);
    let now = Clock::new(TimeTrust::Auto).now().wall;
    let mut store = Store::open(&dir, Config { outbox_bytes_max: BYTES_DEFAULT }, now).map_err(words)?;
    let id = OutboxId(0);
    // However large it is, opening it must drop nothing.
    let bounds = Bounds { bytes_max: Some(u64::MAX), ..Bounds::default() };
    store.open_outbox_within(id, upstream, bounds).map_err(words)?;
    let dropped = store.purge(id, before, now).map_err(words)?.unwrap_or_default();
    drop(store);
    Inspection::open(&dir).map_err(words)?.hand_back();
    Ok((dropped.purged, dropped.bytes))
}
