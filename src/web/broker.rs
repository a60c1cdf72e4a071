//! The API's part on the broker: what is asked goes to the operations; what is done is told among the events.

use serde_json::Value as Json;

use super::call::Call;
use super::reply::{Refusal, Reply, json_reply};
use crate::io::operations::broker::Arguments;
use crate::io::operations::{Operation, Request};
use crate::said;

/// A request of the broker's operations.
pub(super) fn request(op: Operation, arguments: Arguments) -> Request {
    Request { broker: Some(arguments), ..Request::new(op) }
}

/// A number behind the question mark.
pub(super) fn number<T: std::str::FromStr>(call: &Call, name: &'static str) -> Result<Option<T>, Refusal> {
    let parse = |text: &str| {
        text.parse().map_err(|_| {
            Refusal::field(name, said!("whole_number", "{field}: expected a whole number", field = name))
        })
    };
    call.argument(name).map(parse).transpose()
}

fn text(call: &Call, name: &str) -> Option<String> {
    call.argument(name).map(str::to_owned)
}

pub(super) fn clients(call: &Call) -> Result<Request, Refusal> {
    let arguments =
        Arguments { from: number(call, "from")?, max: number(call, "max")?, ..Arguments::default() };
    Ok(request(Operation::BrokerClients, arguments))
}

pub(super) fn consumers(call: &Call) -> Result<Request, Refusal> {
    let arguments = Arguments { topic: text(call, "topic"), ..Arguments::default() };
    Ok(request(Operation::BrokerConsumers, arguments))
}

pub(super) fn retained(call: &Call) -> Result<Request, Refusal> {
    let arguments = Arguments {
        prefix: text(call, "prefix"),
        after: text(call, "after"),
        max: number(call, "max")?,
        ..Arguments::default()
    };
    Ok(request(Operation::BrokerRetained, arguments))
}

pub(super) fn message(call: &Call) -> Result<Request, Refusal> {
    let arguments = Arguments { topic: text(call, "topic"), ..Arguments::default() };
    Ok(request(Operation::BrokerMessage, arguments))
}

pub(super) async fn kick(call: Call) -> Result<Reply, Refusal> {
    let client = call.text("client")?.to_owned();
    let arguments = Arguments { client: Some(client), ..Arguments::default() };
    done(&call, request(Operation::BrokerKick, arguments)).await
}

pub(super) async fn publish(call: Call) -> Result<Reply, Refusal> {
    let topic = call.text("topic")?.to_owned();
    let qos = match call.body.get("qos") {
        None | Some(Json::Null) => None,
        // A choice of a form is a text.
        Some(Json::String(text)) => text.parse().ok(),
        Some(other) => other.as_u64().and_then(|qos| u8::try_from(qos).ok()),
    };
    if call.body.get("qos").is_some_and(|qos| !qos.is_null()) && qos.is_none() {
        return Err(Refusal::field("qos", said!("qos", "qos: expected 0, 1 or 2")));
    }
    let retain = match call.body.get("retain") {
        None | Some(Json::Null) => None,
        Some(Json::Bool(retain)) => Some(*retain),
        Some(_) => {
            return Err(Refusal::field(
                "retain",
                said!("true_or_false", "{field}: expected true or false", field = "retain"),
            ));
        }
    };
    let arguments = Arguments {
        topic: Some(topic),
        text: call.optional_text("text")?.map(str::to_owned),
        hex: call.optional_text("hex")?.map(str::to_owned),
        qos,
        retain,
        ..Arguments::default()
    };
    done(&call, request(Operation::BrokerPublish, arguments)).await
}

pub(super) async fn forget(call: Call) -> Result<Reply, Refusal> {
    let topic = call.text("topic")?.to_owned();
    let arguments = Arguments { topic: Some(topic), ..Arguments::default() };
    done(&call, request(Operation::BrokerForget, arguments)).await
}

/// Does it on behalf of who asks.
async fn done(call: &Call, request: Request) -> Result<Reply, Refusal> {
    Ok(json_reply(&call.ask(request).await?))
}
