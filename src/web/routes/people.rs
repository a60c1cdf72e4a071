//! Sessions, accounts and tokens.

use super::{Access, Answer, Method, Route, SMALL_BYTES_MAX, field, look, route};
use crate::people::Role;
use crate::web::{accounts, api, claim};

pub(super) static ROUTES: &[Route] = &[
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
];
