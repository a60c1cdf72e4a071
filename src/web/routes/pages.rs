//! The pages.

use super::{Access, Answer, Route, page};
use crate::people::Role;
use crate::web::pages;

pub(super) static ROUTES: &[Route] = &[
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
        "/ports/{name}",
        Access::Role(Role::Viewer),
        "One line: who has it open, scan, trace, bus",
        Answer::Page(|call| Box::pin(pages::port::page(call))),
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
        "/start",
        Access::Role(Role::Admin),
        "The steps from a new gateway to the first reading",
        Answer::Page(|call| Box::pin(pages::start::page(call))),
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
        "/config/backup",
        Access::Role(Role::Admin),
        "The whole config in one file, and back",
        Answer::Page(|call| Box::pin(pages::backup::backup(call))),
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
];
