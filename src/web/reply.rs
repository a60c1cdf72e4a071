//! Answers: JSON, pages, and refusals of one shape: `{"error": {"code", "message", "field"}}`.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::{Value as Json, json};

use super::texts::Catalogue;
use crate::io::operations::{Failure, FailureKind};
use crate::said;
use crate::said::Said;

/// An answer.
pub(super) type Reply = Response<Body>;

/// What every answer has in its head: the page runs its own scripts and styles, shows its own pictures, and stands in
/// nobody's frame.
const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-frame-options", "DENY"),
];

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(super) status: StatusCode,
    /// For programs.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: Said,
    /// What of the request is wrong, if it is one thing.
    pub(super) field: Option<&'static str>,
    /// When to come back.
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<Said>) -> Self {
        Self { status, code, message: message.into(), field: None, retry_after: None }
    }

    /// Something of the request is wrong.
    pub(super) fn field(field: &'static str, message: impl Into<Said>) -> Self {
        Self { field: Some(field), ..Self::new(StatusCode::BAD_REQUEST, "wrong_field", message) }
    }

    pub(super) fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", said!("nothing_here", "there is nothing here"))
    }

    pub(super) fn busy(message: impl Into<Said>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).after(Duration::from_secs(2))
    }

    pub(super) fn too_many(message: impl Into<Said>, wait: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many", message).after(wait)
    }

    /// What is wrong, in a language, and for programs.
    pub(super) fn json(&self, texts: &Catalogue) -> Json {
        let mut error = json!({"code": self.code, "message": texts.tell(&self.message)});
        if let Some(error) = error.as_object_mut() {
            if let Some(field) = self.field {
                error.insert("field".into(), json!(field));
            }
            if self.message.code().is_some() {
                error.insert("said".into(), self.message.json());
            }
        }
        error
    }

    pub(super) fn reply(&self, texts: &Catalogue) -> Reply {
        let mut reply = json_reply(&json!({"error": self.json(texts)}));
        *reply.status_mut() = self.status;
        if let Some(wait) = self.retry_after {
            // At least a second: "0" would mean at once.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        reply
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::Busy => Self::busy(failure.message),
            FailureKind::Refused => Self {
                field: failure.field,
                ..Self::new(StatusCode::BAD_REQUEST, "refused", failure.message)
            },
        }
    }
}

/// What an operation has answered, its refusal in a language.
pub(super) fn answered(mut answer: Json, texts: &Catalogue) -> Json {
    if answer.get("said").is_some()
        && let Some(said) = Said::of(&answer)
        && let Some(error) = answer.get_mut("error")
    {
        *error = json!(texts.tell(&said));
    }
    answer
}

pub(super) fn json_reply(json: &Json) -> Reply {
    typed("application/json", json.to_string())
}

pub(super) fn page(html: String) -> Reply {
    typed("text/html; charset=utf-8", html)
}

/// Nothing to say, and all is well.
pub(super) fn done() -> Reply {
    json_reply(&json!({"ok": true}))
}

pub(super) fn typed(kind: &'static str, body: impl Into<Body>) -> Reply {
    let mut reply = Response::new(body.into());
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// To another page of ours.
pub(super) fn redirect(to: &str) -> Reply {
    let mut reply = typed("text/plain", Body::empty());
    *reply.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(to) = HeaderValue::from_str(to) {
        reply.headers_mut().insert(header::LOCATION, to);
    }
    reply
}

/// What every answer has in its head.
pub(super) fn finish(mut reply: Reply) -> Reply {
    for (name, value) in HEADERS {
        reply.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    reply
}
