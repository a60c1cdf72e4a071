//! The one table of routes: from it come the router, the API's description, and the tests of who may what.

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
use super::{
    Web, accounts, api, assets, broker, claim, config_api, events, guard, machine, metrics, openapi, pages,
    plant, topics,
};
use crate::io::operations::{LetterAction, Operation, Request as Asked};
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

/// All routes.
pub static ROUTES: &[Route] = &[
    // Pages.
    page("/", Access::Role(Role::Viewer), "Status", Answer::Page(|call| Box::pin(pages::status::page(call)))),
    page(
        "/sensors",
        Access::Role(Role::Viewer),
        "All sensors",
        Answer::Page(|call| Box::pin(pages::sensors::page(call))),
    ),
    page(
        "/sensors/{name}",
        Access::Role(Role::Viewer),
        "One sensor",
        Answer::Page(|call| Box::pin(pages::sensors::one(call))),
    ),
    page(
        "/ports",
        Access::Role(Role::Viewer),
        "Ports, buses and GPIO lines",
        Answer::Page(|call| Box::pin(pages::ports::page(call))),
    ),
    page(
        "/buffer",
        Access::Role(Role::Viewer),
        "What waits for each upstream",
        Answer::Page(|call| Box::pin(pages::buffer::page(call))),
    ),
    page(
        "/upstreams",
        Access::Role(Role::Viewer),
        "The upstreams",
        Answer::Page(|call| Box::pin(pages::upstreams::page(call))),
    ),
    page("/login", Access::Guest, "Login", Answer::Page(|call| Box::pin(pages::doors::login(call)))),
    page(
        "/setup",
        Access::Unclaimed,
        "Claim the gateway",
        Answer::Page(|call| Box::pin(pages::doors::setup(call))),
    ),
    page(
        "/config",
        Access::Role(Role::Admin),
        "Config, as a form",
        Answer::Page(|call| Box::pin(pages::config::form(call))),
    ),
    page(
        "/config/text",
        Access::Role(Role::Admin),
        "Config, as text",
        Answer::Page(|call| Box::pin(pages::config::as_text(call))),
    ),
    page(
        "/config/history",
        Access::Role(Role::Admin),
        "Configs that were in use",
        Answer::Page(|call| Box::pin(pages::config::history(call))),
    ),
    page(
        "/broker",
        Access::Role(Role::Viewer),
        "Broker",
        Answer::Page(|call| Box::pin(pages::broker::page(call))),
    ),
    page(
        "/topics",
        Access::Role(Role::Operator),
        "Topics",
        Answer::Page(|call| Box::pin(pages::topics::page(call))),
    ),
    page(
        "/logs",
        Access::Role(Role::Operator),
        "The last lines of the log",
        Answer::Page(|call| Box::pin(pages::logs::page(call))),
    ),
    page(
        "/events",
        Access::Role(Role::Operator),
        "What has happened lately",
        Answer::Page(|call| Box::pin(pages::events::page(call))),
    ),
    page(
        "/system",
        Access::Role(Role::Viewer),
        "The machine, its clock, certificates and versions",
        Answer::Page(|call| Box::pin(pages::system::page(call))),
    ),
    Route {
        content: "*/*",
        ..route(
            Method::Get,
            "/assets/{version}/{file}",
            Access::Everybody,
            "Style, script, picture",
            Answer::Own(|call| Box::pin(assets::asset(call))),
        )
    },
    // For machines that watch.
    route(
        Method::Get,
        "/healthz",
        Access::Always,
        "Whether the program runs",
        Answer::Own(|call| Box::pin(metrics::alive(call))),
    ),
    route(
        Method::Get,
        "/readyz",
        Access::Always,
        "Whether the gateway does its work; 503 where it doesn't answer",
        Answer::Own(|call| Box::pin(metrics::ready(call))),
    ),
    Route {
        content: "text/plain",
        ..route(
            Method::Get,
            "/metrics",
            Access::Metrics,
            "Counters and values, as Prometheus reads them",
            Answer::Own(|call| Box::pin(metrics::metrics(call))),
        )
    },
    // The API.
    look(
        "/api/v1/openapi.json",
        Role::Viewer,
        "This description",
        Answer::Own(|call| Box::pin(openapi::description(call))),
    ),
    look(
        "/api/v1/status",
        Role::Viewer,
        "How the gateway does: health, and the last readings",
        Answer::Operation(|_| Ok(Asked::new(Operation::Status))),
    ),
    look(
        "/api/v1/readings",
        Role::Viewer,
        "The last reading of each device",
        Answer::Operation(|_| Ok(Asked::new(Operation::Readings))),
    ),
    look(
        "/api/v1/sensors",
        Role::Viewer,
        "Each sensor with its points: value, unit, quality, age, errors",
        Answer::Operation(|_| Ok(Asked::new(Operation::Sensors))),
    ),
    look(
        "/api/v1/sensors/{name}",
        Role::Viewer,
        "One sensor, with what came over its line last",
        Answer::Operation(plant::sensor),
    ),
    Route {
        body: &[
            field("text", true, "What it might have sent; a line gets its end"),
            Field { kind: "boolean", ..field("is_hex", false, "The text is bytes as hexadecimal digits") },
        ],
        ..route(
            Method::Post,
            "/api/v1/sensors/{name}/try",
            Access::Role(Role::Operator),
            "What the running config makes of bytes; the readings know nothing of it",
            Answer::Operation(plant::attempt),
        )
    },
    look(
        "/api/v1/backlog",
        Role::Viewer,
        "What waits for each upstream",
        Answer::Own(|call| Box::pin(api::backlog(call))),
    ),
    look(
        "/api/v1/upstreams",
        Role::Viewer,
        "The upstreams and how they are reached",
        Answer::Own(|call| Box::pin(api::upstreams(call))),
    ),
    look(
        "/api/v1/plugged",
        Role::Viewer,
        "The serial lines that are plugged in, and the ports that mean them",
        Answer::Operation(|_| Ok(Asked::new(Operation::Plugged))),
    ),
    Route {
        body: &[field("value", true, "on or off; of a counter its total")],
        ..route(
            Method::Post,
            "/api/v1/gpio/{name}",
            Access::Role(Role::Operator),
            "Sets an output, a counter's total, or a simulated line",
            Answer::Operation(plant::switch),
        )
    },
    look(
        "/api/v1/links",
        Role::Viewer,
        "What waited for each upstream and was delivered lately, with five-minute buckets of the last day",
        Answer::Operation(|_| Ok(Asked::new(Operation::Links))),
    ),
    route(
        Method::Post,
        "/api/v1/upstreams/{name}/connect",
        Access::Role(Role::Operator),
        "Connects now, instead of at the next try",
        Answer::Operation(plant::connect),
    ),
    Route {
        content: "application/x-ndjson",
        ..look(
            "/api/v1/upstreams/{name}/export",
            Role::Admin,
            "All that waits, a message on each line",
            Answer::Own(|call| Box::pin(plant::export(call))),
        )
    },
    Route {
        body: &[field("name", true, "The upstream once more: nothing is purged by mistake")],
        ..route(
            Method::Post,
            "/api/v1/upstreams/{name}/purge",
            Access::Role(Role::Admin),
            "Gives up all that waits; it is never sent",
            Answer::Operation(plant::purge),
        )
    },
    route(
        Method::Post,
        "/api/v1/upstreams/{name}/deadletters/retry",
        Access::Role(Role::Admin),
        "Sends once more what was refused for good",
        Answer::Own(|call| Box::pin(plant::letters(call, LetterAction::Retry))),
    ),
    route(
        Method::Post,
        "/api/v1/upstreams/{name}/deadletters/purge",
        Access::Role(Role::Admin),
        "Forgets what was refused for good",
        Answer::Own(|call| Box::pin(plant::letters(call, LetterAction::Purge))),
    ),
    Route {
        query: &[
            field("device", false, "Only of this device, with five-minute buckets of the last day"),
            field("point", false, "Only this point of the device"),
        ],
        ..look(
            "/api/v1/history",
            Role::Viewer,
            "What the points were like lately",
            Answer::Operation(api::history),
        )
    },
    Route {
        query: &[field("after", false, "Only those after this number")],
        ..look(
            "/api/v1/journal",
            Role::Operator,
            "What has happened lately: logins, changes, commands",
            Answer::Operation(api::journal),
        )
    },
    Route {
        query: &[
            field("after", false, "Only those after this number"),
            field("level", false, "error, warn, info, debug or trace: of this level and worse"),
            field("subsystem", false, "Only of this part of the gateway"),
            field("text", false, "Only those that contain this text"),
        ],
        ..look(
            "/api/v1/log",
            Role::Operator,
            "The last lines of the log, up to 300, and the levels that hold",
            Answer::Operation(machine::log_lines),
        )
    },
    Route {
        body: &[
            field("name", false, "The part of the gateway; all of it without"),
            field("level", false, "off, error, warn, info, debug or trace; as configured without it"),
            Field {
                name: "minutes",
                kind: "integer",
                required: false,
                doc: "For how long; 15 without it, at most 1440",
            },
        ],
        ..route(
            Method::Post,
            "/api/v1/log",
            Access::Role(Role::Admin),
            "Sets how much is logged, for a time",
            Answer::Operation(machine::log_level),
        )
    },
    look(
        "/api/v1/system",
        Role::Viewer,
        "The machine, its clock, certificates and versions",
        Answer::Operation(|_| Ok(Asked::new(Operation::System))),
    ),
    look(
        "/api/v1/support",
        Role::Admin,
        "A bundle for whoever helps: state, config, log and events, without secrets",
        Answer::Own(|call| Box::pin(machine::support(call))),
    ),
    Route {
        body: &[field("confirm", true, "The gateway's id")],
        ..route(
            Method::Post,
            "/api/v1/restart",
            Access::Role(Role::Admin),
            "Ends the gateway with exit code 75, so that its supervisor starts it again",
            Answer::Operation(machine::restart),
        )
    },
    Route {
        content: "text/event-stream",
        ..look(
            "/api/v1/events",
            Role::Viewer,
            "Values and state as they change: events readings, stale, status, skipped",
            Answer::Own(|call| Box::pin(events::stream(call))),
        )
    },
    look(
        "/api/v1/session",
        Role::Viewer,
        "Who asks, and what he may",
        Answer::Own(|call| Box::pin(api::session(call))),
    ),
    Route {
        body: &[field("name", true, "The account"), field("password", true, "Its password")],
        body_bytes_max: SMALL_BYTES_MAX,
        ..route(
            Method::Post,
            "/api/v1/login",
            Access::Guest,
            "Begins a session",
            Answer::Own(|call| Box::pin(accounts::login(call))),
        )
    },
    route(
        Method::Post,
        "/api/v1/logout",
        Access::Role(Role::Viewer),
        "Ends the session",
        Answer::Own(|call| Box::pin(accounts::logout(call))),
    ),
    Route {
        body: &[
            field("code", true, "The claim code of the console, the journal or the label"),
            field("name", false, "The first account, an administrator; \"admin\" without it"),
            field("password", true, "Its password"),
        ],
        body_bytes_max: SMALL_BYTES_MAX,
        ..route(
            Method::Post,
            "/api/v1/claim",
            Access::Unclaimed,
            "Claims the gateway: makes the first account",
            Answer::Own(|call| Box::pin(claim::claim(call))),
        )
    },
    Route {
        body: &[
            field("old", true, "The password until now"),
            field("password", true, "The new one; all sessions of the account end, this one too"),
        ],
        ..route(
            Method::Post,
            "/api/v1/password",
            Access::Role(Role::Viewer),
            "Changes the own password",
            Answer::Own(|call| Box::pin(accounts::change_password(call))),
        )
    },
    look("/api/v1/accounts", Role::Admin, "All accounts", Answer::Own(|call| Box::pin(accounts::list(call)))),
    Route {
        body: &[
            field("name", true, "The account; one that exists gets this role and password"),
            field("role", true, "viewer, operator or admin"),
            field("password", true, "Its password"),
        ],
        ..route(
            Method::Post,
            "/api/v1/accounts",
            Access::Role(Role::Admin),
            "Makes or changes an account",
            Answer::Own(|call| Box::pin(accounts::set(call))),
        )
    },
    route(
        Method::Delete,
        "/api/v1/accounts/{name}",
        Access::Role(Role::Admin),
        "Removes an account; the last administrator stays",
        Answer::Own(|call| Box::pin(accounts::remove(call))),
    ),
    look(
        "/api/v1/tokens",
        Role::Admin,
        "All API tokens, without the tokens themselves",
        Answer::Own(|call| Box::pin(accounts::tokens(call))),
    ),
    Route {
        body: &[field("name", true, "What it is for"), field("role", true, "viewer, operator or admin")],
        ..route(
            Method::Post,
            "/api/v1/tokens",
            Access::Role(Role::Admin),
            "Makes a token; only this answer ever shows it",
            Answer::Own(|call| Box::pin(accounts::make_token(call))),
        )
    },
    route(
        Method::Delete,
        "/api/v1/tokens/{name}",
        Access::Role(Role::Admin),
        "Removes a token",
        Answer::Own(|call| Box::pin(accounts::remove_token(call))),
    ),
    // The config.
    look(
        "/api/v1/config",
        Role::Admin,
        "The config: files and their hash, what they mean, what waits to be confirmed",
        Answer::Operation(config_api::state),
    ),
    look(
        "/api/v1/config/schema",
        Role::Viewer,
        "The config's JSON Schema",
        Answer::Operation(config_api::schema),
    ),
    look(
        "/api/v1/config/pending",
        Role::Viewer,
        "The change that goes back unless it is confirmed",
        Answer::Operation(config_api::pending),
    ),
    Route {
        query: &[field("version", false, "Only this one, with its text")],
        ..look(
            "/api/v1/config/history",
            Role::Admin,
            "The configs that were in use, the oldest first",
            Answer::Operation(config_api::history),
        )
    },
    Route {
        body: PROPOSAL,
        ..route(
            Method::Post,
            "/api/v1/config/look",
            Access::Role(Role::Admin),
            "What a change would do: its mistakes, or what differs; without a proposal what is on disk",
            Answer::Operation(config_api::look),
        )
    },
    Route {
        body: PROPOSAL,
        ..route(
            Method::Post,
            "/api/v1/config/probe",
            Access::Role(Role::Admin),
            "Tries what a change touches, without making it",
            Answer::Operation(config_api::probe),
        )
    },
    Route {
        body: CHANGE,
        ..route(
            Method::Post,
            "/api/v1/config/apply",
            Access::Role(Role::Admin),
            "Makes a change; what could lock people out goes back unless it is confirmed",
            Answer::Own(|call| Box::pin(config_api::apply(call))),
        )
    },
    route(
        Method::Post,
        "/api/v1/config/confirm",
        Access::Role(Role::Admin),
        "Keeps the change that waits",
        Answer::Own(|call| Box::pin(config_api::confirm(call))),
    ),
    Route {
        body: REVERT,
        ..route(
            Method::Post,
            "/api/v1/config/revert",
            Access::Role(Role::Admin),
            "Puts back the change that waits; else goes back to a version, or to the one before",
            Answer::Own(|call| Box::pin(config_api::revert(call))),
        )
    },
    // The broker.
    Route {
        query: &[
            field("from", false, "From this place on, as `next` of the answer before says"),
            field("max", false, "At most so many; 500 without it"),
        ],
        ..look(
            "/api/v1/broker/clients",
            Role::Viewer,
            "Clients and sessions",
            Answer::Operation(broker::clients),
        )
    },
    Route {
        body: &[field("client", true, "Its client identifier")],
        ..route(
            Method::Post,
            "/api/v1/broker/kick",
            Access::Role(Role::Operator),
            "Closes a client's connection; it may come back",
            Answer::Own(|call| Box::pin(broker::kick(call))),
        )
    },
    Route {
        query: &[field("topic", true, "The topic")],
        ..look(
            "/api/v1/broker/consumers",
            Role::Viewer,
            "Who gets what is published to a topic",
            Answer::Operation(broker::consumers),
        )
    },
    look(
        "/api/v1/broker/limits",
        Role::Viewer,
        "Listeners, and how near the limits are",
        Answer::Operation(|_| Ok(Asked::new(Operation::BrokerLimits))),
    ),
    look(
        "/api/v1/broker/rules",
        Role::Operator,
        "Who may publish and subscribe to what",
        Answer::Operation(|_| Ok(Asked::new(Operation::BrokerRules))),
    ),
    Route {
        query: &[
            field("prefix", false, "Only topics that begin with it"),
            field("after", false, "Only topics behind it, as `next` of the answer before says"),
            field("max", false, "At most so many; 200 without it"),
        ],
        ..look(
            "/api/v1/topics/retained",
            Role::Operator,
            "Retained messages with the beginnings of their payloads",
            Answer::Operation(broker::retained),
        )
    },
    Route {
        query: &[field("topic", true, "The topic")],
        ..look(
            "/api/v1/topics/message",
            Role::Operator,
            "The retained message of a topic, whole",
            Answer::Operation(broker::message),
        )
    },
    Route {
        body: &[
            field("topic", true, "The topic"),
            field("text", false, "The payload as text"),
            field("hex", false, "The payload as hexadecimal digits, instead"),
            Field { name: "qos", kind: "integer", required: false, doc: "0, 1 or 2; 0 without it" },
            Field { name: "retain", kind: "boolean", required: false, doc: "Whether it is retained" },
        ],
        ..route(
            Method::Post,
            "/api/v1/topics/publish",
            Access::Role(Role::Operator),
            "Publishes a message where LAN clients may",
            Answer::Own(|call| Box::pin(broker::publish(call))),
        )
    },
    Route {
        body: &[field("topic", true, "The topic")],
        ..route(
            Method::Post,
            "/api/v1/topics/forget",
            Access::Role(Role::Operator),
            "Deletes the retained message of a topic",
            Answer::Own(|call| Box::pin(broker::forget(call))),
        )
    },
    Route {
        content: "text/event-stream",
        query: &[field("prefix", false, "Only topics that begin with it")],
        ..look(
            "/api/v1/topics/live",
            Role::Operator,
            "Topics as their last messages change: event topics",
            Answer::Own(|call| Box::pin(topics::stream(call))),
        )
    },
];

const BASE: Field =
    field("base", false, "The hash of the files that the change begins from; others may have changed them");
const EDITS: Field = Field {
    kind: "array",
    ..field("edits", false, "Keys to change: path, and value in JSON (null takes it out), toml, or text")
};
const TEXT: Field = field("text", false, "Instead: the main file's whole text");
const FILES: Field =
    Field { kind: "array", ..field("files", false, "Instead: all files, each with file and text") };
const NOTE: Field = field("note", false, "Why, for the history");
const PROBE: Field =
    Field { kind: "boolean", ..field("probe", false, "Whether it is tried first; true without it") };
const FORCE: Field =
    Field { kind: "boolean", ..field("force", false, "Whether it is made even if the try fails") };
const VERSION: Field =
    Field { kind: "integer", ..field("version", false, "Which; without it the one before") };

/// A change of the config.
const PROPOSAL: &[Field] = &[BASE, EDITS, TEXT, FILES];
const CHANGE: &[Field] = &[BASE, EDITS, TEXT, FILES, NOTE, PROBE, FORCE];
const REVERT: &[Field] = &[VERSION, NOTE, PROBE, FORCE];

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
    for route in ROUTES {
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
    let known = ROUTES.iter().filter(|route| is_at(route.path, path));
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
