//! Config: the form by sections, the text, and the versions that were in use.

use std::sync::OnceLock;

use askama::Template;
use serde_json::{Value as Json, json};

use super::{Frame, rendered};
use crate::config::describe;
use crate::io::operations::Operation;
use crate::time::Timestamp;
use crate::web::call::Call;
use crate::web::config_api::{ask, version};
use crate::web::form::{self, Group, Input, List, Place};
use crate::web::guard::encoded;
use crate::web::reply::{Refusal, Reply};

/// Names of a list on one page; the search finds the others.
const NAMES_MAX: usize = 100;

/// The schema: always the same.
fn schema() -> &'static Json {
    static SCHEMA: OnceLock<Json> = OnceLock::new();
    SCHEMA.get_or_init(describe::schema)
}

#[derive(Template)]
#[template(path = "config.html", config = "src/web/askama.toml")]
struct Form {
    frame: Frame,
    base: String,
    /// Why the files can't be shown as a form.
    broken: String,
    /// Whether what is on disk is not what runs.
    differs: bool,
    /// The place: its path, and those above it.
    path: String,
    trail: Vec<Step>,
    /// Where a form leads: each with what it is about.
    sections: Vec<Step>,
    groups: Vec<Group>,
    lists: Vec<Names>,
    /// Of an item: what may be removed.
    removable: bool,
    /// The list to which this form adds something.
    adds_to: String,
    /// The field that says of which kind a table is to be, if another than it is; empty: none.
    kind_path: String,
    /// What doesn't fit that kind, in paths that a script splits at spaces, and in words.
    unfit: Vec<(String, String)>,
}

/// A link.
struct Step {
    title: String,
    link: String,
    doc: String,
    count: Option<usize>,
}

/// A list, as much of it as a page shows.
struct Names {
    title: String,
    path: String,
    doc: String,
    steps: Vec<Step>,
    more: usize,
    /// Where the form of a new one is; empty: there is none.
    add: String,
    find: String,
    is_searched: bool,
}

pub(in crate::web) async fn form(call: Call) -> Result<Reply, Refusal> {
    let state = call.web.asker.ask(ask(Operation::ConfigGet, json!({}))).await?;
    let settings = state.get("settings").unwrap_or(&Json::Null);
    let path = call.argument("path").unwrap_or_default().to_owned();
    let is_new = call.argument("new").is_some();
    let mut page = Form {
        frame: Frame::of(&call, "config.title"),
        base: text(&state, "base"),
        broken: broken(&state),
        differs: is_different(&state),
        trail: trail(&path),
        path,
        sections: Vec::new(),
        groups: Vec::new(),
        lists: Vec::new(),
        removable: false,
        adds_to: String::new(),
        kind_path: String::new(),
        unfit: Vec::new(),
    };
    if !page.broken.is_empty() {
        return rendered(&call, &page);
    }
    if page.path.is_empty() {
        page.sections = sections(settings);
        return rendered(&call, &page);
    }
    let find = call.argument("find").unwrap_or_default();
    if is_new {
        page.groups = form::new_item(schema(), settings, &page.path).ok_or_else(Refusal::not_found)?;
        page.adds_to.clone_from(&page.path);
        return rendered(&call, &page);
    }
    let mut settings = settings.clone();
    if let Some((kind_path, kind)) = call.argument("kind").and_then(|kind| kind.split_once('=')) {
        page.unfit =
            form::change_kind(schema(), &mut settings, kind_path, kind).ok_or_else(Refusal::not_found)?;
        kind_path.clone_into(&mut page.kind_path);
    }
    match form::place(schema(), &settings, &page.path).ok_or_else(Refusal::not_found)? {
        Place::List(list) => page.lists = vec![names(list, find, true)],
        Place::Table { groups, lists, is_item } => {
            page.groups = groups;
            page.lists = lists.into_iter().map(|list| names(list, "", false)).collect();
            page.removable = is_item;
        }
    }
    rendered(&call, &page)
}

fn sections(settings: &Json) -> Vec<Step> {
    let (groups, lists) = form::top(schema(), settings);
    let lists = lists.into_iter().map(|list| {
        let count = Some(list.names.len());
        Step { link: link(&list.path), title: list.path, doc: list.doc, count }
    });
    let groups = groups.into_iter().map(|group| Step {
        link: link(&group.path),
        title: group.path,
        doc: group.doc,
        count: None,
    });
    lists.chain(groups).collect()
}

pub(super) fn link(path: &str) -> String {
    format!("/config?path={}", encoded(path))
}

/// Those above a path, and itself: at names with points there is a step too many, which leads nowhere, so only the first
/// one and the whole are named.
fn trail(path: &str) -> Vec<Step> {
    let step = |title: &str, path: &str| Step {
        title: title.to_owned(),
        link: link(path),
        doc: String::new(),
        count: None,
    };
    match path.split_once('.') {
        _ if path.is_empty() => Vec::new(),
        None => vec![step(path, path)],
        Some((first, rest)) => {
            let mut steps = vec![step(first, first)];
            if let Some((owner, point)) = rest.rsplit_once(".points.") {
                steps.push(step(owner, &format!("{first}.{owner}")));
                steps.push(step(point, path));
            } else {
                steps.push(step(rest, path));
            }
            steps
        }
    }
}

fn names(list: List, find: &str, is_searched: bool) -> Names {
    let wanted = find.to_lowercase();
    let mut found: Vec<String> =
        list.names.into_iter().filter(|name| name.to_lowercase().contains(&wanted)).collect();
    let more = found.len().saturating_sub(NAMES_MAX);
    found.truncate(NAMES_MAX);
    let step = |name: String| Step {
        link: link(&format!("{}.{name}", list.path)),
        title: name,
        doc: String::new(),
        count: None,
    };
    Names {
        title: list.path.rsplit('.').next().unwrap_or_default().to_owned(),
        doc: list.doc,
        steps: found.into_iter().map(step).collect(),
        more,
        add: if list.can_add { format!("{}&new=1", link(&list.path)) } else { String::new() },
        find: find.to_owned(),
        is_searched,
        path: list.path,
    }
}

/// Whether it says something of a key.
pub(super) fn has(json: &Json, key: &str) -> bool {
    json.get(key).is_some_and(|value| !value.is_null())
}

/// Where the form of something is, if the config has it.
pub(super) fn form_of(settings: &Json, path: &str) -> Option<String> {
    form::place(schema(), settings, path).map(|_| link(path))
}

pub(super) fn text(json: &Json, key: &str) -> String {
    json.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}

/// Why the files on disk are no config.
fn broken(state: &Json) -> String {
    let mistakes = state.get("mistakes").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let told: Vec<String> = mistakes.iter().map(|mistake| text(mistake, "text")).collect();
    if told.is_empty() { text(state, "read_error") } else { told.join("\n") }
}

fn is_different(state: &Json) -> bool {
    state.get("is_running").and_then(Json::as_bool) == Some(false)
}

#[derive(Template)]
#[template(path = "config_text.html", config = "src/web/askama.toml")]
struct Text {
    frame: Frame,
    base: String,
    broken: String,
    differs: bool,
    files: Vec<(String, String)>,
}

pub(in crate::web) async fn as_text(call: Call) -> Result<Reply, Refusal> {
    let state = call.web.asker.ask(ask(Operation::ConfigGet, json!({}))).await?;
    let page = Text {
        frame: Frame::of(&call, "config.title"),
        base: text(&state, "base"),
        broken: broken(&state),
        differs: is_different(&state),
        files: files(&state),
    };
    rendered(&call, &page)
}

fn files(json: &Json) -> Vec<(String, String)> {
    let files = json.get("files").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    files.iter().map(|file| (text(file, "file"), text(file, "text"))).collect()
}

#[derive(Template)]
#[template(path = "config_history.html", config = "src/web/askama.toml")]
struct History {
    frame: Frame,
    versions: Vec<Version>,
    /// One of them, in full.
    shown: Option<Shown>,
}

struct Version {
    number: u64,
    time: String,
    who: String,
    note: String,
    summary: String,
    is_newest: bool,
}

struct Shown {
    number: u64,
    files: Vec<(String, String)>,
    /// What going back to it would change.
    changes: Vec<String>,
    diff: String,
    error: String,
}

pub(in crate::web) async fn history(call: Call) -> Result<Reply, Refusal> {
    let all = call.web.asker.ask(ask(Operation::ConfigHistory, json!({}))).await?;
    let mut versions: Vec<Version> = all.as_array().into_iter().flatten().map(of_list).collect();
    versions.reverse();
    if let Some(newest) = versions.first_mut() {
        newest.is_newest = true;
    }
    let shown = match version(&call)? {
        None => None,
        Some(number) => Some(shown(&call, number).await?),
    };
    rendered(&call, &History { frame: Frame::of(&call, "config.title"), versions, shown })
}

fn of_list(json: &Json) -> Version {
    let time = json.get("time_ms").and_then(Json::as_i64).unwrap_or_default();
    Version {
        number: json.get("number").and_then(Json::as_u64).unwrap_or_default(),
        time: Timestamp::from_millis(time).to_string(),
        who: text(json, "who"),
        note: text(json, "note"),
        summary: text(json, "summary"),
        is_newest: false,
    }
}

async fn shown(call: &Call, number: u64) -> Result<Shown, Refusal> {
    let asked = ask(Operation::ConfigHistory, json!({"version": number}));
    let version = call.web.asker.ask(asked).await?;
    let asked = ask(Operation::ConfigLook, json!({"files": version.get("files")}));
    let look = call.web.asker.ask(asked).await?;
    let changes = look.get("changes").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(Shown {
        number,
        files: files(&version),
        changes: changes.iter().map(change_in_words).collect(),
        diff: text(&look, "diff"),
        error: text(&look, "error"),
    })
}

/// `health.every: "30s" → "9s" (live)`.
fn change_in_words(change: &Json) -> String {
    let side =
        |key: &str| change.get(key).filter(|value| !value.is_null()).map_or("–".to_owned(), Json::to_string);
    let (path, effect) = (text(change, "path"), text(change, "effect"));
    if change.get("secret") == Some(&json!(true)) {
        return format!("{path} ({effect})");
    }
    format!("{path}: {} → {} ({effect})", side("old"), side("new"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_its_steps_and_a_name_with_points_is_one_of_them() {
        let titles = |path: &str| trail(path).into_iter().map(|step| step.title).collect::<Vec<_>>();
        assert_eq!(titles(""), Vec::<String>::new());
        assert_eq!(titles("device"), ["device"]);
        assert_eq!(titles("upstream.up.example"), ["upstream", "up.example"]);
        assert_eq!(titles("device.d.e.points.t"), ["device", "d.e", "t"]);
        assert_eq!(trail("device.a b").pop().unwrap().link, "/config?path=device.a%20b");
    }

    #[test]
    fn a_long_list_shows_as_much_as_a_page_takes_and_the_search_finds_the_rest() {
        let list = List {
            path: "device".into(),
            names: (0..500).map(|number| format!("Boiler {number}")).collect(),
            ..List::default()
        };
        let all = names(list.clone(), "", true);
        assert_eq!((all.steps.len(), all.more), (NAMES_MAX, 400));
        let found = names(list, "boiler 499", true);
        assert_eq!((found.steps.len(), found.more), (1, 0));
        assert_eq!(found.steps[0].link, "/config?path=device.Boiler%20499");
    }

    #[test]
    fn a_secret_is_named_as_changed_and_not_shown() {
        let change =
            json!({"path": "upstream.u.password", "effect": "reconnect", "secret": true, "old": null});
        assert_eq!(change_in_words(&change), "upstream.u.password (reconnect)");
        let change =
            json!({"path": "health.every", "effect": "live", "secret": false, "old": null, "new": "9s"});
        assert_eq!(change_in_words(&change), "health.every: – → \"9s\" (live)");
    }
}
