//! Sensors, ports, GPIO lines and upstreams: what is there, and what can be done with it.

use super::{Access, Answer, Field, Method, Route, field, look, route};
use crate::io::operations::{LetterAction, Operation, Request as Asked};
use crate::people::Role;
use crate::web::{api, config_api, events, plant};

pub(super) static ROUTES: &[Route] = &[
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
    route(
        Method::Post,
        "/api/v1/sensors/{name}/poll",
        Access::Role(Role::Operator),
        "Reads a sensor that is asked now, out of turn; what it said and how long it took",
        Answer::Own(|call| Box::pin(plant::poll(call))),
    ),
    look(
        "/api/v1/profiles",
        Role::Viewer,
        "The devices that are known, each with the settings of its line",
        Answer::Operation(|_| Ok(Asked::new(Operation::Profiles))),
    ),
    Route {
        body: &[
            field("path", true, "Its device file, or host:port of a Modbus TCP server"),
            field("kind", false, "serial (without it), modbus, modbus-tcp or mbus"),
            Field {
                kind: "boolean",
                ..field("ask", false, "Of serial: also ask what known devices are asked")
            },
        ],
        ..route(
            Method::Post,
            "/api/v1/listen",
            Access::Role(Role::Admin),
            "Finds out what hangs on a line that no config need name, within a minute; as x-ndjson with each step",
            Answer::Own(|call| Box::pin(plant::listen(call))),
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
        "What waited for each upstream and was delivered lately, and how busy each bus was, with five-minute buckets of the last day",
        Answer::Operation(|_| Ok(Asked::new(Operation::Links))),
    ),
    Route {
        body: &[
            field("name", true, "Which; one that the config doesn't have is tested with the keys alone"),
            Field { kind: "object", ..field("keys", false, "Its keys that are other than in the config") },
            Field {
                kind: "array",
                ..field("edits", false, "The same as edits, as a change of the config has them")
            },
            field("password", false, "Instead of the one whose place the config tells"),
        ],
        ..route(
            Method::Post,
            "/api/v1/upstreams/test",
            Access::Role(Role::Admin),
            "Connects to an upstream as a client of its own, and tells each step; as x-ndjson while it is taken",
            Answer::Own(|call| Box::pin(config_api::test_upstream(call))),
        )
    },
    Route {
        body: &[field("name", true, "Whose"), field("password", true, "The password")],
        ..route(
            Method::Post,
            "/api/v1/upstreams/password",
            Access::Role(Role::Admin),
            "Keeps a password in a file of the gateway's own; the answer is the key that names it",
            Answer::Operation(config_api::keep_password),
        )
    },
    route(
        Method::Post,
        "/api/v1/upstreams/{name}/connect",
        Access::Role(Role::Operator),
        "Connects now, instead of at the next try",
        Answer::Operation(plant::connect),
    ),
    route(
        Method::Post,
        "/api/v1/upstreams/{name}/pause",
        Access::Role(Role::Operator),
        "Holds back what waits and what comes, also over a restart; the connection stays",
        Answer::Operation(plant::pause),
    ),
    route(
        Method::Post,
        "/api/v1/upstreams/{name}/resume",
        Access::Role(Role::Operator),
        "Has what waits go on",
        Answer::Operation(plant::resume),
    ),
    look(
        "/api/v1/maps",
        Role::Viewer,
        "What went over each map of the upstreams: messages, bytes, drops",
        Answer::Operation(|_| Ok(Asked::new(Operation::Maps))),
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
        content: "text/event-stream",
        ..look(
            "/api/v1/events",
            Role::Viewer,
            "Values and state as they change: events readings, stale, status, skipped",
            Answer::Own(|call| Box::pin(events::stream(call))),
        )
    },
];
