//! The config and its changes.

use super::{Access, Answer, Field, Method, RESTORE_BYTES_MAX, Route, field, look, route};
use crate::people::Role;
use crate::web::config_api;

pub(super) static ROUTES: &[Route] = &[
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
        "The change that goes back unless it is confirmed, and where that can be done",
        Answer::Own(|call| Box::pin(config_api::pending(call))),
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
            "Tries what a change touches, without making it; who accepts application/x-ndjson hears how it goes on",
            Answer::Own(|call| Box::pin(config_api::probe(call))),
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
    Route {
        body: BACKUP,
        ..route(
            Method::Post,
            "/api/v1/config/backup",
            Access::Role(Role::Admin),
            "The whole config in one file; with a passphrase secrets too, encrypted",
            Answer::Own(|call| Box::pin(config_api::backup(call))),
        )
    },
    Route {
        body: RESTORE,
        body_bytes_max: RESTORE_BYTES_MAX,
        ..route(
            Method::Post,
            "/api/v1/config/restore",
            Access::Role(Role::Admin),
            "What a backup would change; with apply, puts it back, to be confirmed",
            Answer::Own(|call| Box::pin(config_api::restore(call))),
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

const PASSPHRASE: Field = field("passphrase", false, "Of the backup, 8 bytes at least");
const CONTENT: Field = field("backup", true, "The backup's content");
const APPLY: Field = Field {
    kind: "boolean",
    ..field("apply", false, "Whether it is done; otherwise only what it would change")
};

const BACKUP: &[Field] = &[PASSPHRASE];
const RESTORE: &[Field] = &[CONTENT, PASSPHRASE, APPLY, NOTE];

/// A change of the config.
const PROPOSAL: &[Field] = &[BASE, EDITS, TEXT, FILES];
const CHANGE: &[Field] = &[BASE, EDITS, TEXT, FILES, NOTE, PROBE, FORCE];
const REVERT: &[Field] = &[VERSION, NOTE, PROBE, FORCE];
