//! A water meter on a simulated GPIO line: a pulse now and then, given over the control socket as a person could.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};
use tokio::time::MissedTickBehavior;

use crate::io::control;

/// Port and device.
pub(super) const NAME: &str = "water";

/// For people.
pub(super) const WHAT: &str = "simulated GPIO line: a water meter, a pulse a litre";

/// Its part of the config.
pub(super) const CONFIG: &str = r#"name = "water"
line = "water"
backend = "sim"
every = "2s"
mode = { kind = "counter", per_pulse = 0.001, unit = "m3", persist_every = "1s" }
"#;

/// From pulses to pulses.
const EVERY: Duration = Duration::from_millis(1_500);

/// Gives pulses until told to stop.
pub(super) fn play(socket: PathBuf, mut stop: watch::Receiver<bool>) -> JoinHandle<Result<(), String>> {
    spawn_local(async move {
        let mut due = tokio::time::interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                _ = due.tick() => {}
            }
            let request =
                json!({ "op": "gpio-pulse", "gpio": { "name": NAME, "count": 2, "period_us": 20_000 } });
            let path = socket.clone();
            let answer = spawn_blocking(move || control::request(&path, &request)).await;
            match answer {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(format!("{NAME}: {error}")),
                Err(error) => return Err(format!("{NAME}: {error}")),
            }
        }
    })
}
