//! Topics: what passes through the broker, as a tree that follows; a message as text, JSON or bytes; publishing, and
//! deleting what is retained. Without a script it shows what is retained.

use askama::Template;
use serde_json::Value as Json;

use super::{Frame, rendered};
use crate::broker::watch::TOPICS_MAX;
use crate::io::operations::Operation;
use crate::io::operations::broker::Arguments;
use crate::web::broker::request;
use crate::web::call::Call;
use crate::web::reply::{Refusal, Reply};

/// Retained topics that are shown where there is no script.
const RETAINED_MAX: usize = 100;

#[derive(Template)]
#[template(path = "topics.html", config = "src/web/askama.toml")]
struct Page {
    frame: Frame,
    prefix: String,
    retained: Vec<String>,
    hint: String,
}

pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let prefix = call.argument("prefix").unwrap_or_default().to_owned();
    let arguments =
        Arguments { prefix: Some(prefix.clone()), max: Some(RETAINED_MAX), ..Arguments::default() };
    let found = call.web.asker.ask(request(Operation::BrokerRetained, arguments)).await?;
    let messages = found.get("messages").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let topic = |one: &Json| one.get("topic").and_then(Json::as_str).map(str::to_owned);
    let page = Page {
        frame: Frame::of(&call, "topics.title"),
        prefix,
        retained: messages.iter().filter_map(topic).collect(),
        hint: call.texts.fill("topics.hint", &[("count", &TOPICS_MAX.to_string())]),
    };
    rendered(&call, &page)
}
