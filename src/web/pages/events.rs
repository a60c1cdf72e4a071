//! Events: who logged in, what was changed and commanded, which upstreams were away; the newest first.

use askama::Template;
use serde_json::Value as Json;

use super::status::{list, text};
use super::{Frame, rendered};
use crate::io::operations::{Operation, Request};
use crate::web::call::Call;
use crate::web::reply::{Refusal, Reply};
use crate::web::texts::Catalogue;

/// Lines of one page, the newest; what is older is found by group and text.
const SHOWN_MAX: usize = 200;

/// Kinds that events have: the group that they belong to, and the text that says them.
const KINDS: &[(&str, &str, &str)] = &[
    ("login", "access", "events.login"),
    ("login_failed", "access", "events.login_failed"),
    ("logout", "access", "events.logout"),
    ("claimed", "access", "events.claimed"),
    ("claim_failed", "access", "events.claim_failed"),
    ("claim_opened", "access", "events.claim_opened"),
    ("password_changed", "access", "events.password_changed"),
    ("account_made", "access", "events.account_made"),
    ("account_changed", "access", "events.account_changed"),
    ("account_removed", "access", "events.account_removed"),
    ("accounts_changed", "access", "events.accounts_changed"),
    ("token_made", "access", "events.token_made"),
    ("token_removed", "access", "events.token_removed"),
    ("config_changed", "changes", "events.config_changed"),
    ("config_confirmed", "changes", "events.config_confirmed"),
    ("config_back", "changes", "events.config_back"),
    ("config_read", "changes", "events.config_read"),
    ("certificate_made", "changes", "events.certificate_made"),
    ("upstream_password", "changes", "events.upstream_password"),
    ("log_levels", "changes", "events.log_levels"),
    ("command", "commands", "events.command"),
    ("command_failed", "commands", "events.command_failed"),
    ("letters_retried", "commands", "events.letters_retried"),
    ("letters_purged", "commands", "events.letters_purged"),
    ("purged", "commands", "events.purged"),
    ("connect", "commands", "events.connect"),
    ("upstream_paused", "commands", "events.upstream_paused"),
    ("upstream_resumed", "commands", "events.upstream_resumed"),
    ("restart", "commands", "events.restart"),
    ("failed", "commands", "events.failed"),
    ("scan", "commands", "events.scan"),
    ("scan_stopped", "commands", "events.scan_stopped"),
    ("exported", "commands", "events.exported"),
    ("client_kicked", "commands", "events.client_kicked"),
    ("published", "commands", "events.published"),
    ("retained_deleted", "commands", "events.retained_deleted"),
    ("backup_made", "changes", "events.backup_made"),
    ("port_down", "outages", "events.port_down"),
    ("port_open", "outages", "events.port_open"),
    ("started", "outages", "events.started"),
    ("upstream_online", "outages", "events.upstream_online"),
    ("upstream_offline", "outages", "events.upstream_offline"),
    ("upstream_refused", "outages", "events.upstream_refused"),
    ("store_failing", "outages", "events.store_failing"),
    ("store_works", "outages", "events.store_works"),
    ("bytes_used_up", "outages", "events.bytes_used_up"),
    ("rival", "outages", "events.rival"),
    ("dropping", "outages", "events.dropping"),
];

/// Kinds that somebody should look at.
const BAD: &[&str] = &[
    "login_failed",
    "claim_failed",
    "command_failed",
    "failed",
    "config_back",
    "port_down",
    "upstream_offline",
    "upstream_refused",
    "store_failing",
    "bytes_used_up",
    "rival",
    "dropping",
];

/// Groups by their names, and what they are called.
const GROUPS: &[(&str, &str)] = &[
    ("access", "events.group_access"),
    ("changes", "events.group_changes"),
    ("commands", "events.group_commands"),
    ("outages", "events.group_outages"),
];

#[derive(Template)]
#[template(path = "events.html", config = "src/web/askama.toml")]
struct Events {
    frame: Frame,
    groups: Vec<Group>,
    contains: String,
    lines: Vec<Line>,
    more: String,
}

struct Group {
    name: &'static str,
    title: String,
    chosen: bool,
}

struct Line {
    time: String,
    is_uncertain: bool,
    what: String,
    bad: bool,
    who: String,
    detail: String,
}

pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let events = call.ask(Request::new(Operation::Events)).await?;
    let t = &call.texts;
    let group = call.argument("group").unwrap_or_default();
    let contains = call.argument("text").unwrap_or_default().trim().to_owned();
    let mut lines: Vec<Line> = list(&events, "events")
        .iter()
        .rev()
        .filter(|event| group.is_empty() || group_of(&text(event, "kind")) == Some(group))
        .map(|event| line(event, t))
        .filter(|line| says(line, &contains.to_lowercase()))
        .collect();
    let more = lines.len().saturating_sub(SHOWN_MAX);
    lines.truncate(SHOWN_MAX);
    let more = if more > 0 { t.fill("events.more", &[("count", &more.to_string())]) } else { String::new() };
    let groups = GROUPS
        .iter()
        .map(|(name, title)| Group { name, title: t.say(title).to_owned(), chosen: *name == group })
        .collect();
    rendered(&call, &Events { frame: Frame::of(&call, "nav.events"), groups, contains, lines, more })
}

fn group_of(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|(known, ..)| *known == kind).map(|(_, group, _)| *group)
}

fn line(event: &Json, t: &Catalogue) -> Line {
    let kind = text(event, "kind");
    let key = KINDS.iter().find(|(known, ..)| *known == kind).map(|(.., key)| *key);
    let (who, address) = (text(event, "who"), text(event, "address"));
    Line {
        time: text(event, "time"),
        is_uncertain: text(event, "clock") != "synced",
        what: key.map_or_else(|| kind.replace('_', " "), |key| t.say(key).to_owned()),
        bad: BAD.contains(&kind.as_str()),
        who: if address.is_empty() { who } else { format!("{who} ({address})") },
        detail: text(event, "detail"),
    }
}

fn says(line: &Line, text: &str) -> bool {
    [&line.what, &line.who, &line.detail].into_iter().any(|part| part.to_lowercase().contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All sources that write events.
    fn kinds_written() -> Vec<String> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let files = [
            "io/journal.rs",
            "io/change.rs",
            "io/change/back.rs",
            "io/change/keep.rs",
            "io/operations/audit.rs",
            "web/accounts.rs",
            "web/certificate.rs",
            "web/claim.rs",
            "web/plant.rs",
            "web/config_api.rs",
            "app.rs",
        ];
        let all: String = files.map(|file| std::fs::read_to_string(root.join(file)).unwrap()).concat();
        let flat: String = all.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut found = Vec::new();
        for before in ["note(\"", "note( \"", "kind: \"", "event(&call, \"", "=> (\""] {
            for rest in flat.split(before).skip(1) {
                found.push(rest.split('"').next().unwrap().to_owned());
            }
        }
        found
    }

    #[test]
    fn every_kind_that_is_written_has_words_and_a_group() {
        let kinds = kinds_written();
        assert!(kinds.len() > 20, "{kinds:?}");
        for kind in kinds {
            assert!(group_of(&kind).is_some(), "{kind} has no words");
        }
        for (kind, group, _) in KINDS {
            assert!(GROUPS.iter().any(|(known, _)| known == group), "{kind}: {group}");
        }
        for kind in BAD {
            assert!(group_of(kind).is_some(), "{kind}");
        }
    }
}
