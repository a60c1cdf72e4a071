//! The pages: what they have in common. Each has a file here and a template.

pub(super) mod backup;
pub(super) mod broker;
pub(super) mod buffer;
pub(super) mod config;
pub(super) mod doors;
pub(super) mod events;
mod findings;
pub(super) mod logs;
pub(super) mod port;
pub(super) mod ports;
pub(super) mod sensors;
pub(super) mod start;
pub(super) mod status;
pub(super) mod system;
pub(super) mod topics;
pub(super) mod upstreams;

use std::sync::Arc;

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};

use super::assets;
use super::call::Call;
use super::reply::{Refusal, Reply, page};
use super::routes::{self, Access};
use super::texts::Catalogue;
use crate::people::Role;

/// An entry of the menu.
#[derive(Debug)]
pub struct Entry {
    /// Where.
    pub path: &'static str,
    /// The text that names it.
    pub title: &'static str,
}

/// The menu, in its order. An entry is shown to whoever may see its page, once there is one.
pub static PAGES: &[Entry] = &[
    Entry { path: "/", title: "nav.status" },
    Entry { path: "/sensors", title: "nav.sensors" },
    Entry { path: "/ports", title: "nav.ports" },
    Entry { path: "/buffer", title: "nav.buffer" },
    Entry { path: "/upstreams", title: "nav.upstreams" },
    Entry { path: "/broker", title: "nav.broker" },
    Entry { path: "/topics", title: "nav.topics" },
    Entry { path: "/config", title: "nav.config" },
    Entry { path: "/logs", title: "nav.logs" },
    Entry { path: "/events", title: "nav.events" },
    Entry { path: "/system", title: "nav.system" },
    Entry { path: "/start", title: "nav.setup" },
];

/// A line of the menu.
#[derive(Debug)]
pub struct Link {
    /// Where.
    pub path: &'static str,
    /// In words.
    pub title: String,
    /// Whether it is this page.
    pub here: bool,
}

/// What stands around every page.
#[derive(Debug)]
pub struct Frame {
    /// The texts.
    pub t: Arc<Catalogue>,
    /// The page's title.
    pub title: String,
    /// The gateway's id.
    pub gateway: String,
    /// The menu.
    pub links: Vec<Link>,
    /// Who is logged in; empty: nobody.
    pub name: String,
    /// What his role is.
    pub role: &'static str,
    /// What changes carry along.
    pub csrf: String,
    /// The folder of style and script.
    pub assets: &'static str,
    /// Light, dark, or, empty, what the system says.
    pub theme: &'static str,
    /// Code, name, whether it is this one.
    pub languages: Vec<(String, String, bool)>,
    /// The texts of the script, as JSON.
    pub words: String,
    /// This page's path.
    pub path: String,
}

impl Frame {
    /// The frame of a page whose title is the text `title`.
    #[must_use]
    pub fn of(call: &Call, title: &str) -> Self {
        let role = call.who.as_ref().map(|who| who.role);
        let t = call.texts.clone();
        Self {
            title: t.say(title).to_owned(),
            gateway: call.web.gateway.clone(),
            links: links(call, role),
            name: call.name(),
            role: role.map(Role::name).unwrap_or_default(),
            csrf: call.who.as_ref().and_then(|who| who.csrf.clone()).unwrap_or_default(),
            assets: assets::version(),
            theme: match call.cookie("theme") {
                Some("dark") => "dark",
                Some("light") => "light",
                _ => "",
            },
            languages: languages(call),
            words: t.for_script(),
            path: call.path.clone(),
            t,
        }
    }

    /// Whether whoever looks may what takes a role.
    #[must_use]
    pub fn may(&self, role: &str) -> bool {
        Role::named(self.role).is_some_and(|own| Role::named(role).is_some_and(|wanted| own >= wanted))
    }
}

fn links(call: &Call, role: Option<Role>) -> Vec<Link> {
    let may = |path: &str| {
        let route = routes::all().find(|route| route.path == path && route.content == "text/html");
        match route.map(|route| route.access) {
            Some(Access::Role(wanted)) => role.is_some_and(|role| role >= wanted),
            _ => false,
        }
    };
    let link = |entry: &Entry| Link {
        path: entry.path,
        title: call.texts.say(entry.title).to_owned(),
        here: entry.path == call.path
            || call.path.strip_prefix(entry.path).is_some_and(|below| below.starts_with('/')),
    };
    PAGES.iter().filter(|entry| may(entry.path)).map(link).collect()
}

fn languages(call: &Call) -> Vec<(String, String, bool)> {
    let current = call.web.current();
    let all = current.texts.languages();
    all.map(|(code, name)| (code.to_owned(), name.to_owned(), code == call.texts.code)).collect()
}

/// A page as an answer. Where the language was chosen just now, the browser keeps the choice.
pub(super) fn rendered(call: &Call, template: &impl Template) -> Result<Reply, Refusal> {
    let html = template
        .render()
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error.to_string()))?;
    let mut reply = page(html);
    if call.argument("lang") == Some(call.texts.code.as_str())
        && let Ok(cookie) = HeaderValue::from_str(&format!(
            "lang={}; Path=/; Max-Age=31536000; SameSite=Strict",
            call.texts.code
        ))
    {
        reply.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(reply)
}

/// Text as it stands in an address.
fn in_address(text: &str) -> String {
    let letter = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}
