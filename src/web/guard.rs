//! Every request passes here, whatever it is for: is it meant for this gateway, who asks, may he, does his own page ask,
//! and is it small enough. One order for all routes, so that none can forget a rule.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value as Json;

use super::Web;
use super::call::{Call, Peer, cookie, cookie_name, text_of};
use super::reply::{Refusal, Reply, answered, finish, json_reply, redirect};
use super::routes::{Access, Answer, Route};
use super::texts::Catalogue;
use crate::io::lock::Locked;
use crate::people::claim::is_on_link;
use crate::people::origin::is_own_page;
use crate::people::roll::digest;
use crate::people::{Role, Who};
use crate::said;
use crate::said::Said;

/// A body that isn't there by then is given up.
const BODY_MAX: Duration = Duration::from_secs(30);

/// The header that the page sends along with each change.
pub(super) const CSRF: &str = "x-fg-csrf";

/// Judges a request, then has it answered.
pub(super) async fn handle(
    web: Arc<Web>,
    route: &'static Route,
    parameters: Vec<(String, String)>,
    request: Request,
) -> Reply {
    let is_page = matches!(route.answer, Answer::Page(_));
    let asked = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut arguments = parameters;
    arguments.extend(query(request.uri()));
    let texts = language(&web, request.headers(), &arguments);
    let reply = match answer(web, route, arguments, request, texts.clone()).await {
        Ok(reply) => reply,
        Err(refusal) if is_page => page_instead(&refusal, &asked, &texts),
        Err(refusal) => refusal.reply(&texts),
    };
    finish(reply)
}

/// What is at no route.
pub(super) fn elsewhere(web: &Web, request: &Request, refusal: Refusal) -> Reply {
    let refusal = is_meant_for_us(web, request.headers(), request.uri()).err().unwrap_or(refusal);
    let texts = language(web, request.headers(), &query(request.uri()));
    finish(refusal.reply(&texts))
}

/// Where a browser goes that can't have the page it asks for.
fn page_instead(refusal: &Refusal, asked: &str, texts: &Catalogue) -> Reply {
    match refusal.code {
        "unclaimed" => redirect("/setup"),
        "claimed" => redirect("/"),
        "login" if asked == "/" => redirect("/login"),
        "login" => redirect(&format!("/login?next={}", encoded(asked))),
        _ => refusal.reply(texts),
    }
}

async fn answer(
    web: Arc<Web>,
    route: &'static Route,
    arguments: Vec<(String, String)>,
    request: Request,
    texts: Arc<Catalogue>,
) -> Result<Reply, Refusal> {
    let (parts, body) = request.into_parts();
    is_meant_for_us(&web, &parts.headers, &parts.uri)?;
    // Set for each connection; whoever comes without one is from nowhere.
    let peer = parts.extensions.get::<Peer>().copied().ok_or_else(Refusal::not_found)?;
    let who = who(&web, peer, &parts.headers);
    is_let_in(&web, route, peer, who.as_ref())?;
    let is_change = !matches!(parts.method, Method::GET | Method::HEAD);
    if is_change {
        may_change(peer, &parts.headers, who.as_ref())?;
    }
    let body = if is_change { read(route, &parts.headers, body).await? } else { Json::Null };
    let path = parts.uri.path().to_owned();
    let call = Call { web, peer, path, arguments, headers: parts.headers, who, body, texts };
    match route.answer {
        Answer::Operation(ask) => {
            let answer = call.ask(ask(&call)?).await?;
            Ok(json_reply(&answered(answer, &call.texts)))
        }
        Answer::Own(own) | Answer::Page(own) => own(call).await,
    }
}

/// Against DNS rebinding: a page of elsewhere asks under its own name.
pub(super) fn is_meant_for_us(web: &Web, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let own: Vec<_> = web.addresses().iter().map(|(address, _)| *address).collect();
    let is_ours = |host: &str| web.is_called(host, &own);
    let one = hosts.next().is_none() && uri.authority().is_none_or(|authority| is_ours(authority.as_str()));
    if one && host.is_some_and(is_ours) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::MISDIRECTED_REQUEST,
        "wrong_host",
        said!("wrong_host", "this gateway isn't known under that name; web.hosts says under which it is"),
    ))
}

/// Who asks, by a token or a cookie.
fn who(web: &Web, peer: Peer, headers: &HeaderMap) -> Option<Who> {
    let now = web.clock.now();
    let mut people = web.people.locked();
    if let Some(bearer) = text_of(headers, "authorization").and_then(|value| value.strip_prefix("Bearer ")) {
        return people.token(now, bearer.trim().as_bytes());
    }
    let id = digest(cookie(headers, cookie_name(peer.is_secure))?)?;
    people.session(now.mono, &id)
}

fn is_let_in(web: &Web, route: &Route, peer: Peer, who: Option<&Who>) -> Result<(), Refusal> {
    let is_unclaimed = web.people.locked().is_unclaimed();
    let forbidden = |code, words: Said| Refusal::new(StatusCode::FORBIDDEN, code, words);
    match (route.access, is_unclaimed) {
        (Access::Always, _) => Ok(()),
        // Whoever is further away doesn't even learn that there is something to claim.
        (_, true) if !is_on_link(peer.address, &web.addresses()) => Err(forbidden(
            "elsewhere",
            said!("elsewhere", "this gateway answers only to its own network now"),
        )),
        (Access::Unclaimed | Access::Everybody, true) | (Access::Guest | Access::Everybody, false) => Ok(()),
        (_, true) => Err(forbidden("unclaimed", said!("unclaimed", "this gateway has to be claimed first"))),
        (Access::Unclaimed, false) => {
            Err(forbidden("claimed", said!("claimed", "this gateway has been claimed")))
        }
        (Access::Metrics, false) if web.current().config.metrics_open => Ok(()),
        (Access::Metrics, false) => may(who, Role::Viewer),
        (Access::Role(role), false) => may(who, role),
    }
}

fn may(who: Option<&Who>, role: Role) -> Result<(), Refusal> {
    match who {
        None => Err(Refusal::new(StatusCode::UNAUTHORIZED, "login", said!("login", "log in first"))),
        Some(who) if who.role < role => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "role",
            said!(
                "role_needed",
                "this takes the role {needed}, and yours is {own}",
                needed = role.name(),
                own = who.role.name()
            ),
        )),
        Some(_) => Ok(()),
    }
}

/// Against changes that other pages ask for in the browser of somebody who is logged in. No browser sends a token by
/// itself.
fn may_change(peer: Peer, headers: &HeaderMap, who: Option<&Who>) -> Result<(), Refusal> {
    let kind = text_of(headers, "content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            said!("content_type", "expected Content-Type: application/json"),
        ));
    }
    if headers.contains_key(header::AUTHORIZATION) {
        return Ok(());
    }
    let scheme = if peer.is_secure { "https" } else { "http" };
    let host = text_of(headers, "host").unwrap_or_default();
    let forbidden = |code, words: Said| Err(Refusal::new(StatusCode::FORBIDDEN, code, words));
    if !is_own_page(scheme, host, text_of(headers, "origin"), text_of(headers, "sec-fetch-site")) {
        return forbidden("origin", said!("origin", "only the gateway's own page may ask for this"));
    }
    let given = text_of(headers, CSRF);
    // Before the login there is no session to belong to: that the header is there shows that our own page asks.
    let wanted = who.and_then(|who| who.csrf.as_deref());
    let is_right = given.is_some_and(|given| wanted.is_none_or(|wanted| super::same(given, wanted)));
    if is_right {
        Ok(())
    } else {
        forbidden("csrf", said!("csrf", "the header X-FG-CSRF is missing or wrong; load the page again"))
    }
}

async fn read(route: &Route, headers: &HeaderMap, body: axum::body::Body) -> Result<Json, Refusal> {
    let too_large = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            said!("too_large", "the body is larger than {max} bytes", max = route.body_bytes_max),
        )
    };
    let announced = text_of(headers, "content-length").and_then(|length| length.parse::<u64>().ok());
    if announced
        .is_some_and(|bytes| usize::try_from(bytes).map_or(true, |bytes| bytes > route.body_bytes_max))
    {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY_MAX, Limited::new(body, route.body_bytes_max).collect()).await;
    let bytes = match collected {
        Err(_) => {
            return Err(Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                said!("body_late", "the body takes too long"),
            ));
        }
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "body",
                said!("body_short", "the body is cut short"),
            ));
        }
        Ok(Ok(body)) => body.to_bytes(),
    };
    if bytes.is_empty() {
        return Ok(Json::Null);
    }
    match serde_json::from_slice(&bytes) {
        Ok(json @ Json::Object(_)) => Ok(json),
        Ok(_) => {
            Err(Refusal::new(StatusCode::BAD_REQUEST, "body", said!("no_object", "expected a JSON object")))
        }
        Err(error) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "body",
            said!("no_json", "the body is no JSON: {error}", error = error),
        )),
    }
}

/// The language of the query, of the cookie, or the one that the browser likes best of those that there are.
fn language(web: &Web, headers: &HeaderMap, arguments: &[(String, String)]) -> Arc<Catalogue> {
    let current = web.current();
    let asked = arguments.iter().find(|(name, _)| name == "lang").map(|(_, code)| code.as_str());
    let chosen = asked.or_else(|| cookie(headers, "lang")).and_then(|code| current.texts.named(code));
    chosen.unwrap_or_else(|| current.texts.liked(text_of(headers, "accept-language").unwrap_or_default()))
}

fn query(uri: &Uri) -> Vec<(String, String)> {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
        })
        .collect()
}

/// Text without its `%41`; what is no text then has replacement characters.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The reverse: fit for a query.
pub(super) fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let one = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_come_back_as_they_were() {
        for text in ["", "plain", "a b&c=d", "ü%41", "100%", "%zz", "/config?x=1"] {
            assert_eq!(decoded(&encoded(text)), text);
        }
        assert_eq!(decoded("%C3%BC%2"), "ü%2");
        let uri: Uri = "/x?device=a%20b&point=c+d&flag".parse().unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(query(&uri), [pair("device", "a b"), pair("point", "c d"), pair("flag", "")]);
    }
}
