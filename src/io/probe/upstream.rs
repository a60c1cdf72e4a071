//! Whether an upstream can be reached and lets the gateway in: the same way there, the same certificate, user and password,
//! another client identifier. Each step is told as it is taken, with what it took, and what fails with the key of the
//! config that it is about.

use std::cell::RefCell;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::{Found, State};
use crate::bridge::{Login, Probe, Verdict};
use crate::config::Upstream;
use crate::io::dial::{self, Step, Target};
use crate::io::lock::Locked;
use crate::io::transport::{OutQueue, Transport, io_words};
use crate::io::{dial_targets, files};
use crate::secret::Secret;

/// All of one address must be through within this: the name, TCP, TLS and the answer.
const ADDRESS_MAX: Duration = Duration::from_secs(15);

/// The answer to CONNECT must come within this, and so must that to PINGREQ.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What is sent last has this long to leave.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// Behind the client identifier, so that the connection that runs isn't taken over.
const SUFFIX: &str = "-probe";

/// Where steps are told as they are taken: one event each. Whoever is too slow for them has them all in the end.
#[derive(Debug, Default)]
pub struct Teller(Option<mpsc::Sender<Json>>);

impl Teller {
    /// Tells `to`.
    #[must_use]
    pub const fn new(to: Option<mpsc::Sender<Json>>) -> Self {
        Self(to)
    }

    fn tell(&self, step: &Json) {
        if let Some(to) = &self.0 {
            let _ = to.try_send(step.clone());
        }
    }
}

/// What is known of one address while it is tried.
struct Log<'t> {
    place: &'t str,
    teller: &'t Teller,
    /// What the last step began with.
    since: Mutex<Instant>,
    steps: Mutex<Vec<(Option<Step>, Json)>>,
}

impl Log<'_> {
    /// A step is taken.
    fn took(&self, step: Option<Step>, name: &str, words: &str) {
        let mut since = self.since.locked();
        let took = since.elapsed();
        *since = Instant::now();
        let told = json!({
            "step": name, "address": self.place, "state": "good", "words": words,
            "ms": (took.as_secs_f64() * 10_000.0).round() / 10.0,
        });
        self.teller.tell(&told);
        self.steps.locked().push((step, told));
    }

    /// The step that is to be taken next isn't.
    fn failed(&self, state: State, name: &str, words: &str) {
        let told = json!({"step": name, "address": self.place, "state": state.word(), "words": words});
        self.teller.tell(&told);
        self.steps.locked().push((None, told));
    }

    /// The last step on the way there.
    fn last(&self) -> Option<Step> {
        self.steps.locked().iter().rev().find_map(|(step, _)| *step)
    }

    fn steps(&self) -> Vec<Json> {
        self.steps.locked().iter().map(|(_, told)| told.clone()).collect()
    }
}

const fn name_of(step: Step) -> &'static str {
    match step {
        Step::Name => "name",
        Step::Connected => "connected",
        Step::Proxy => "proxy",
        Step::Tls => "tls",
        Step::WebSocket => "websocket",
    }
}

/// The step behind the last one that was taken, and the key that it is about.
const fn next(last: Option<Step>, target: &Target) -> (&'static str, &'static str) {
    let (has_proxy, has_tls) = (target.way.proxy.is_some(), target.tls.is_some());
    match last {
        None if has_proxy => ("name", "proxy"),
        None => ("name", "host"),
        Some(Step::Name) if has_proxy => ("connected", "proxy"),
        Some(Step::Name) => ("connected", "host"),
        Some(Step::Connected) if has_proxy => ("proxy", "proxy"),
        Some(Step::Connected | Step::Proxy) if has_tls => ("tls", "tls"),
        Some(Step::Connected | Step::Proxy | Step::Tls) => ("websocket", "websocket"),
        Some(Step::WebSocket) => ("connack", "host"),
    }
}

/// What came of one address.
struct Outcome {
    state: State,
    words: String,
    /// The key of the upstream that is to be changed.
    key: Option<&'static str>,
}

impl Outcome {
    fn new(state: State, words: impl Into<String>, key: Option<&'static str>) -> Self {
        Self { state, words: words.into(), key }
    }
}

/// Tries the addresses of an upstream, each in turn, until one lets us in.
pub(super) async fn run(upstream: Upstream) -> Found {
    attempt(&upstream, None, &Teller::default()).await
}

/// The same for whoever looks on. `password` stands in the place of the one that the config names.
pub async fn attempt(upstream: &Upstream, password: Option<Secret>, teller: &Teller) -> Found {
    let found = |state, words: String| Found::new("upstream", &upstream.name, state, words);
    let password = match password.map_or_else(
        || upstream.password.as_ref().map(files::secret).transpose(),
        |password| Ok(Some(password)),
    ) {
        Ok(password) => password,
        Err(error) => {
            let words = format!("the password can't be read: {error}");
            return Found {
                details: json!([{"key": "password", "words": words}]),
                ..found(State::Wrong, words)
            };
        }
    };
    let login = Login {
        version: upstream.version,
        client_id: format!("{}{SUFFIX}", upstream.client_id),
        user_name: upstream.user_name.clone(),
        password,
    };
    let told = RefCell::new(Vec::new());
    let mut best: Option<(State, String)> = None;
    for target in dial_targets::targets(upstream, &mut None) {
        let place = format!("{}:{}", target.host, target.port);
        let log = Log { place: &place, teller, since: Mutex::new(Instant::now()), steps: Mutex::default() };
        let Outcome { state, words, key } =
            match timeout(ADDRESS_MAX, address(upstream, &target, &login, &log)).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let (step, key) = next(log.last(), &target);
                    let words = format!("no answer within {} s", ADDRESS_MAX.as_secs());
                    log.failed(State::Wrong, step, &words);
                    Outcome::new(State::Wrong, words, Some(key))
                }
            };
        told.borrow_mut().push(json!({
            "address": place, "state": state.word(), "words": words, "key": key, "steps": log.steps(),
        }));
        let is_better = best.as_ref().is_none_or(|(before, _)| rank(state) > rank(*before));
        if is_better {
            best = Some((state, format!("{place}: {words}")));
        }
        if state == State::Good {
            break;
        }
    }
    let (state, words) = best.unwrap_or((State::Wrong, "it has no address".to_owned()));
    Found { details: json!(told.into_inner()), ..found(state, words) }
}

const fn rank(state: State) -> u8 {
    match state {
        State::Good => 3,
        State::Doubtful => 2,
        State::Wrong => 1,
        State::Skipped => 0,
    }
}

async fn address(upstream: &Upstream, target: &Target, login: &Login, log: &Log<'_>) -> Outcome {
    let own = match dial_targets::own_certificate(upstream).map(|mut own| own.read()).transpose() {
        Ok(own) => own,
        Err(error) => {
            log.failed(State::Wrong, "tls", &error);
            return Outcome::new(State::Wrong, error, Some("tls"));
        }
    };
    let watch = |step: Step, words: String| log.took(Some(step), name_of(step), &words);
    let mut transport = match dial::connect_watched(target, own, &watch).await {
        Ok(transport) => transport,
        Err(error) => {
            let (mut step, mut key) = next(log.last(), target);
            // What only a person can mend, before anything was sent anywhere: a file or a password that can't be read.
            if error.permanent && log.last().is_none() {
                (step, key) = if target.secret_error.is_some() { ("proxy", "proxy") } else { ("tls", "tls") };
            }
            log.failed(State::Wrong, step, &error.words);
            return Outcome::new(State::Wrong, error.words, Some(key));
        }
    };
    let mut probe = Probe::new(login.clone());
    let mut out = OutQueue::default();
    match probe.first() {
        Ok(first) => out.push(&first),
        Err(error) => return Outcome::new(State::Wrong, error, Some("client_id")),
    }
    let verdict = match timeout(ANSWER_MAX, answer(&mut transport, &mut out, &mut probe)).await {
        Ok(verdict) => verdict,
        Err(_) => Err(format!("nothing came within {} s", ANSWER_MAX.as_secs())),
    };
    if verdict == Ok(Verdict::In) {
        log.took(None, "connack", &format!("it lets {:?} in", login.client_id));
        let pong = timeout(ANSWER_MAX, pong(&mut transport, &mut out, &mut probe)).await;
        match pong {
            Ok(Ok(())) => log.took(None, "round_trip", ""),
            Ok(Err(words)) => log.failed(State::Doubtful, "round_trip", &words),
            Err(_) => log.failed(State::Doubtful, "round_trip", "no answer to PINGREQ"),
        }
        out.push(&probe.last());
        transport.finish(out, GOODBYE_MAX).await;
        let reached = reached(target);
        return Outcome::new(State::Good, format!("{reached}, and it lets {:?} in", login.client_id), None);
    }
    let outcome = judged(verdict, target, &login.client_id, probe.key());
    log.failed(outcome.state, "connack", &outcome.words);
    outcome
}

const fn reached(target: &Target) -> &'static str {
    if target.tls.is_some() { "TLS is right" } else { "it is reached" }
}

/// What is said of whoever didn't let us in.
fn judged(
    verdict: Result<Verdict, String>,
    target: &Target,
    name: &str,
    key: Option<&'static str>,
) -> Outcome {
    let reached = reached(target);
    match verdict {
        Ok(Verdict::In) => Outcome::new(State::Good, reached, None),
        Ok(Verdict::NotThisName(words)) => Outcome::new(
            State::Doubtful,
            format!(
                "{reached}, but the client identifier {name:?} of the try is refused, so no more was tried: {words}"
            ),
            Some("client_id"),
        ),
        Ok(Verdict::Unavailable(words)) => Outcome::new(State::Doubtful, words, key),
        Ok(Verdict::Refused(words)) => Outcome::new(State::Wrong, words, key),
        Ok(Verdict::NoMqtt(words)) => Outcome::new(State::Wrong, words, Some("port")),
        Err(words) if target.tls.is_some() => Outcome::new(
            State::Doubtful,
            format!("{reached}, but CONNECT as {name:?} was not answered, so no more was tried: {words}"),
            None,
        ),
        Err(words) => {
            Outcome::new(State::Wrong, format!("it doesn't answer as an MQTT broker: {words}"), Some("port"))
        }
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

/// How long an answer takes once all stands.
async fn pong(transport: &mut Transport, out: &mut OutQueue, probe: &mut Probe) -> Result<(), String> {
    let mut scratch = [0; 1_024];
    out.push(&probe.ping());
    loop {
        match transport.turn(out, &mut scratch).await {
            Ok(0) => return Err("it closed the connection".to_owned()),
            Ok(bytes) if probe.answered(scratch.get(..bytes).unwrap_or_default()) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(io_words(&error)),
        }
    }
}
