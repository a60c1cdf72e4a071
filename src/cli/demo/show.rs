//! The course of the demo: start everything, play, drain, stop everything, sum up.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::gateway::Gateway;
use super::ledger::Ledger;
use super::link::Link;
use super::outage::Outages;
use super::screen::{Screen, View, tenths};
use super::sensors::{Line, SENSORS, Sensor, Source};
use super::signals::{Event, Signals};
use super::subscriber::Subscriber;
use super::terminal::{Key, Keys};
use super::upstream::Upstream;
use super::workspace::Workspace;
use super::{Plan, Summary, pulses};
use crate::cli::check;
use crate::cli::status::{list, word};
use crate::sensor::DeviceConfig;

/// How often keys, plan and screen are looked at.
const TICK: Duration = Duration::from_millis(50);

/// The gateway must have its ports open, and listen, within this.
const START_MAX: Duration = Duration::from_secs(15);

/// The first connection to the upstream is waited for as long, but the demo goes on without.
const ONLINE_MAX: Duration = Duration::from_secs(5);

/// After the sensors stop, everything must have arrived within this.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// When everything has arrived, the gateway gets this long to see it acknowledged and to say so.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// A sensor finishes its line within this.
const PLAYER_STOP_MAX: Duration = Duration::from_secs(2);

/// A clean stop of the gateway takes at most this.
const GATEWAY_STOP_MAX: Duration = Duration::from_secs(30);

/// The port for LAN clients, if it is free: the one that every client tries first.
const LAN_PORT: u16 = 1883;

/// Everything that runs. Fields drop in this order: the gateway before what it talks to.
struct Show {
    plan: Plan,
    gateway: Gateway,
    subscriber: Subscriber,
    link: Link,
    upstream: Upstream,
    lines: Vec<(Rc<Line>, DeviceConfig)>,
    ledger: Rc<RefCell<Ledger>>,
    outages: Outages,
    keys: Option<Keys>,
    signals: Signals,
    screen: Screen,
}

/// Runs the demo.
///
/// # Errors
/// In words: it could not be started, or the gateway has died.
pub(super) async fn run(plan: &Plan, json: bool, workspace: &Workspace) -> Result<Summary, String> {
    let mut show = Show::start(plan, json, workspace).await?;
    if show.is_ready().await? {
        show.introduce(workspace);
        show.perform(workspace.socket_path()).await?;
    }
    show.close().await
}

impl Show {
    async fn start(plan: &Plan, json: bool, workspace: &Workspace) -> Result<Self, String> {
        // First of all, so that no signal ends the process with the folder left behind.
        let signals = Signals::new()?;
        let (asked, send): (Vec<&Sensor>, Vec<&Sensor>) =
            SENSORS.iter().partition(|sensor| sensor.source == Source::Asked);
        let mut ledger = Ledger::new(send.iter().map(|sensor| sensor.name));
        ledger.count_by_numbers(asked.iter().map(|sensor| sensor.name).chain([pulses::NAME]));
        let ledger = Rc::new(RefCell::new(ledger));
        let upstream = Upstream::start().await?;
        let subscriber = Subscriber::start(upstream.address(), ledger.clone()).await?;
        let link = Link::open(upstream.address())?;
        let lines = SENSORS.iter().map(Line::open).collect::<Result<Vec<_>, _>>()?;
        // Nobody is to connect to a demo that prints nothing.
        let listener = if json { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) } else { lan_address() };
        let path = workspace.write_config(&lines, listener, link.address())?;
        let config = check::load(&path)?;
        let lines = lines.into_iter().map(Rc::new).zip(config.devices.iter().cloned()).collect();
        let gateway = Gateway::start(config)?;
        Ok(Self {
            plan: *plan,
            gateway,
            subscriber,
            link,
            upstream,
            lines,
            ledger,
            outages: Outages::default(),
            keys: if json { None } else { Keys::open() },
            signals,
            screen: Screen::new(json),
        })
    }

    /// Waits until the gateway listens to the sensors; false if someone ended the demo before.
    async fn is_ready(&mut self) -> Result<bool, String> {
        match self.wait_until(START_MAX, is_listening).await? {
            Waited::Met => {}
            Waited::Ended => return Ok(false),
            Waited::Late(status) => return Err(not_started(&status)),
        }
        // Without the upstream the demo is still one: the readings wait.
        Ok(!matches!(self.wait_until(ONLINE_MAX, is_online).await?, Waited::Ended))
    }

    /// Waits until the control socket says so.
    async fn wait_until(&mut self, max: Duration, met: fn(&Json) -> bool) -> Result<Waited, String> {
        let deadline = Instant::now() + max;
        loop {
            let status = self.gateway.status();
            if status.as_ref().is_ok_and(met) {
                return Ok(Waited::Met);
            }
            if Instant::now() >= deadline {
                return Ok(Waited::Late(status));
            }
            if self.pressed().contains(&Key::Quit) {
                return Ok(Waited::Ended);
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                error = self.gateway.died() => return Err(error),
                signal = self.signals.next() => match signal {
                    Event::End => return Ok(Waited::Ended),
                    Event::Continued => self.take_terminal(),
                },
            }
        }
    }

    /// Plays the recordings, then waits until everything has arrived.
    async fn perform(&mut self, socket: PathBuf) -> Result<(), String> {
        let (stop, stopping) = watch::channel(false);
        let play = |(line, config): &(Rc<Line>, DeviceConfig)| {
            line.clone().play(config.clone(), self.ledger.clone(), stopping.clone())
        };
        let mut players: Vec<_> = self.lines.iter().map(play).collect();
        players.push(pulses::play(socket, stopping.clone()));
        let played = self.play().await;
        stop.send_replace(true);
        let stopped = stop_players(players).await;
        if self.outages.end(Instant::now()) {
            self.link.set(true);
        }
        played.and(stopped)?;
        self.drain().await
    }

    fn introduce(&mut self, workspace: &Workspace) {
        let status = self.gateway.status().unwrap_or_default();
        let lan = list(&status, "listeners").next().map_or("-", |listener| word(listener, "address"));
        let lan = lan.rsplit(':').next().unwrap_or_default();
        let mut text = String::from(
            "fieldgate demo: sensors, meters and a GPIO line, simulated; the gateway; an upstream broker.\n\n",
        );
        for (line, _) in &self.lines {
            text.push_str(&format!("  {:<10} {}: {}\n", line.sensor.name, line.path, line.sensor.what));
        }
        text.push_str(&format!("  {:<10} {}\n", pulses::NAME, pulses::WHAT));
        text.push_str(&format!(
            "\nTry, in another terminal:\n\
             \x20 mosquitto_sub -h 127.0.0.1 -p {lan} -t 'fieldgate/#' -v     what the LAN sees\n\
             \x20 mosquitto_sub -h 127.0.0.1 -p {} -t 'fieldgate/#' -v    what reaches the upstream\n\
             \x20 fieldgate status --socket {}\n\
             \x20 less +F {}\n",
            self.upstream.address().port(),
            workspace.socket_path().display(),
            workspace.log_path().display(),
        ));
        self.screen.say(&text);
    }

    /// Until the time is over, or a person ends it.
    async fn play(&mut self) -> Result<(), String> {
        let start = Instant::now();
        self.outages = Outages::new(start, self.plan.outage);
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                error = self.gateway.died() => return Err(error),
                signal = self.signals.next() => match signal {
                    Event::End => return Ok(()),
                    Event::Continued => self.take_terminal(),
                },
            }
            let now = Instant::now();
            let played = now.saturating_duration_since(start);
            for key in self.pressed() {
                match key {
                    Key::Quit => return Ok(()),
                    Key::Outage => {
                        self.outages.toggle(now);
                        self.link.set(!self.outages.is_on());
                    }
                }
            }
            if self.plan.lasts.is_some_and(|lasts| played >= lasts) {
                return Ok(());
            }
            if self.outages.tick(now) {
                self.link.set(!self.outages.is_on());
            }
            if self.screen.is_due(now) {
                let doing = match self.plan.lasts {
                    Some(lasts) => format!("playing: {} of {}", tenths(played), tenths(lasts)),
                    None => format!("playing: {}", tenths(played)),
                };
                let keys = match self.keys {
                    Some(_) => "keys       o: upstream down or up   q: end with a summary",
                    None => "",
                };
                self.draw(now, doing, keys);
            }
        }
    }

    /// The sensors are silent: everything they sent must arrive now. What hasn't at the end of the time is lost.
    async fn drain(&mut self) -> Result<(), String> {
        let mut deadline = Instant::now() + DRAIN_MAX;
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let now = Instant::now();
            let missing = self.ledger.borrow().missing();
            let left = deadline.saturating_duration_since(now);
            if missing == 0 {
                deadline = deadline.min(now + SETTLE_MAX);
            }
            let settled = missing == 0 && self.gateway.status().as_ref().is_ok_and(is_settled);
            if settled || left.is_zero() || self.pressed().contains(&Key::Quit) {
                return Ok(());
            }
            if self.screen.is_due(now) {
                let doing = format!("draining: {missing} readings to come, at most {} more", tenths(left));
                self.draw(now, doing, "");
            }
            tokio::select! {
                _ = ticks.tick() => {}
                error = self.gateway.died() => return Err(error),
                signal = self.signals.next() => match signal {
                    Event::End => return Ok(()),
                    Event::Continued => self.take_terminal(),
                },
            }
        }
    }

    /// Stops the gateway while link and upstream still serve it, then reads what the upstream still has.
    async fn close(mut self) -> Result<Summary, String> {
        self.draw(Instant::now(), "stopping".into(), "");
        match tokio::time::timeout(GATEWAY_STOP_MAX, self.gateway.stop()).await {
            Ok(stopped) => stopped?,
            Err(_) => return Err("the gateway doesn't stop".into()),
        }
        self.subscriber.finish().await;
        self.screen.say("");
        let ledger = self.ledger.borrow();
        Ok(Summary {
            readings: ledger.readings(),
            delivered: ledger.delivered(),
            lost: ledger.missing(),
            duplicates: ledger.duplicates(),
            outages: self.outages.count(),
            outage_seconds: (self.outages.total().as_secs_f64() * 10.0).round() / 10.0,
        })
    }

    fn draw(&mut self, now: Instant, doing: String, keys: &'static str) {
        let status = self.gateway.status();
        let ledger = self.ledger.borrow();
        self.screen.draw(&View {
            now,
            status: &status,
            outages: &self.outages,
            doing,
            readings: ledger.readings(),
            delivered: ledger.delivered(),
            duplicates: ledger.duplicates(),
            keys,
        });
    }

    fn pressed(&self) -> Vec<Key> {
        self.keys.as_ref().map(Keys::pressed).unwrap_or_default()
    }

    fn take_terminal(&self) {
        // Refused, the keys need Enter; nothing else suffers.
        let _ = self.keys.as_ref().map(Keys::take);
    }
}

/// How waiting for the gateway ended.
enum Waited {
    /// It is as it should be.
    Met,
    /// It isn't, in all the time; what it says.
    Late(Result<Json, String>),
    /// Someone ended the demo.
    Ended,
}

fn lan_address() -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, LAN_PORT));
    match TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

fn is_listening(status: &Json) -> bool {
    let listening = list(status, "listeners").all(|listener| {
        listener.get("error").is_none_or(Json::is_null) && !word(listener, "address").ends_with(":0")
    });
    let mut ports = 0;
    let open = list(status, "ports").all(|port| {
        ports += 1;
        word(port, "state") == "open"
    });
    listening && open && ports == SENSORS.len()
}

fn is_online(status: &Json) -> bool {
    list(status, "upstreams").all(|upstream| word(upstream, "state") == "online")
}

fn is_settled(status: &Json) -> bool {
    let waiting = |upstream: &Json| upstream.pointer("/backlog/messages").and_then(Json::as_u64);
    is_online(status) && list(status, "upstreams").all(|upstream| waiting(upstream) == Some(0))
}

fn not_started(status: &Result<Json, String>) -> String {
    match status {
        Ok(status) => {
            let problems: Vec<&str> = list(status, "problems").filter_map(Json::as_str).collect();
            format!("the gateway is not ready after {}: {}", tenths(START_MAX), problems.join("; "))
        }
        Err(error) => format!("the gateway doesn't answer: {error}"),
    }
}

async fn stop_players(players: Vec<JoinHandle<Result<(), String>>>) -> Result<(), String> {
    let mut result = Ok(());
    for mut player in players {
        match tokio::time::timeout(PLAYER_STOP_MAX, &mut player).await {
            Ok(Ok(played)) => result = result.and(played),
            Ok(Err(_)) => result = result.and(Err("a sensor has panicked".into())),
            // The gateway reads no more; the line that didn't fit never counted.
            Err(_) => player.abort(),
        }
    }
    result
}
