//! Whether there is room on the disk for what may wait, whether listeners can listen, and what can't be tried.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use super::{Found, State};
use crate::config::{Bind, Buffer, Config, CrlExpired, Listener, ListenerTls, TlsVersion, Web};
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
            let addresses = old.iter().filter_map(|old| match &old.bind {
                Bind::Tcp(ours) => Some(*ours),
                Bind::Unix(_) => None,
            });
            let (state, words) = free(*address, &addresses.collect::<Vec<_>>());
            found(state, words)
        }
    }
}

/// Whether the page has another address or another certificate.
pub(super) fn is_elsewhere(new: &Web, old: &Web) -> bool {
    (new.bind, new.plain, &new.certificate) != (old.bind, old.plain, &old.certificate)
}

/// Whether the page finds its certificate, and its addresses free.
pub(super) async fn page(new: Web, old: Option<Web>) -> Found {
    let found = |state, words: String| Found::new("page", "", state, words);
    if let Some((cert, key)) = new.certificate.clone() {
        let settings = ListenerTls {
            cert,
            key,
            min_version: TlsVersion::V12,
            client_ca: None,
            crl: None,
            crl_expired: CrlExpired::Warn,
            user_from_cert: None,
        };
        if let Err(error) = Keys::open(&settings).await {
            return found(State::Wrong, error);
        }
    }
    let ours: Vec<SocketAddr> = old.iter().flat_map(|old| [Some(old.bind), old.plain]).flatten().collect();
    let tried = [Some(new.bind), new.plain].into_iter().flatten().map(|address| free(address, &ours));
    let (states, words): (Vec<State>, Vec<String>) = tried.unzip();
    let state = if states.contains(&State::Wrong) { State::Wrong } else { State::Good };
    found(state, words.join("; "))
}

/// Whether an address can be listened on; `ours` are those that this gateway listens on already.
fn free(address: SocketAddr, ours: &[SocketAddr]) -> (State, String) {
    let is_ours = ours.iter().any(|ours| {
        ours.port() == address.port()
            && (ours.ip() == address.ip() || ours.ip().is_unspecified() || address.ip().is_unspecified())
    });
    match TcpListener::bind(address) {
        _ if is_ours => (State::Good, format!("{address} is this gateway's already")),
        Ok(_) => (State::Good, format!("{address} is free")),
        Err(error) => (State::Wrong, format!("can't listen on {address}: {error}")),
    }
}
