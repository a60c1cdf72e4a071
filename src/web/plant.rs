//! Answers of the API about sensors, ports, buffers and upstreams.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::call::Call;
use super::events::Feed;
use super::progress;
use super::reply::{Refusal, Reply, json_reply, typed};
use crate::events::Event;
use crate::hex;
use crate::io::operations::{LetterAction, Operation, Request, TRY_BYTES_MAX, plain};
use crate::io::scan::{Arguments, Kind};
use crate::said;

/// Pages of an export that wait for a slow reader; the store is asked for no more until they are taken.
const PAGES_WAITING_MAX: usize = 2;

/// The addresses that are asked for a Modbus device: new ones have 1, few lines have more than 16.
const MODBUS_UNITS: (u8, u8) = (1, 16);
/// At these rates.
const MODBUS_RATES: [u32; 3] = [9600, 19_200, 38_400];

/// One sensor.
pub(super) fn sensor(call: &Call) -> Result<Request, Refusal> {
    Ok(Request { device: call.argument("name").map(str::to_owned), ..Request::new(Operation::Sensors) })
}

/// What a sensor might have sent: as text, whose last line gets its end, or as digits with whatever people put between.
pub(super) fn attempt(call: &Call) -> Result<Request, Refusal> {
    let text = call.text("text")?;
    let is_hex = call.body.get("is_hex").and_then(Json::as_bool).unwrap_or_default();
    let bytes = if is_hex { digits(text) } else { Some(of_text(text)) };
    let bytes = bytes.filter(|digits| digits.len() <= TRY_BYTES_MAX * 2).ok_or_else(|| {
        Refusal::field(
            "text",
            said!(
                "try_text",
                "expected at most {max} bytes, and with hexadecimal digits pairs of 0 to 9 and a to f",
                max = TRY_BYTES_MAX
            ),
        )
    })?;
    let device = call.argument("name").map(str::to_owned);
    Ok(Request { device, bytes: Some(bytes), ..Request::new(Operation::SensorTry) })
}

/// A sensor is read out of turn.
pub(super) async fn poll(call: Call) -> Result<Reply, Refusal> {
    let device = call.argument("name").map(str::to_owned);
    progress::told(call, Request { device, ..Request::new(Operation::SensorPoll) }).await
}

/// Somebody listens to a line that the config may not know.
pub(super) async fn listen(call: Call) -> Result<Reply, Refusal> {
    let path = call.text("path")?.to_owned();
    let ask = call.body.get("ask").and_then(Json::as_bool).unwrap_or_default();
    let scan = match call.optional_text("kind")?.unwrap_or("serial") {
        "serial" => Arguments { ask, ..plain(Kind::Serial) },
        // The usual rates, and the addresses that devices come with: within a minute.
        "modbus" => {
            Arguments { units: Some(MODBUS_UNITS), baud: MODBUS_RATES.to_vec(), ..plain(Kind::Modbus) }
        }
        "modbus-tcp" => Arguments { units: Some(MODBUS_UNITS), ..plain(Kind::Modbus) },
        "mbus" => plain(Kind::Mbus),
        other => {
            let words = format!("kind: {other:?} is none; serial, modbus, modbus-tcp and mbus are");
            return Err(Refusal::field("kind", words));
        }
    };
    progress::told(call, Request { port: Some(path), scan: Some(scan), ..Request::new(Operation::Listen) })
        .await
}

fn of_text(text: &str) -> String {
    let end = if text.ends_with('\n') { "" } else { "\r\n" };
    hex::encode(format!("{text}{end}").as_bytes())
}

/// The digits of `0x01, 02 ff`, `01:02:ff`, `0102ff`.
fn digits(text: &str) -> Option<String> {
    let text = text.replace("0x", " ");
    let digits: String =
        text.chars().filter(|letter| !matches!(letter, ' ' | ',' | ':' | '-' | '\n' | '\r' | '\t')).collect();
    let is_good = digits.len().is_multiple_of(2) && digits.chars().all(|digit| digit.is_ascii_hexdigit());
    (is_good && !digits.is_empty()).then_some(digits)
}

fn upstream(call: &Call) -> Option<String> {
    call.argument("name").map(str::to_owned)
}

pub(super) fn connect(call: &Call) -> Result<Request, Refusal> {
    Ok(Request { upstream: upstream(call), ..Request::new(Operation::UpstreamConnect) })
}

pub(super) fn pause(call: &Call) -> Result<Request, Refusal> {
    Ok(Request { upstream: upstream(call), ..Request::new(Operation::UpstreamPause) })
}

pub(super) fn resume(call: &Call) -> Result<Request, Refusal> {
    Ok(Request { upstream: upstream(call), ..Request::new(Operation::UpstreamResume) })
}

/// All that waits for an upstream is given up, if its name was typed.
pub(super) fn purge(call: &Call) -> Result<Request, Refusal> {
    let upstream = upstream(call);
    if upstream.as_deref() != Some(call.text("name")?) {
        return Err(Refusal::field(
            "name",
            said!("type_upstream", "name: type the name of this upstream to give up what waits for it"),
        ));
    }
    Ok(Request { upstream, all: true, ..Request::new(Operation::StorePurge) })
}

/// A GPIO line is set.
pub(super) fn switch(call: &Call) -> Result<Request, Refusal> {
    let name = call.argument("name").unwrap_or_default();
    let value = match call.body.get("value") {
        None | Some(Json::Null) => {
            return Err(Refusal::field("value", said!("missing", "{field} is missing", field = "value")));
        }
        Some(value) => value,
    };
    let gpio = serde_json::from_value(json!({"name": name, "value": value}))
        .map_err(|error| Refusal::field("value", format!("value: {error}")))?;
    Ok(Request { gpio: Some(gpio), ..Request::new(Operation::GpioSet) })
}

/// What was refused for good is sent once more, or forgotten; the answer counts.
pub(super) async fn letters(call: Call, action: LetterAction) -> Result<Reply, Refusal> {
    let request =
        Request { upstream: upstream(&call), action: Some(action), ..Request::new(Operation::Deadletters) };
    let found = call.ask(request).await?;
    let count = found.pointer("/0/refused").and_then(Json::as_array).map_or(0, Vec::len);
    Ok(json_reply(&json!({ "count": count })))
}

/// All that waits, page by page: as fast as the reader takes it, and never more than a few pages in memory.
pub(super) async fn export(call: Call) -> Result<Reply, Refusal> {
    let request =
        |from: u64| Request { upstream: upstream(&call), from, ..Request::new(Operation::StoreExport) };
    let mut page = call.web.asker.ask(request(0)).await?;
    let address = Some(call.peer.address.to_string());
    let detail = upstream(&call).unwrap_or_default();
    call.web.note(Event { kind: "exported", who: Some(call.name()), address, detail });
    let (to, pages) = mpsc::channel(PAGES_WAITING_MAX);
    let reader = call.clone();
    tokio::spawn(async move {
        while let Some(from) = page.get("next").and_then(Json::as_u64) {
            let records = page.get("records").and_then(Json::as_array);
            let lines: String = records.into_iter().flatten().map(|record| format!("{record}\n")).collect();
            if to.send(Bytes::from(lines)).await.is_err() {
                return;
            }
            let next = Request { upstream: upstream(&reader), from, ..Request::new(Operation::StoreExport) };
            page = match reader.web.asker.ask(next).await {
                Ok(page) => page,
                Err(error) => {
                    // The reader must see that it isn't all.
                    let _ = to.send(Bytes::from(format!("{}\n", error.message.put_into(json!({}))))).await;
                    return;
                }
            };
        }
    });
    let mut reply = typed("application/x-ndjson", Body::new(Feed::new(pages)));
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"waiting.ndjson\""),
    );
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_as_people_write_them() {
        for written in ["0102fF", "0x01 0x02, 0xfF", "01:02:fF\n"] {
            assert_eq!(digits(written).unwrap(), "0102fF", "{written}");
        }
        for wrong in ["", "1", "0g", "ä"] {
            assert_eq!(digits(wrong), None, "{wrong}");
        }
        assert_eq!((of_text("{}"), of_text("a\n")), ("7b7d0d0a".into(), "610a".into()));
    }
}
