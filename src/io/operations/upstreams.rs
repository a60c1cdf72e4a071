//! Operations on upstreams.

use serde_json::{Value as Json, json};

use super::{Failure, LetterAction, Request};
use crate::bridge::{Handling, Input};
use crate::health;
use crate::io::reporter::Reporter;

/// The messages that upstreams refused for good, as they were before anything is done with them.
pub(super) fn letters(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let now = reporter.clock.now();
    let mut found = Vec::new();
    for bridge in &*reporter.links.all() {
        let status = bridge.machine.borrow().status(now);
        if request.upstream.as_ref().is_some_and(|wanted| **wanted != *status.name) {
            continue;
        }
        found.push(health::letters(&status));
        let handling = match request.action {
            None => continue,
            Some(LetterAction::Retry) => Handling::Retry,
            Some(LetterAction::Purge) => Handling::Purge,
        };
        bridge.machine.borrow_mut().handle(now, Input::Letters(handling));
        bridge.bell.notify_one();
    }
    match &request.upstream {
        Some(wanted) if found.is_empty() => Err(no_such_upstream(wanted)),
        _ => Ok(Json::Array(found)),
    }
}

/// Has an upstream connected now; its state then.
pub(super) fn connect(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let Some(wanted) = &request.upstream else {
        return Err(Failure::field("upstream", "upstream-connect needs upstream"));
    };
    let now = reporter.clock.now();
    for bridge in &*reporter.links.all() {
        let mut machine = bridge.machine.borrow_mut();
        if **machine.name() == **wanted {
            machine.handle(now, Input::ConnectNow);
            bridge.bell.notify_one();
            return Ok(json!({"upstream": wanted, "state": health::link_state(machine.status(now).state)}));
        }
    }
    Err(no_such_upstream(wanted))
}

fn no_such_upstream(wanted: &str) -> Failure {
    Failure::field("upstream", format!("there is no upstream {wanted:?}"))
}
