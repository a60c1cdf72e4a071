//! Lines: who has them open, what passes over one, what a scan finds on it.

use super::{Access, Answer, Field, Method, Route, field, look, route};
use crate::io::operations::{Operation, Request as Asked};
use crate::people::Role;
use crate::web::lines;

pub(super) static ROUTES: &[Route] = &[
    look(
        "/api/v1/holders",
        Role::Operator,
        "Which programs have the serial lines open",
        Answer::Operation(|_| Ok(Asked::new(Operation::Holders))),
    ),
    Route {
        body: &[
            field("kind", true, "serial (rate, frame and protocol), modbus or mbus"),
            field("baud", false, "Rates, such as 9600, 19200; the usual ones, or the port's, without it"),
            field("frames", false, "Frames, such as 8N1, 8E1; the usual one, or the port's, without it"),
            field("units", false, "First and last address, such as 1-32; all without it"),
            field("registers", false, "First and last register that each Modbus device is asked for"),
            Field {
                kind: "integer",
                ..field("listen_s", false, "Of serial: for how long each rate is listened to, 1 to 60")
            },
            Field { kind: "boolean", ..field("ask", false, "Of serial: ask what profiles ask, too") },
            Field {
                kind: "boolean",
                ..field("all", false, "Of serial: all rates, also when it is clear which")
            },
        ],
        ..route(
            Method::Post,
            "/api/v1/ports/{name}/scan",
            Access::Role(Role::Operator),
            "Scans a port's line, which it has back afterwards, or one that is plugged in, by its path",
            Answer::Operation(lines::scan),
        )
    },
    look(
        "/api/v1/ports/{name}/scan",
        Role::Operator,
        "How the last scan of a line gets on, and what it has found",
        Answer::Operation(lines::scanned),
    ),
    route(
        Method::Post,
        "/api/v1/ports/{name}/scan/stop",
        Access::Role(Role::Operator),
        "Ends the scan of a line; what was found stays",
        Answer::Operation(lines::end_scan),
    ),
    Route {
        content: "text/event-stream",
        ..look(
            "/api/v1/ports/{name}/trace",
            Role::Operator,
            "What passes over a line, as it passes: events about, pieces",
            Answer::Own(|call| Box::pin(lines::trace(call))),
        )
    },
];
