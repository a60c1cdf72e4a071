//! What machines ask that watch or draw: style and script, liveness, metrics, the description.

use super::{Access, Answer, Method, Route, look, route};
use crate::io::operations::{Operation, Request as Asked};
use crate::people::Role;
use crate::web::{assets, metrics, openapi};

pub(super) static ROUTES: &[Route] = &[
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
];
