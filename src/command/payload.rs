//! What stands in a command, and in the answer to it.

use serde_json::{Value as Json, json};

use super::{Audit, Outcome};
use crate::reading::Value;

/// The longest payload of a command, in bytes.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1_024;

/// `on`, `21.5`, `"auto"`, `{"value": …}`.
pub(super) fn value(payload: &[u8]) -> Result<Value, String> {
    const EXPECTED: &str = "expected a value such as on, 21.5 or {\"value\": true}";
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(format!("the payload has {} bytes, at most {PAYLOAD_BYTES_MAX} may be", payload.len()));
    }
    let text =
        std::str::from_utf8(payload).map_err(|_| format!("the payload is no text; {EXPECTED}"))?.trim();
    if text.is_empty() {
        return Err(format!("the payload is empty; {EXPECTED}"));
    }
    match serde_json::from_str::<Json>(text) {
        Ok(Json::Object(object)) => {
            let only = object.len() == 1;
            object.get("value").filter(|_| only).and_then(scalar).ok_or_else(|| EXPECTED.to_owned())
        }
        Ok(json) => scalar(&json).ok_or_else(|| EXPECTED.to_owned()),
        Err(_) if text.starts_with(['{', '[', '"']) => Err(format!("the payload is no JSON; {EXPECTED}")),
        Err(_) => Ok(Value::Text(text.to_owned())),
    }
}

/// A JSON value as a value of a point; `None` for null, arrays and objects.
#[must_use]
pub fn scalar(json: &Json) -> Option<Value> {
    match json {
        Json::Bool(state) => Some(Value::Bool(*state)),
        Json::String(text) => Some(Value::Text(text.clone())),
        Json::Number(number) => {
            number.as_i64().map(Value::Integer).or_else(|| number.as_f64().map(Value::Number))
        }
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

pub(super) fn answer(audit: &Audit) -> Json {
    let mut answer = json!({ "device": &*audit.device, "result": audit.outcome.as_str() });
    let fields = answer.as_object_mut().into_iter();
    for fields in fields {
        if let Some(point) = &audit.point {
            fields.insert("point".into(), json!(&**point));
        }
        if let Outcome::Done(Some(value)) = &audit.outcome {
            fields.insert("value".into(), value_json(value));
        }
        if let Some(error) = audit.outcome.error() {
            fields.insert("error".into(), json!(error));
        }
        if audit.duplicate {
            fields.insert("duplicate".into(), json!(true));
        }
    }
    answer
}

/// As the payload of a reading prints it: 61 rather than 61.0.
#[must_use]
pub fn value_json(value: &Value) -> Json {
    match value {
        Value::Number(number) => number.to_string().parse().unwrap_or(Json::Null),
        Value::Integer(number) => json!(number),
        Value::Bool(state) => json!(state),
        Value::Text(text) => json!(text),
    }
}
