//! Whether an upstream can be reached and lets the gateway in: the same way there, the same certificate, user and password,
//! another client identifier.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::{Found, State};
use crate::bridge::{Login, Probe, Verdict};
use crate::config::Upstream;
use crate::io::dial::{self, Target};
use crate::io::transport::{OutQueue, Transport, io_words};
use crate::io::{dial_targets, files};

/// All of one address must be through within this: the name, TCP, TLS and the answer.
const ADDRESS_MAX: Duration = Duration::from_secs(15);

/// The answer to CONNECT must come within this.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What is sent last has this long to leave.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// Behind the client identifier, so that the connection that runs isn't taken over.
const SUFFIX: &str = "-probe";

/// Tries the addresses of an upstream, each in turn, until one lets us in.
pub(super) async fn run(upstream: Upstream) -> Found {
    let found = |state, words: String| Found::new("upstream", &upstream.name, state, words);
    let password = match upstream.password.as_ref().map(files::secret).transpose() {
        Ok(password) => password,
        Err(error) => return found(State::Wrong, format!("the password can't be read: {error}")),
    };
    let login = Login {
        version: upstream.version,
        client_id: format!("{}{SUFFIX}", upstream.client_id),
        user_name: upstream.user_name.clone(),
        password,
    };
    let mut told = Vec::new();
    let mut best: Option<(State, String)> = None;
    for target in dial_targets::targets(&upstream, &mut None) {
        let place = format!("{}:{}", target.host, target.port);
        let (state, words) = match timeout(ADDRESS_MAX, address(&upstream, &target, &login)).await {
            Ok(outcome) => outcome,
            Err(_) => (State::Wrong, format!("no answer within {} s", ADDRESS_MAX.as_secs())),
        };
        told.push(json!({"address": place, "state": state.word(), "words": words}));
        let is_better = best.as_ref().is_none_or(|(before, _)| rank(state) > rank(*before));
        if is_better {
            best = Some((state, format!("{place}: {words}")));
        }
        if state == State::Good {
            break;
        }
    }
    let (state, words) = best.unwrap_or((State::Wrong, "it has no address".to_owned()));
    Found { details: json!(told), ..found(state, words) }
}

const fn rank(state: State) -> u8 {
    match state {
        State::Good => 3,
        State::Doubtful => 2,
        State::Wrong => 1,
        State::Skipped => 0,
    }
}

async fn address(upstream: &Upstream, target: &Target, login: &Login) -> (State, String) {
    let own = match dial_targets::own_certificate(upstream).map(|mut own| own.read()).transpose() {
        Ok(own) => own,
        Err(error) => return (State::Wrong, error),
    };
    let mut transport = match dial::connect(target, own).await {
        Ok(transport) => transport,
        Err(error) => return (State::Wrong, error.words),
    };
    let reached = if target.tls.is_some() { "TLS is right" } else { "it is reached" };
    let mut probe = Probe::new(login.clone());
    let mut out = OutQueue::default();
    match probe.first() {
        Ok(first) => out.push(&first),
        Err(error) => return (State::Wrong, error),
    }
    let verdict = match timeout(ANSWER_MAX, answer(&mut transport, &mut out, &mut probe)).await {
        Ok(verdict) => verdict,
        Err(_) => Err(format!("nothing came within {} s", ANSWER_MAX.as_secs())),
    };
    let name = &login.client_id;
    match verdict {
        Ok(Verdict::In) => {
            out.push(&probe.last());
            transport.finish(out, GOODBYE_MAX).await;
            (State::Good, format!("{reached}, and it lets {name:?} in"))
        }
        Ok(Verdict::NotThisName(words)) => (
            State::Doubtful,
            format!(
                "{reached}, but the client identifier {name:?} of the try is refused, so no more was tried: {words}"
            ),
        ),
        Ok(Verdict::Unavailable(words)) => (State::Doubtful, words),
        Ok(Verdict::Refused(words) | Verdict::NoMqtt(words)) => (State::Wrong, words),
        Err(words) if target.tls.is_some() => (
            State::Doubtful,
            format!("{reached}, but CONNECT as {name:?} was not answered, so no more was tried: {words}"),
        ),
        Err(words) => (State::Wrong, format!("it doesn't answer as an MQTT broker: {words}")),
    }
}

async fn answer(transport: &mut Transport, out: &mut OutQueue, probe: &mut Probe) -> Result<Verdict, String> {
    let mut scratch = [0; 4 * 1024];
    loop {
        match transport.turn(out, &mut scratch).await {
            // Some answer a client that they don't know by closing.
            Ok(0) => return Err("it closed the connection".to_owned()),
            Ok(bytes) => {
                if let Some(verdict) = probe.received(scratch.get(..bytes).unwrap_or_default()) {
                    return Ok(verdict);
                }
            }
            Err(error) => return Err(io_words(&error)),
        }
    }
}
