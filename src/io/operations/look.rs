//! Operations that only look.

use serde_json::{Value as Json, json};

use super::{Failure, Request};
use crate::io::lock::Locked;
use crate::io::reporter::Reporter;
use crate::said;

/// Health and readings in one.
pub(super) async fn status(reporter: &Reporter) -> Json {
    let snapshot = reporter.snapshot().await;
    let mut status = snapshot.health();
    if let Json::Object(status) = &mut status {
        status.insert("readings".into(), snapshot.readings());
    }
    status
}

/// What the points were like lately.
pub(super) fn history(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let history = reporter.live.history.borrow();
    let now = reporter.clock.now();
    let (device, point) = (request.device.as_deref(), request.point.as_deref());
    if let (Some(point), None) = (point, device) {
        return Err(Failure::field("device", format!("of which device is {point:?}?")));
    }
    history.json(now, device, point).ok_or_else(|| match device {
        Some(device) => {
            Failure::field("device", said!("nothing_of", "nothing is known of \"{device}\"", device = device))
        }
        None => Failure::refused(said!("nothing_known", "nothing is known")),
    })
}

/// What has happened lately.
pub(super) fn events(request: &Request, reporter: &Reporter) -> Json {
    reporter.events.locked().json(request.after.unwrap_or(0))
}

/// Opens the claim once more, and tells its code.
pub(super) fn claim(reporter: &Reporter) -> Result<Json, Failure> {
    let now = reporter.clock.now();
    let mut people = reporter.people.locked();
    if !people.is_enabled() {
        return Err(Failure::refused("this gateway has no page: web.enabled is false"));
    }
    let (code, open_for) = people.open_claim(now.mono).ok_or_else(|| {
        Failure::refused(
            "the gateway has been claimed; `fieldgate passwd --admin` gives an administrator another password",
        )
    })?;
    drop(people);
    let address = reporter.page.locked().address.clone();
    Ok(json!({
        "code": code,
        "open_for_s": open_for.as_secs(),
        "gateway": reporter.gateway,
        "address": address,
    }))
}
