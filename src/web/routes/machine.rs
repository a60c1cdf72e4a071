//! The machine, its log and what has happened.

use super::{Access, Answer, Field, Method, Route, field, look, route};
use crate::io::operations::{Operation, Request as Asked};
use crate::people::Role;
use crate::web::{api, machine};

pub(super) static ROUTES: &[Route] = &[
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
];
