//! The one table of routes, in a file for each subject: from it come the router, the API's description, and the tests of
//! who may what.

mod broker;
mod config;
mod lines;
mod machine;
mod pages;
mod people;
mod plant;
mod watch;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawPathParams, Request};
use axum::http::{Method as HttpMethod, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, on};

use super::call::Call;
use super::reply::{Refusal, Reply};
use super::{Web, guard};
use crate::io::operations::Request as Asked;
use crate::people::Role;

/// The methods that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Looks; changes nothing. HEAD too.
    Get,
    /// Does something.
    Post,
    /// Puts something in the place of what was there.
    Put,
    /// Removes something.
    Delete,
}

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, always: says next to nothing.
    Always,
    /// Everybody; while the gateway is unclaimed, everybody on its networks.
    Everybody,
    /// Everybody on its networks, while the gateway is unclaimed; then nobody.
    Unclaimed,
    /// Everybody, once the gateway is claimed.
    Guest,
    /// As `web.metrics` says.
    Metrics,
    /// Who has that role, or more.
    Role(Role),
}

/// An answer that is on its way.
pub type Answering = Pin<Box<dyn Future<Output = Result<Reply, Refusal>> + Send>>;

/// Where the answer comes from.
#[derive(Clone, Copy)]
pub enum Answer {
    /// The gateway's operations.
    Operation(fn(&Call) -> Result<Asked, Refusal>),
    /// The web's own.
    Own(fn(Call) -> Answering),
    /// A page: whoever may not see it is sent to where he can log in.
    Page(fn(Call) -> Answering),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Operation(_) => "Operation",
            Self::Own(_) => "Own",
            Self::Page(_) => "Page",
        })
    }
}

/// A field of a body, or an argument of a query.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type, as JSON Schema calls it.
    pub kind: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What it means.
    pub doc: &'static str,
}

/// A route.
#[derive(Debug)]
pub struct Route {
    /// How.
    pub method: Method,
    /// Where; `{name}` stands for one part.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// What it does, for the description.
    pub summary: &'static str,
    /// Arguments behind the question mark.
    pub query: &'static [Field],
    /// Fields of the body.
    pub body: &'static [Field],
    /// The largest body.
    pub body_bytes_max: usize,
    /// The answer's type of content.
    pub content: &'static str,
    /// Where the answer comes from.
    pub answer: Answer,
}

/// The largest body, unless a route says otherwise: a config of the largest size fits.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The largest request with a backup: twice what a config with its certificates and profiles comes to. The command line
/// restores larger ones.
pub const RESTORE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The largest body of who isn't logged in yet.
const SMALL_BYTES_MAX: usize = 4 * 1024;

const JSON: &str = "application/json";
const HTML: &str = "text/html";

const fn route(
    method: Method,
    path: &'static str,
    access: Access,
    summary: &'static str,
    answer: Answer,
) -> Route {
    let (query, body) = (&[], &[]);
    Route {
        method,
        path,
        access,
        summary,
        query,
        body,
        body_bytes_max: BODY_BYTES_MAX,
        content: JSON,
        answer,
    }
}

const fn look(path: &'static str, role: Role, summary: &'static str, answer: Answer) -> Route {
    route(Method::Get, path, Access::Role(role), summary, answer)
}

const fn page(path: &'static str, access: Access, summary: &'static str, answer: Answer) -> Route {
    Route { content: HTML, ..route(Method::Get, path, access, summary, answer) }
}

const fn field(name: &'static str, required: bool, doc: &'static str) -> Field {
    Field { name, kind: "string", required, doc }
}

/// All routes, by subject.
static SUBJECTS: [&[Route]; 8] = [
    pages::ROUTES,
    watch::ROUTES,
    plant::ROUTES,
    lines::ROUTES,
    machine::ROUTES,
    people::ROUTES,
    config::ROUTES,
    broker::ROUTES,
];

/// All routes.
pub fn all() -> impl Iterator<Item = &'static Route> {
    SUBJECTS.into_iter().flatten()
}

impl Method {
    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Delete => MethodFilter::DELETE,
        }
    }

    /// As HTTP writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// The router of all routes.
pub(super) fn router(web: &Arc<Web>) -> Router {
    let mut router = Router::new();
    for route in all() {
        let web = web.clone();
        let answer = move |parameters: RawPathParams, request: Request| {
            let parameters =
                parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            guard::handle(web.clone(), route, parameters, request)
        };
        router = router.route(route.path, on(route.method.filter(), answer));
    }
    let (nowhere, not_so) = (web.clone(), web.clone());
    router
        .fallback(move |request: Request| {
            let web = nowhere.clone();
            async move { Ok::<_, Infallible>(guard::elsewhere(&web, &request, Refusal::not_found())) }
        })
        .method_not_allowed_fallback(move |request: Request| {
            let web = not_so.clone();
            async move { wrong_method(&web, &request) }
        })
}

fn wrong_method(web: &Web, request: &Request) -> Reply {
    let path = request.uri().path();
    let known = all().filter(|route| is_at(route.path, path));
    let methods: Vec<&str> = known.map(|route| route.method.name()).collect();
    let message = format!("{} isn't done here; {} is", request.method(), methods.join(", "));
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", message);
    let mut reply = guard::elsewhere(web, request, refusal);
    if let Ok(allow) = methods.join(", ").parse() {
        reply.headers_mut().insert(header::ALLOW, allow);
    }
    reply.into_response()
}

/// Whether a path is one of a route's.
fn is_at(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(path).all(|(wanted, part)| wanted.starts_with('{') || *wanted == part)
}

/// Whether a method only looks.
#[must_use]
pub fn is_safe(method: &HttpMethod) -> bool {
    matches!(*method, HttpMethod::GET | HttpMethod::HEAD)
}
