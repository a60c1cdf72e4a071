//! The machine, the last lines of the log, the bundle for whoever helps, and a start anew.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use tokio::task::spawn_blocking;

use super::{Failure, Request};
use crate::io::lock::Locked;
use crate::io::machine;
use crate::io::reporter::Reporter;

/// A start anew begins so long after it was asked for.
const RESTART_AFTER: Duration = Duration::from_millis(300);

/// What stands in the place of a secret.
const MASK: &str = "***";

/// A text whose key says one of these is a secret. Where it is kept stands in a table of its own, and may be seen.
const SECRET_KEYS: &[&str] =
    &["password", "passwd", "passphrase", "secret", "token", "psk", "api_key", "authorization"];

/// The machine, the clock, certificates and versions.
pub(super) async fn system(reporter: &Reporter) -> Result<Json, Failure> {
    let machine = spawn_blocking(|| machine::look(Path::new("/")));
    let health = reporter.snapshot().await.health();
    let machine = machine.await.map_err(|error| Failure::busy(error.to_string()))?;
    let keep = [
        "gateway",
        "time",
        "clock",
        "clock_source",
        "uptime_s",
        "run",
        "rss_bytes",
        "disk_free_bytes",
        "certificates",
        "problems",
    ];
    let mut answer: Map<String, Json> =
        keep.into_iter().map(|key| (key.to_owned(), health.get(key).cloned().unwrap_or_default())).collect();
    answer.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
    answer.insert("architecture".into(), json!(std::env::consts::ARCH));
    answer.insert("machine".into(), machine);
    answer.insert("supervised".into(), json!(is_supervised()));
    Ok(Json::Object(answer))
}

/// Whether somebody starts the gateway again when it ends, as far as it can tell: systemd, or the first process of a
/// container.
fn is_supervised() -> bool {
    std::env::var_os("INVOCATION_ID").is_some() || std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Has the gateway end so that whoever started it starts it again.
pub(super) fn restart(reporter: &Reporter) -> Json {
    tracing::warn!("the gateway ends in order to be started again");
    let restart = reporter.restart.clone();
    // Whoever asked has the answer by then.
    tokio::task::spawn_local(async move {
        tokio::time::sleep(RESTART_AFTER).await;
        restart.notify_one();
    });
    json!({"restarting": true})
}

/// The last lines of the log, and the levels that hold.
pub(super) fn lines(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let logs =
        reporter.logs.as_ref().ok_or_else(|| Failure::refused("this gateway keeps no lines of its log"))?;
    let wanted = request.lines.clone().unwrap_or_default();
    if let Some(level) = wanted.level.as_deref()
        && crate::config::LogLevel::named(level).is_none()
    {
        return Err(Failure::field(
            "level",
            format!("{level:?} is no level; error, warn, info, debug and trace are"),
        ));
    }
    let mut answer = logs.recent(&wanted);
    if let (Json::Object(answer), Json::Object(levels)) = (&mut answer, logs.describe()) {
        answer.extend(levels);
    }
    Ok(answer)
}

/// All that whoever helps wants to see, without secrets.
pub(super) async fn support(reporter: &Reporter) -> Result<Json, Failure> {
    let system = system(reporter).await?;
    let snapshot = reporter.snapshot().await;
    let mut bundle = json!({
        "what": "support bundle of a fieldgate gateway; secrets are left out",
        "made": reporter.clock.now().wall.to_string(),
        "system": system,
        "health": snapshot.health(),
        "readings": snapshot.readings(),
        "events": reporter.events.locked().json(0),
        "log": reporter.logs.as_ref().map(|logs| logs.everything()),
        "log_levels": reporter.logs.as_ref().map(|logs| logs.describe()),
    });
    let config = match reporter.changes.get() {
        Some(desk) => desk.state().await,
        None => Json::Null,
    };
    if let Json::Object(bundle) = &mut bundle {
        bundle.insert("config".into(), config_files(&config));
    }
    mask(&mut bundle, false);
    Ok(bundle)
}

/// The files of the config as values: so comments, where people note anything, stay behind.
fn config_files(state: &Json) -> Json {
    let files = state.get("files").and_then(Json::as_array).into_iter().flatten();
    let of = |file: &Json, key: &str| file.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let values = files.map(|file| {
        let parsed = Some(of(file, "text")).and_then(|text| text.parse::<toml::Table>().ok());
        let value = parsed.and_then(|table| serde_json::to_value(table).ok());
        (of(file, "file"), value.unwrap_or_else(|| json!("no TOML that can be read; left out")))
    });
    Json::Object(values.collect())
}

/// Takes secrets out: texts whose key says so, all of an environment, and what a text has of them.
fn mask(json: &mut Json, is_secret: bool) {
    match json {
        Json::String(text) if is_secret => MASK.clone_into(text),
        Json::String(text) => {
            if let Some(masked) = masked(text) {
                *text = masked;
            }
        }
        Json::Array(all) => all.iter_mut().for_each(|one| mask(one, is_secret)),
        Json::Object(fields) => {
            for (key, value) in fields {
                let lower = key.to_lowercase();
                let says_so = SECRET_KEYS.iter().any(|word| lower.contains(word));
                // `password = { file = "…" }` says where it is; `env = { TOKEN = "…" }` is one.
                let is_place = value.is_object() && says_so;
                let is_environment = lower == "env" && value.is_object();
                mask(value, !is_place && (says_so || is_environment || is_secret));
            }
        }
        _ => {}
    }
}

/// A text without the password of an address (`scheme://user:password@host`), and without what stands behind
/// `password=` and the like; `None` if it has neither.
fn masked(text: &str) -> Option<String> {
    let mut out = text.to_owned();
    let mut from = 0;
    while let Some(at) = out.get(from..).and_then(|rest| rest.find("://")) {
        let start = from + at + 3;
        let rest = out.get(start..).unwrap_or_default();
        let host = rest.split(['/', ' ', '"', '\'']).next().unwrap_or_default();
        let cut = host.rfind('@').and_then(|end| Some((host.get(..end)?.find(':')?, end)));
        if let Some((colon, end)) = cut {
            out.replace_range(start + colon + 1..start + end, MASK);
        }
        from = start;
    }
    let mut from = 0;
    while let Some((at, word)) = next_secret(&out, from) {
        let start = at + word.len() + 1;
        let rest = out.get(start..).unwrap_or_default();
        let quoted = rest.starts_with(['"', '\'']);
        let end = if quoted {
            rest.get(1..).and_then(|inner| inner.find(['"', '\''])).map_or(rest.len(), |end| end + 2)
        } else {
            rest.find([' ', ',', '&', '"', '\'']).unwrap_or(rest.len())
        };
        out.replace_range(start..start + end, MASK);
        from = start + MASK.len();
    }
    (out != text).then_some(out)
}

/// The next `word=` of a secret.
fn next_secret(text: &str, from: usize) -> Option<(usize, &'static str)> {
    let lower = text.to_ascii_lowercase();
    let rest = lower.get(from..)?;
    let found = SECRET_KEYS.iter().filter_map(|word| Some((from + rest.find(&format!("{word}="))?, *word)));
    found.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_what_helps_stays() {
        for (text, expected) in [
            ("tcp://u:pw@host:1883/x", Some("tcp://u:***@host:1883/x")),
            ("https://host/a and mqtt://a:b@c", Some("https://host/a and mqtt://a:***@c")),
            ("read --password=abc --rate 3", Some("read --password=*** --rate 3")),
            ("x Token=\"a b\" y", Some("x Token=*** y")),
            ("tcp://host:1883", None),
            ("a password is missing", None),
            ("ü://", None),
            ("secret=", Some("secret=***")),
        ] {
            assert_eq!(masked(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_config_keeps_the_places_of_secrets_but_no_comment_no_secret_and_no_environment() {
        let text = "# canary1\n[[upstreams]]\npassword = { file = \"/etc/p\" }\ntoken = \"canary2\"\n\
            [[exec]]\nenv = { A = \"canary3\" }\ncommand = [\"x\", \"--token=canary4\"]\n\
            [x]\nsecrets = [\"canary5\"]\n";
        let mut json = config_files(&json!({"files": [
            {"file": "fieldgate.toml", "text": text},
            {"file": "broken.toml", "text": "canary6 ["},
        ]}));
        mask(&mut json, false);
        let told = json.to_string();
        assert!(!told.contains("canary"), "{told}");
        assert_eq!(json["fieldgate.toml"]["upstreams"][0]["password"]["file"], "/etc/p");
        assert_eq!(json["fieldgate.toml"]["exec"][0]["command"], json!(["x", "--token=***"]));
    }
}
