//! Carries out one scenario against one broker, once, and makes figures of what came of it.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::engine::{Edge, Engine, Outcome, Plan, Spans};
use super::figure::{Figure, Sample};
use super::link::{Greeting, Identity};
use super::neighbours::Neighbours;
use super::process::{self, Cpu, Memory, float};
use super::scenario::{HeldBy, Load, Scenario, Work};
use super::target::Target;
use crate::mqtt::QoS;

/// Clients that connect at the same time.
const CONNECTING: u32 = 8;

/// Memory is looked at so long after the last client has come.
const SETTLE: Duration = Duration::from_millis(500);

/// How large and how long everything is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) spans: Spans,
    /// Clients of `idle`.
    pub(super) connections: u32,
    /// Messages of `offline`.
    pub(super) messages: u32,
    /// Retained messages of `beside-retained`.
    pub(super) retained: u32,
}

/// Runs a scenario. `prefix` begins its topics and client identifiers, and is used for nothing else.
pub(super) fn run(
    scenario: &Scenario,
    target: &Arc<Target>,
    size: Size,
    prefix: &str,
) -> Result<Sample, String> {
    let mut sample = match scenario.work {
        Work::Load(load) => messages(target, load, size, prefix)?,
        Work::Offline(load) => offline(target, load, size, prefix)?,
        Work::Connects => connects(target, size, prefix)?,
        Work::Idle => idle(target, size, prefix)?,
    };
    if let Some(memory) = memory(target)? {
        sample.insert(Figure::ResidentAfter, float(memory.resident));
        sample.insert(Figure::ResidentPeak, float(memory.peak));
    }
    Ok(sample)
}

fn memory(target: &Target) -> Result<Option<Memory>, String> {
    let look =
        |pid: u32| process::memory(pid).map_err(|error| format!("can't look at process {pid}: {error}"));
    target.pid.map(look).transpose()
}

fn messages(target: &Arc<Target>, load: Load, size: Size, prefix: &str) -> Result<Sample, String> {
    let plan = Plan {
        load,
        publishers: load.publishers,
        subscribers: load.subscribers,
        owed_before: 0,
        messages_max: u64::MAX,
        spans: size.spans,
    };
    let neighbours = Neighbours::move_in(target, &load, size.retained, prefix)?;
    let engine = Engine::connect(target, plan, prefix)?;
    let rounds = neighbours.rounds();
    let outcome = engine.run();
    let rounds = neighbours.rounds() - rounds;
    neighbours.move_out(target, prefix)?;
    if load.keeps_sessions {
        forget_sessions(target, &load, prefix)?;
    }
    let outcome = outcome?;
    let mut sample = figures(target, &outcome, outcome.to.received - outcome.from.received);
    if rounds > 0 {
        sample.insert(Figure::NeighbourRounds, float(rounds));
    }
    Ok(sample)
}

/// What a load comes to, by the messages that were delivered or taken in within the span.
fn figures(target: &Target, outcome: &Outcome, messages: u64) -> Sample {
    let (from, to, tally) = (&outcome.from, &outcome.to, &outcome.tally);
    let mut sample = costs(target, from, to, messages);
    sample.insert(Figure::Messages, float(tally.unique()));
    sample.insert(Figure::Lost, float(outcome.lost));
    sample.insert(Figure::Duplicates, float(tally.duplicates));
    sample.insert(Figure::Disordered, float(tally.disordered));
    sample.insert(Figure::Refused, float(tally.refused));
    sample.insert(Figure::Stalls, float(outcome.stalls));
    if let Some(latency) = tally.latency.as_ref().filter(|latency| !latency.is_empty()) {
        for (figure, quantile) in
            [(Figure::LatencyP50, 0.5), (Figure::LatencyP99, 0.99), (Figure::LatencyP999, 0.999)]
        {
            sample.insert(figure, float(latency.value_at_quantile(quantile)) / 1_000.0);
        }
    }
    sample
}

fn costs(target: &Target, from: &Edge, to: &Edge, messages: u64) -> Sample {
    let seconds = (float(to.at.saturating_sub(from.at)) / 1e9).max(1e-6);
    let mut sample = Sample::from([
        (Figure::PerSecond, float(messages) / seconds),
        (Figure::GeneratorCpu, to.own.since(from.own).total / seconds),
    ]);
    if target.pid.is_some() {
        let spent: Cpu = to.broker.since(from.broker);
        sample.insert(Figure::BrokerCpu, spent.total / seconds);
        if messages > 0 {
            let millions = float(messages) / 1e6;
            sample.insert(Figure::CpuPerMillion, spent.total / millions);
            sample.insert(Figure::UserCpuPerMillion, spent.user / millions);
        }
    }
    sample
}

/// Messages for those who are away, and how fast they get them when they come back.
fn offline(target: &Arc<Target>, load: Load, size: Size, prefix: &str) -> Result<Sample, String> {
    for at in 0..load.subscribers {
        let client_id = format!("{prefix}-s{at}");
        let who = Identity { client_id: &client_id, clean: false };
        super::link::Link::open(target, who, &[load.filter(prefix, at)], load.qos)?.disconnect();
    }
    let whole = Spans { warmup: Duration::ZERO, measure: Duration::from_secs(600), ..size.spans };
    let filling = Plan {
        load: Load { held_by: HeldBy::Unacknowledged(20), ..load },
        publishers: load.publishers,
        subscribers: 0,
        owed_before: 0,
        messages_max: u64::from(size.messages),
        spans: whole,
    };
    let filled = Engine::connect(target, filling, prefix)?.run()?;
    let taken = filled.tally.acknowledged;
    let draining = Plan {
        publishers: 0,
        subscribers: load.subscribers,
        owed_before: taken.max(1),
        messages_max: 0,
        ..filling
    };
    let begun = Instant::now();
    let engine = Engine::connect(target, draining, prefix)?;
    let connecting = begun.elapsed();
    let drained = engine.run();
    forget_sessions(target, &load, prefix)?;
    let drained = drained?;
    let mut sample = figures(target, &drained, drained.tally.unique());
    let seconds = connecting.as_secs_f64() + float(drained.to.at.saturating_sub(drained.from.at)) / 1e9;
    sample.insert(Figure::DrainedPerSecond, float(drained.tally.unique()) / seconds.max(1e-6));
    // From when they were due, they were under way for as long as their receivers were away.
    for figure in [Figure::LatencyP50, Figure::LatencyP99, Figure::LatencyP999] {
        sample.remove(&figure);
    }
    sample.extend(costs(target, &filled.from, &filled.to, taken));
    sample.insert(Figure::Refused, float(filled.tally.refused));
    Ok(sample)
}

/// Ends the sessions that a load has left behind.
fn forget_sessions(target: &Target, load: &Load, prefix: &str) -> Result<(), String> {
    for at in 0..load.subscribers {
        let client_id = format!("{prefix}-s{at}");
        Greeting::open(target, Identity { client_id: &client_id, clean: true }, &[], QoS::AtMostOnce)?;
    }
    Ok(())
}

/// Connects, waits for CONNACK and goes, as often as it can.
fn connects(target: &Arc<Target>, size: Size, prefix: &str) -> Result<Sample, String> {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let start = |at: u32| {
        let (target, stop, count) = (Arc::clone(target), Arc::clone(&stop), Arc::clone(&count));
        let client_id = format!("{prefix}-c{at}");
        thread::spawn(move || -> Result<(), String> {
            while !stop.load(Ordering::Relaxed) {
                let who = Identity { client_id: &client_id, clean: true };
                let link = Greeting::open(&target, who, &[], QoS::AtMostOnce)?;
                drop_at_once(&link.stream);
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    };
    let begun = Instant::now();
    let edge = || -> Result<Edge, String> {
        let cpu = |pid| process::cpu(pid).map_err(|error| format!("can't look at process {pid}: {error}"));
        Ok(Edge {
            at: u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX),
            received: count.load(Ordering::Relaxed),
            broker: target.pid.map(cpu).transpose()?.unwrap_or_default(),
            own: cpu(std::process::id())?,
        })
    };
    let threads: Vec<_> = (0..CONNECTING).map(start).collect();
    thread::sleep(size.spans.warmup);
    let from = edge()?;
    thread::sleep(size.spans.measure);
    let to = edge()?;
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a connecting client has panicked")??;
    }
    let connected = to.received - from.received;
    let mut sample = costs(target, &from, &to, connected);
    sample.insert(Figure::Messages, float(connected));
    Ok(sample)
}

/// Ends a connection without leaving its port in TIME-WAIT, of which there are too few for this.
fn drop_at_once(stream: &TcpStream) {
    // Where that can't be set, ports run out later on, and connecting says so.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// What a client with a subscription costs that does nothing.
fn idle(target: &Arc<Target>, size: Size, prefix: &str) -> Result<Sample, String> {
    let before = memory(target)?;
    let begun = Instant::now();
    let mut clients = Vec::new();
    for at in 0..size.connections {
        let client_id = format!("{prefix}-i{at}");
        let filters = [format!("{prefix}/idle/{at}/data")];
        let who = Identity { client_id: &client_id, clean: true };
        clients.push(Greeting::open(target, who, &filters, QoS::AtMostOnce)?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    thread::sleep(SETTLE);
    let count = float(u64::from(size.connections.max(1)));
    let mut sample =
        Sample::from([(Figure::PerSecond, count / seconds.max(1e-6)), (Figure::Messages, count)]);
    if let (Some(before), Some(after)) = (before, memory(target)?) {
        let each = |before: u64, after: u64| float(after.saturating_sub(before)) / count;
        sample.insert(Figure::ResidentPerClient, each(before.resident, after.resident));
        sample.insert(Figure::AnonymousPerClient, each(before.anonymous, after.anonymous));
    }
    Ok(sample)
}
