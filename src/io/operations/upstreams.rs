//! Operations on upstreams.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Failure, LetterAction, Request, called_off, closed};
use crate::bridge::{Direction, Handling, Input, MapStatus};
use crate::config::Upstream;
use crate::config::edit::Edit;
use crate::health;
use crate::io::change::{Draft, Proposal};
use crate::io::probe::{Teller, attempt};
use crate::io::reporter::Reporter;
use crate::io::{change, files};
use crate::said;
use crate::secret::Secret;

/// Tests that are under way at once: each holds a connection.
static TESTS: Semaphore = Semaphore::const_new(2);

/// A test of all addresses of an upstream ends within this: less than a page waits.
const TEST_MAX: Duration = Duration::from_secs(50);

/// The longest password that is kept: MQTT's own bound.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// The messages that upstreams refused for good, as they were before anything is done with them.
pub(super) fn letters(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let now = reporter.clock.now();
    let mut found = Vec::new();
    for bridge in &*reporter.links.all() {
        let status = bridge.machine.borrow().status(now);
        if request.upstream.as_ref().is_some_and(|wanted| **wanted != *status.name) {
            continue;
        }
        found.push(health::letters(&status));
        let handling = match request.action {
            None => continue,
            Some(LetterAction::Retry) => Handling::Retry,
            Some(LetterAction::Purge) => Handling::Purge,
        };
        bridge.machine.borrow_mut().handle(now, Input::Letters(handling));
        bridge.bell.notify_one();
    }
    match &request.upstream {
        Some(wanted) if found.is_empty() => Err(no_such_upstream(wanted)),
        _ => Ok(Json::Array(found)),
    }
}

/// Has an upstream connected now; its state then.
pub(super) fn connect(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let Some(wanted) = &request.upstream else {
        return Err(Failure::field("upstream", "upstream-connect needs upstream"));
    };
    let now = reporter.clock.now();
    for bridge in &*reporter.links.all() {
        let mut machine = bridge.machine.borrow_mut();
        if **machine.name() == **wanted {
            machine.handle(now, Input::ConnectNow);
            bridge.bell.notify_one();
            return Ok(json!({"upstream": wanted, "state": health::link_state(machine.status(now).state)}));
        }
    }
    Err(no_such_upstream(wanted))
}

/// Has an upstream's messages held back, or go on.
pub(super) fn pause(request: &Request, paused: bool, reporter: &Reporter) -> Result<Json, Failure> {
    let Some(wanted) = &request.upstream else {
        return Err(Failure::field("upstream", said!("missing", "{field} is missing", field = "upstream")));
    };
    let now = reporter.clock.now();
    for bridge in &*reporter.links.all() {
        let mut machine = bridge.machine.borrow_mut();
        if **machine.name() != **wanted {
            continue;
        }
        machine.handle(now, Input::Pause { paused });
        let status = machine.status(now);
        drop(machine);
        bridge.bell.notify_one();
        reporter.changed.notify_one();
        return Ok(json!({
            "upstream": wanted,
            "state": health::link_state(status.state),
            "paused": status.paused.map(|since| since.to_string()),
        }));
    }
    Err(no_such_upstream(wanted))
}

/// What went over each map of the upstreams.
pub(super) fn maps(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let all = reporter.links.all();
    let machines = all.iter().map(|bridge| bridge.machine.borrow());
    let found: Vec<Json> = machines
        .filter(|machine| request.upstream.as_ref().is_none_or(|wanted| **wanted == **machine.name()))
        .map(|machine| json!({"name": &**machine.name(), "maps": machine.maps().iter().map(map).collect::<Vec<_>>()}))
        .collect();
    match &request.upstream {
        Some(wanted) if found.is_empty() => Err(no_such_upstream(wanted)),
        _ => Ok(Json::Array(found)),
    }
}

fn map(map: &MapStatus) -> Json {
    let passed = map.passed;
    json!({
        "topics": map.filter,
        "direction": match map.direction {
            Direction::Out => "out",
            Direction::In => "in",
            Direction::Both => "both",
        },
        "local_prefix": map.local_prefix,
        "remote_prefix": map.remote_prefix,
        "sent": passed.sent,
        "sent_bytes": passed.sent_bytes,
        "received": passed.received,
        "received_bytes": passed.received_bytes,
        "drops": {"expired": passed.expired, "refused": passed.refused},
    })
}

/// The longest name of an upstream, as in the config.
const NAME_BYTES_MAX: usize = 64;

/// Passwords that are kept: more than there are upstreams. What isn't used any more can be removed by hand.
const PASSWORDS_MAX: usize = 256;

/// What an upstream is tested with besides what the config has of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Changed {
    /// Keys that a form has changed.
    edits: Vec<Edit>,
}

/// Dials an upstream as the config has it, or as it would with some keys changed, and tells each step. Nothing is changed.
pub(super) async fn test(request: Request, reporter: &Reporter) -> Result<Json, Failure> {
    let Request { upstream, config, secret, progress, .. } = request;
    let Some(wanted) = upstream.filter(|name| !name.is_empty()) else {
        return Err(Failure::field("name", said!("missing", "{field} is missing", field = "name")));
    };
    let changed: Changed = config
        .map_or_else(|| Ok(Changed::default()), serde_json::from_value)
        .map_err(|error| Failure::field("edits", error.to_string()))?;
    let Some(desk) = reporter.changes.get().cloned() else {
        return Err(Failure::refused(said!("no_config_file", "this gateway has no config file")));
    };
    let found = match drafted(&desk, &wanted, changed.edits).await {
        Ok(Some(upstream)) => upstream,
        Ok(None) => return Err(no_such_upstream(&wanted)),
        Err(refused) => return Ok(refused),
    };
    let Ok(_turn) = TESTS.try_acquire() else {
        return Err(Failure::busy(said!(
            "testing",
            "other upstreams are being tested; try again when that has ended"
        )));
    };
    let teller = Teller::new(progress.clone());
    let tested = tokio::select! {
        tested = timeout(TEST_MAX, attempt(&found, secret, &teller)) => tested,
        () = closed(progress.as_ref()) => return Err(called_off()),
    };
    let tested = tested.map_err(|_| {
        Failure::refused(said!(
            "took_longer",
            "it took longer than {seconds} s",
            seconds = TEST_MAX.as_secs()
        ))
    })?;
    Ok(tested.json())
}

/// The upstream as it would be; an answer where that is no config.
async fn drafted(desk: &change::Desk, wanted: &str, edits: Vec<Edit>) -> Result<Option<Upstream>, Json> {
    let of = |draft: Draft| draft.config.upstreams.into_iter().find(|upstream| *upstream.name == *wanted);
    let is_there = of(desk.draft(Proposal::default()).await?);
    if edits.is_empty() {
        return Ok(is_there);
    }
    let new = Edit {
        path: format!("upstream.\"{wanted}\""),
        value: Some(json!({ "name": wanted })),
        ..Edit::default()
    };
    let edits = is_there.is_none().then_some(new).into_iter().chain(edits).collect();
    Ok(of(desk.draft(Proposal { edits: Some(edits), ..Proposal::default() }).await?))
}

/// Keeps a password for an upstream in a file of the gateway's own; what a config says of it then.
pub(super) async fn keep_password(request: Request, reporter: &Reporter) -> Result<Json, Failure> {
    let Request { upstream, secret, .. } = request;
    let Some(name) = upstream.filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len())) else {
        let error =
            said!("password_of", "name: whose password it is, 1 to {max} bytes", max = NAME_BYTES_MAX);
        return Err(Failure::field("name", error));
    };
    let Some(secret) = secret.filter(|secret| (1..=PASSWORD_BYTES_MAX).contains(&secret.expose().len()))
    else {
        let error = said!("password_bytes", "password: expected 1 to {max} bytes", max = PASSWORD_BYTES_MAX);
        return Err(Failure::field("password", error));
    };
    let folder = reporter.data_dir.join("secrets");
    let written = spawn_blocking(move || written(&folder, &name, &secret)).await;
    let path = written.unwrap_or_else(|error| Err(error.to_string())).map_err(Failure::refused)?;
    Ok(json!({"password": {"file": path}}))
}

fn written(folder: &Path, name: &str, secret: &Secret) -> Result<std::path::PathBuf, String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let letter = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02x}"),
    };
    let name: String = name.bytes().map(letter).collect();
    let path = folder.join(format!("upstream-{name}"));
    let count = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?.count();
    if count >= PASSWORDS_MAX && !path.exists() {
        return Err(format!(
            "{} has {PASSWORDS_MAX} passwords already; remove what isn't used",
            folder.display()
        ));
    }
    files::rewrite(&path, |_| Ok((secret.expose().to_vec(), ())))?;
    Ok(path)
}

fn no_such_upstream(wanted: &str) -> Failure {
    Failure::field("upstream", said!("no_upstream", "there is no upstream \"{upstream}\"", upstream = wanted))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::secret::SecretRef;

    #[test]
    fn a_password_is_kept_where_only_the_gateway_reads_it_and_stays_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("secrets");
        let secret = Secret::new(b"pass word".to_vec());
        for name in ["central", "../../etc/passwd", "a b"] {
            let path = written(&folder, name, &secret).unwrap();
            assert_eq!(path.parent(), Some(folder.as_path()), "{name}");
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(files::secret(&SecretRef::File(path)).unwrap(), secret);
        }
        for number in 3..PASSWORDS_MAX {
            std::fs::write(folder.join(number.to_string()), "").unwrap();
        }
        assert!(written(&folder, "one more", &secret).unwrap_err().contains("256 passwords already"));
        written(&folder, "central", &secret).unwrap();
    }
}
