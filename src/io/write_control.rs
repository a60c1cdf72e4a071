//! What the control socket does with commands to devices: the same as a message on their topic, with an answer.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::reporter::Reporter;
use crate::command::{Outcome, scalar, value_json};

/// Which point, and its value.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// The device, or a GPIO output or counter.
    device: String,
    /// Its point or command; a GPIO line needs none.
    point: Option<String>,
    /// A number, true, false or a word.
    value: Json,
}

impl Arguments {
    /// In words.
    pub(super) fn words(&self) -> String {
        let point = self.point.as_deref().map(|point| format!("/{point}")).unwrap_or_default();
        format!("{}{point} = {}", self.device, self.value)
    }
}

/// Has a device carry out a command.
pub(super) async fn write(arguments: Option<Arguments>, reporter: &Reporter) -> Json {
    let Some(Arguments { device, point, value }) = arguments else {
        return json!({"error": "write wants write = {device, point, value}"});
    };
    let Some(value) = scalar(&value) else {
        return json!({"error": "value: expected true, false, a word or a number"});
    };
    let outcome = reporter.desk.ask(&device, point.as_deref(), value).await;
    let outcome = outcome.unwrap_or_else(|_| Outcome::Failed("the gateway is stopping".to_owned()));
    let mut answer = json!({ "device": device, "point": point, "result": outcome.as_str() });
    if let Json::Object(fields) = &mut answer {
        if let Outcome::Done(Some(value)) = &outcome {
            fields.insert("value".into(), value_json(value));
        }
        if let Some(why) = outcome.error() {
            let name = point.map_or(device.clone(), |point| format!("{device}/{point}"));
            fields.insert("error".into(), json!(format!("{name}: {}: {why}", outcome.as_str())));
        }
    }
    answer
}
