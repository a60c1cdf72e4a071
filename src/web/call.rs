//! A request after it was judged: what handlers get.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use serde_json::Value as Json;

use super::Web;
use super::doors::DoorId;
use super::reply::Refusal;
use super::texts::Catalogue;
use crate::io::operations::{By, Failure, Request};
use crate::people::Who;
use crate::said;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Whether it speaks TLS.
    pub(super) is_secure: bool,
    /// By which address of the page.
    pub(super) door: DoorId,
}

/// The name of the session's cookie: with TLS one that no other host of the domain can set.
pub(super) const fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { "__Host-fg" } else { "fg" }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) web: Arc<Web>,
    pub(super) peer: Peer,
    /// Without the query.
    pub(super) path: String,
    /// What stands for `{name}` in the path, and behind the question mark.
    pub(super) arguments: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    /// Who asks, if he is logged in or has a token.
    pub(super) who: Option<Who>,
    /// The body of a change; null of anything else.
    pub(super) body: Json,
    /// What is said in his language.
    pub(super) texts: Arc<Catalogue>,
}

impl Call {
    /// What stands for `{name}` in the path or behind `name=` in the query.
    pub(super) fn argument(&self, name: &str) -> Option<&str> {
        self.arguments.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A text of the body that must be there.
    pub(super) fn text(&self, field: &'static str) -> Result<&str, Refusal> {
        self.optional_text(field)?
            .ok_or_else(|| Refusal::field(field, said!("missing", "{field} is missing", field = field)))
    }

    /// A text of the body that may be there.
    pub(super) fn optional_text(&self, field: &'static str) -> Result<Option<&str>, Refusal> {
        match self.body.get(field) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => {
                Err(Refusal::field(field, said!("not_text", "{field}: expected a text", field = field)))
            }
        }
    }

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        text_of(&self.headers, name)
    }

    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        cookie(&self.headers, name)
    }

    /// Has the gateway do what is asked, on behalf of whoever asks here: so the events tell who it was.
    pub(super) async fn ask(&self, request: Request) -> Result<Json, Failure> {
        let by = By { name: self.name(), address: self.peer.address.to_string() };
        self.web.asker.ask(Request { by: Some(by), ..request }).await
    }

    /// The name of who asks; empty where nobody is logged in.
    pub(super) fn name(&self) -> String {
        self.who.as_ref().map(|who| who.name.clone()).unwrap_or_default()
    }
}

pub(super) fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (known, value) = pair.trim().split_once('=')?;
        (known == name).then_some(value)
    })
}
