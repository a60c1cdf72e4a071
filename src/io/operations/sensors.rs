//! Operations on sensors.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Failure, Request, called_off, closed};
use crate::health::value_json;
use crate::hex;
use crate::io::config_history::{self, History};
use crate::io::{config_files, reporter::Reporter};
use crate::reading::Sample;
use crate::said;
use crate::sensor::{DeviceConfig, Piece, Points, Trial};
use crate::time::Mono;
use crate::unit::known;

/// The most bytes that are tried at once: some frames of any device.
pub const TRY_BYTES_MAX: usize = 16 * 1024;

/// A poll out of turn ends within this, also where other devices of the bus are asked first: less than a page waits.
const POLL_MAX: Duration = Duration::from_secs(50);

/// Polls out of turn that are waited for at once: so other questions have room beside them.
static POLLS: Semaphore = Semaphore::const_new(2);

/// The most pieces that are told of a try; of further ones there is only the count.
const PIECES_MAX: usize = 100;

/// All sensors with their points, or, where `device` is given, one with what came over its line last.
pub(super) async fn sensors(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let snapshot = reporter.snapshot().await;
    let readings = reporter.readings.get();
    let of_files = reporter.sources.file_units();
    let of_files: HashMap<&str, &Arc<str>> = snapshot
        .ports
        .iter()
        .filter_map(|port| Some((port, of_files.get(&port.name)?)))
        .flat_map(|(port, unit)| port.devices.iter().map(move |device| (&*device.name, unit)))
        .collect();
    let unit_of = |device: &str, point: &str| {
        let said = readings.and_then(|readings| readings.machine.borrow().unit(device, point));
        said.or_else(|| of_files.get(device).map(|unit| Arc::clone(unit)))
    };
    let wanted = request.device.as_deref();
    let mut found = snapshot.sensors(&unit_of, wanted);
    if let (Some(_), Some(sensor)) = (wanted, found.first_mut().and_then(Json::as_object_mut)) {
        let port = sensor.get("port").and_then(Json::as_str).unwrap_or_default();
        let raw = reporter.sources.traces.last(port);
        let raw = raw.map(|(at, bytes)| json!({"time": at.to_string(), "bytes": hex::encode(&bytes)}));
        sensor.insert("raw".into(), raw.unwrap_or_default());
    }
    if let (Some(wanted), true) = (wanted, found.is_empty()) {
        return Err(no_such_device(wanted));
    }
    Ok(Json::Array(found))
}

/// What the running config makes of bytes that somebody has at hand: the gateway's own readings know nothing of it.
pub(super) async fn attempt(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let Some(wanted) = request.device.clone() else {
        return Err(Failure::field("device", "sensor-try needs device"));
    };
    let bytes = request.bytes.as_deref().and_then(hex::decode);
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty() && bytes.len() <= TRY_BYTES_MAX) else {
        let message = said!(
            "try_bytes",
            "bytes: expected 1 to {max} bytes as pairs of hexadecimal digits",
            max = TRY_BYTES_MAX
        );
        return Err(Failure::field("bytes", message));
    };
    let Some(versions) = reporter.changes.get().map(|changes| changes.versions()) else {
        return Err(Failure::refused(said!("no_config_file", "this gateway has no config file")));
    };
    let tried = spawn_blocking(move || {
        let device = running(&versions, &wanted)?;
        if device.poll.is_some() {
            let message = said!(
                "try_asked",
                "this device is asked: what it answers can't be read without what it was asked"
            );
            return Err(Failure::field("device", message));
        }
        Ok(trial(&device, &bytes))
    });
    tried.await.unwrap_or_else(|_| Err(Failure::busy(said!("stopping", "the gateway is stopping"))))
}

/// Has a device read out of turn; what it said, and how long it took.
pub(super) async fn poll(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let Some(wanted) = request.device.as_deref() else {
        return Err(Failure::field("device", "sensor-poll needs device"));
    };
    let Ok(_turn) = POLLS.try_acquire() else {
        return Err(Failure::busy(said!(
            "polling",
            "other devices are being asked; try again when they have answered"
        )));
    };
    let (id, end) = reporter.sources.poll(reporter.clock.now(), wanted).map_err(|error| {
        error.map_or_else(|| no_such_device(wanted), |error| Failure::field("device", error))
    })?;
    let progress = request.progress.as_ref();
    if let Some(progress) = progress {
        // Whoever takes nothing is told less.
        let _ = progress.try_send(json!({"step": "poll", "at_most_s": POLL_MAX.as_secs()}));
    }
    let waited = tokio::select! {
        waited = timeout(POLL_MAX, end) => waited,
        () = closed(progress) => {
            reporter.sources.polls.forget(id);
            return Err(called_off());
        }
    };
    let polled = match waited {
        Ok(Ok(polled)) => polled,
        Ok(Err(_)) => {
            return Err(Failure::refused(said!(
                "device_gone",
                "{device} was taken out of the config meanwhile",
                device = wanted
            )));
        }
        Err(_) => {
            reporter.sources.polls.forget(id);
            let error = said!(
                "bus_busy",
                "{device} has not had its turn, or not ended, within {seconds} s: the bus is busy",
                device = wanted,
                seconds = POLL_MAX.as_secs(),
            );
            return Err(Failure::refused(error));
        }
    };
    let readings = reporter.readings.get();
    let unit_of = |point: &str| readings.and_then(|readings| readings.machine.borrow().unit(wanted, point));
    let value = |sample: &Sample| {
        let unit = unit_of(&sample.point);
        json!({
            "point": &*sample.point,
            "value": value_json(sample.value.as_ref()),
            "unit": unit.as_deref(),
            "symbol": unit.as_deref().and_then(known).map(|unit| unit.symbol),
            "quality": sample.quality.as_str(),
        })
    };
    Ok(json!({
        "device": wanted,
        "took_ms": (polled.took.as_secs_f64() * 10_000.0).round() / 10.0,
        "values": polled.samples.iter().map(value).collect::<Vec<_>>(),
        "error": polled.error,
    }))
}

/// A device as the config in use has it.
fn running(versions: &History, wanted: &str) -> Result<DeviceConfig, Failure> {
    let config = versions
        .newest()
        .and_then(|newest| config_files::parse(&config_history::sources(&newest.files)).ok())
        .ok_or_else(|| Failure::refused(said!("config_unread", "the config in use can't be read")))?;
    config.devices.into_iter().find(|device| *device.name == *wanted).ok_or_else(|| no_such_device(wanted))
}

fn no_such_device(wanted: &str) -> Failure {
    Failure::field("device", said!("no_device", "there is no device \"{device}\"", device = wanted))
}

/// Every piece of the bytes, in their order: frames with values or why they have none, damaged ones, what was skipped.
fn trial(device: &DeviceConfig, bytes: &[u8]) -> Json {
    let (mut pieces, mut count) = (Vec::new(), 0_usize);
    let mut take = |piece: Piece<'_>| {
        count += 1;
        if pieces.len() < PIECES_MAX {
            pieces.push(piece_json(device, &piece));
        }
    };
    let mut trial = Trial::new(device);
    trial.push(Mono::ZERO, bytes, &mut take);
    trial.finish(&mut take);
    json!({"device": &*device.name, "pieces": pieces, "count": count})
}

fn piece_json(device: &DeviceConfig, piece: &Piece<'_>) -> Json {
    match piece {
        Piece::Frame { bytes, values: Ok(samples) } => {
            let values: Vec<Json> = samples.iter().map(|sample| sample_json(device, sample)).collect();
            json!({"kind": "frame", "bytes": hex::encode(bytes), "values": values})
        }
        Piece::Frame { bytes, values: Err(error) } => {
            json!({"kind": "no_value", "bytes": hex::encode(bytes), "error": error})
        }
        Piece::Bad { bytes, error } => json!({"kind": "bad", "bytes": hex::encode(bytes), "error": error}),
        Piece::Skipped(bytes) => json!({"kind": "skipped", "bytes": hex::encode(bytes)}),
    }
}

fn sample_json(device: &DeviceConfig, sample: &Sample) -> Json {
    let unit = match &device.points {
        Points::List(points) => points.iter().find(|point| point.name == sample.point),
        Points::All => None,
    };
    json!({
        "point": &*sample.point,
        "value": value_json(sample.value.as_ref()),
        "unit": unit.and_then(|point| point.unit.as_deref()),
        "symbol": unit.and_then(|point| known(point.unit.as_deref()?)).map(|unit| unit.symbol),
        "quality": sample.quality.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_comes_back_piece_by_piece_and_no_more_than_some() {
        let text = "[[port]]\nname = \"p\"\npath = \"/dev/null\"\n[[device]]\nname = \"d\"\nport = \"p\"\ndecode = \"json\"\n\
                    points = [{ name = \"t\", unit = \"Cel\", max = 50 }]\n";
        let source = crate::config::Source { file: "c".into(), text: text.into() };
        let facts = crate::config::Facts { default_id: "gw".into(), ..Default::default() };
        let config = crate::config::parse(&[source], &facts).unwrap();
        let tried = trial(&config.devices[0], b"{\"t\": 21.5}\nrubbish\n{\"t\": 99}\n");
        assert_eq!(tried["count"], 3);
        let pieces = &tried["pieces"];
        let expected =
            json!([{"point": "t", "value": 21.5, "unit": "Cel", "symbol": "°C", "quality": "good"}]);
        assert_eq!((&pieces[0]["kind"], &pieces[0]["values"]), (&json!("frame"), &expected));
        assert_eq!(pieces[1]["kind"], "no_value");
        assert_eq!(pieces[2]["values"][0]["quality"], "out_of_range");
        let many = trial(&config.devices[0], "{\"t\": 1}\n".repeat(PIECES_MAX + 20).as_bytes());
        assert_eq!(many["pieces"].as_array().unwrap().len(), PIECES_MAX);
        assert_eq!(many["count"], PIECES_MAX + 20);
    }
}
