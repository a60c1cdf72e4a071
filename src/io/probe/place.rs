//! Whether there is room on the disk for what may wait, whether listeners can listen, and what can't be tried.

use std::net::TcpListener;

use serde_json::json;

use super::{Found, State};
use crate::config::{Bind, Buffer, Config, Listener};
use crate::io::change::Draft;
use crate::io::reporter::Reporter;
use crate::io::server_tls::Keys;
use crate::store::bounds::BYTES_DEFAULT;

/// What is looked at without waiting.
pub(super) fn look(draft: &Draft, reporter: &Reporter) -> Vec<Found> {
    let mut all = Vec::new();
    let touches = |root: &str| draft.changes.iter().any(|change| change.root == root);
    if touches("buffer") || touches("upstream") {
        all.push(disk(draft, reporter));
    }
    for (root, why) in [
        ("exec", "a program isn't started to try it"),
        ("gpio", "a line isn't taken to try it: an output would move"),
        ("file", "a file is read when the config counts"),
    ] {
        let mut names: Vec<&str> = draft
            .changes
            .iter()
            .filter(|change| change.root == root && !change.path.ends_with("(removed)"))
            .filter_map(|change| change.item.as_deref())
            .collect();
        names.dedup();
        all.extend(names.into_iter().map(|name| Found::new(root, name, State::Skipped, why)));
    }
    all
}

/// The bytes that may wait in all, as far as the config sets a bound, or the store's own bounds where it doesn't.
fn wanted(config: &Config) -> u64 {
    let Buffer { max_size, .. } = config.buffer;
    let of_upstream = |upstream: &crate::config::Upstream| {
        let own = max_size.unwrap_or(BYTES_DEFAULT);
        let streams =
            upstream.streams.iter().map(|stream| stream.max_size.or(max_size).unwrap_or(BYTES_DEFAULT));
        streams.fold(own, u64::saturating_add)
    };
    config.upstreams.iter().map(of_upstream).fold(0, u64::saturating_add)
}

fn disk(draft: &Draft, reporter: &Reporter) -> Found {
    let usage = rustix::fs::statvfs(&reporter.data_dir).ok();
    let Some(usage) = usage else {
        return Found::new("disk", "", State::Doubtful, "the disk doesn't tell how much is free");
    };
    let free = usage.f_bavail.saturating_mul(usage.f_frsize);
    let used = folder_bytes(&reporter.data_dir, 0);
    let (wanted, reserve) = (wanted(&draft.config), draft.config.buffer.reserve.unwrap_or(0));
    let (needed, room) = (wanted.saturating_add(reserve), free.saturating_add(used));
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let is_explicit = draft.config.buffer.max_size.is_some();
    let figures = format!(
        "{} MiB may wait, {} MiB are kept free, {} MiB are there",
        mib(wanted),
        mib(reserve),
        mib(room)
    );
    let (state, words) = match needed <= room {
        true => (State::Good, figures),
        // Without a bound of its own, an outbox takes a quarter of what is free.
        false if !is_explicit => {
            (State::Good, format!("{figures}; outboxes take less where the disk is small"))
        }
        false => (State::Wrong, format!("the disk is too small: {figures}; make buffer.max_size smaller")),
    };
    let details =
        json!({"wanted_bytes": wanted, "reserve_bytes": reserve, "free_bytes": free, "used_bytes": used});
    Found { details, ..Found::new("disk", "", state, words) }
}

/// The bytes of the files in a folder, not deeper than a store is.
fn folder_bytes(folder: &std::path::Path, depth: u8) -> u64 {
    const DEPTH_MAX: u8 = 3;
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let bytes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() && depth < DEPTH_MAX => {
            folder_bytes(&entry.path(), depth.saturating_add(1))
        }
        Ok(found) if found.is_file() => found.len(),
        _ => 0,
    });
    bytes.fold(0, u64::saturating_add)
}

/// Whether a listener finds its certificates, and its address free.
pub(super) async fn listener(new: Listener, old: Vec<Listener>) -> Found {
    let found = |state, words: String| Found::new("listener", &new.name, state, words);
    if let Some(tls) = &new.tls
        && let Err(error) = Keys::open(tls).await
    {
        return found(State::Wrong, error);
    }
    match &new.bind {
        Bind::Unix(path) => match path.parent().is_some_and(std::path::Path::is_dir) {
            true => found(State::Good, "its folder is there".to_owned()),
            false => found(State::Wrong, format!("{}: its folder is not there", path.display())),
        },
        Bind::Tcp(address) => {
            // The reload hands the socket over, or closes one that is in the way.
            let is_ours = old.iter().any(|old| match &old.bind {
                Bind::Tcp(ours) => {
                    ours.port() == address.port()
                        && (ours.ip() == address.ip()
                            || ours.ip().is_unspecified()
                            || address.ip().is_unspecified())
                }
                Bind::Unix(_) => false,
            });
            match TcpListener::bind(address) {
                _ if is_ours => found(State::Good, format!("{address} is this gateway's already")),
                Ok(_) => found(State::Good, format!("{address} is free")),
                Err(error) => found(State::Wrong, format!("can't listen on {address}: {error}")),
            }
        }
    }
}
