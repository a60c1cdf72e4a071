//! The LAN's broker and its topics.

use super::{Access, Answer, Field, Method, Route, field, look, route};
use crate::io::operations::{Operation, Request as Asked};
use crate::people::Role;
use crate::web::{broker, topics};

pub(super) static ROUTES: &[Route] = &[
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
        "/api/v1/broker/users",
        Role::Operator,
        "Who may log in on the network, and who is connected as whom",
        Answer::Operation(|_| Ok(Asked::new(Operation::BrokerUsers))),
    ),
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
