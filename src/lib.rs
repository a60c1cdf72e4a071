//! fieldgate reads serial sensors, keeps every reading through an outage, runs an MQTT broker for the LAN, and
//! hands the readings to an upstream broker that misses none of them.
//!
//! # The way of a reading
//!
//! ```text
//!  serial line ──bytes──▶ io::serial ──▶ sensor::Port ──Reading──▶ ingest ──Message──┐   service thread
//!  ──────────────────────────────────────────────────────────────── Mailbox ─────────┼─────────────────
//!  LAN clients ◀──▶ io::connection ◀──▶ broker::Broker  ◀────────────────────────────┘   broker thread
//!                                          │ matches a forward rule
//!  ──────────────────────────────────────── Mailbox ────────────────────────────────────────────────────
//!  upstream ◀──▶ io::upstream ◀──▶ bridge::Bridge: queue ▸ window ▸ link                 service thread
//!                                     │ Commit, Read, Ack     ▲ Committed, Read
//!  ────────────────────────────────── channel ────────────────┼─────────────────────────────────────────
//!  disk ◀── write, flush, fdatasync ── io::store_task ▸ store::Store                     store thread
//! ```
//!
//! Where devices speak only when asked, `io::bus` and [`sensor::Bus`] stand in the places of `io::serial` and
//! [`sensor::Port`]: on a serial line or in a connection to a Modbus TCP server. A meter that is asked in several steps has
//! the line for a conversation ([`sensor::codec`]). A satellite receiver's sentences go to [`io::clock`] as well, where
//! `[time.gnss]` says so. A program ([`io::exec`]) is a port without
//! a line; files of the kernel's drivers ([`io::file_source`]) have a machine of their own ([`sensor::FileSource`]); GPIO
//! lines have [`gpio`]. All of them join the way of a reading at `ingest`. A port's line can be lent ([`io::borrow`]): to a scan
//! ([`sensor::scan`], [`io::scan`], kept for the page by [`io::scans`]) that finds out what hangs on it.
//!
//! [`ingest`] has a filter for each device, which decides what is published (changes, windows, the pace) and numbers it;
//! [`payload`] writes it, once for the LAN, and again for an upstream when it is sent: there it may have another form, and
//! its time is what is known by then.
//!
//! A LAN PUBLISH takes the same way from `broker` on. Its acknowledgement leaves when each outbox that wants the
//! message has it *safe*: on disk and synced, or acknowledged upstream ([`message::SafeToken`]). The same goes for each
//! session that outlives its connection, and for the retained message: [`broker::Event::Persist`] carries what has
//! changed, in batches, from the broker thread to the store thread.
//!
//! A message from upstream takes the way back where a map takes it in: [`bridge::Output::Deliver`], then
//! [`broker::Input::Bridged`], routed like any other but never to the outbox of the upstream it came from. Its PUBACK or
//! PUBREC leaves when it is safe here ([`message::Ticket`]); a QoS 2 identifier lives as long as upstream keeps the session
//! and this process runs, so over a crash of the gateway, and only then, QoS 2 from upstream may come twice.
//!
//! A command to one of the gateway's devices goes the other way: [`broker::Event::Command`], judged by [`command`], carried
//! out by the device's machine, answered on the LAN.
//!
//! People look at the gateway with a browser: [`web`] has a thread of its own, asks the service thread through a bounded
//! channel ([`io::operations`], where the control socket asks too), and gets values as they change from [`io::live`].
//!
//! Each thread says that it gets on ([`io::supervisor`]), and only while all of them do the watchdog is fed: a gateway that
//! hangs anywhere is started again.
//!
//! # Levels
//!
//! Imports point downward only; `tests/layering.rs` holds the rule as a table.
//!
//! | level | where | what |
//! |---|---|---|
//! | 0 words | [`time`], [`reading`], [`mod@said`], [`secret`], [`unit`](mod@unit), [`limits`], [`hex`], [`version`] | values without behaviour |
//! | 1 formats | [`mqtt`], [`message`], [`record`], [`ranges`], [`state`], [`payload`] | bytes to values and back |
//! | 2 machines | [`sensor`], [`gpio`], [`filter`], [`ingest`], [`command`], [`auth`], [`broker`], [`bridge`], [`config`], [`discovery`], [`expiry`], [`health`], [`history`], [`events`], [`people`] | every decision; pure |
//! | 3 durable | [`store`] | the only folder that names sled |
//! | 4 shells | [`io`], [`web`], [`app`], [`cli`] | sockets, ports, files, clocks, threads |
//!
//! A program for release is laid out by `build.rs`: what a gateway runs from its start on lies side by side, so that it takes
//! a third less memory. `tests/heavy/first_functions` writes down anew what that is.
//!
//! # What is absent, and must stay so
//!
//! - A machine (level 2) has no socket, no file, no thread and no clock. Time is an argument ([`time::Now`]), and
//!   what it wants done comes out as a value. So each of them runs in a test with invented time.
//! - `sensor`, `auth`, `broker` and `bridge` don't know one another. [`ingest`] alone knows a reading and a message,
//!   [`health`] alone knows all their snapshots; [`io`] and [`app`] carry values between them.
//! - `io` decides nothing about MQTT, sensors or durability. If a shell grows such an `if`, it belongs in a machine.
//! - Nothing on the broker thread waits: not for the disk, not for a name server, not for a password hash, not for
//!   an upstream.
//! - No config counts in part: another one is read, checked and prepared as a whole (certificates, password files,
//!   sockets) before any of it is in use. [`config::reload`] tells what changes and when it counts.
//! - A config that is changed from outside ([`io::change`]) is tried first, written atomically, and a version of the history
//!   once it runs; what could lock people out goes back by itself unless it is confirmed, also over a crash.
//! - Outside input never panics, and `unsafe` is forbidden. Should a fault, of ours or of a library, panic all the same,
//!   it costs the connection, the link or the line that was at work ([`io::panics`]), and is counted.
//!
//! # What survives what
//!
//! | | readings | LAN messages with QoS ≥ 1 that go upstream | sessions and retained messages of LAN clients |
//! |---|---|---|---|
//! | an outage of the upstream, of any length within the bounds of `[buffer]` | all | all | all |
//! | `kill -9`, a power cut | all but those younger than `buffer.commit_interval` | all that were acknowledged | all that was acknowledged; none with `persistence = false` |
//!
//! [`store`] says how; `tests/store_powercut` and `tests/lan_durable.rs` prove it. Of sessions and retained messages in
//! detail:
//!
//! | | safe from |
//! |---|---|
//! | a subscription and its end | SUBACK, UNSUBACK |
//! | a message with QoS 1 or 2 for a session that outlives its connection | the publisher's PUBACK or PUBREC: it is on disk, or its receiver has acknowledged it |
//! | a QoS 2 identifier of such a session, open or closed | PUBREC, PUBCOMP: so QoS 2 is exactly once over a crash |
//! | a retained message, set or cleared | PUBACK or PUBREC; 10 s after a QoS 0 |
//! | a session, a will, that a session began anew or without the will of before | CONNACK; where the disk fails or takes longer than 2 s, nobody is kept out, and it is safe with the next write that succeeds |
//! | retained messages that a new subscription had not got yet | not: the client subscribes again |
//! | messages for sessions that end with their connection, QoS 0 | never on disk |
//!
//! When the broker's state is written: at once where a client sends as soon as it is acknowledged, one write after the
//! other, each with all that has come meanwhile; otherwise within 10 ms of the first who waits, and in the long run
//! `broker.commit_interval` apart. What a connected client is about to acknowledge waits for 250 ms first.

// level 0: words
pub mod hex;
pub mod limits;
pub mod reading;
pub mod said;
pub mod secret;
pub mod time;
pub mod unit;
pub mod version;

// level 1: formats
pub mod message;
pub mod mqtt;
pub mod payload;
pub mod ranges;
pub mod record;
pub mod state;

// level 2: machines
pub mod auth;
pub mod bridge;
pub mod broker;
pub mod command;
pub mod config;
pub mod discovery;
pub mod events;
pub mod expiry;
pub mod filter;
pub mod gpio;
pub mod health;
pub mod history;
pub mod ingest;
pub mod people;
pub mod sensor;

// level 3: durable
pub mod store;

// level 4: shells, and what puts it all together
pub mod app;
pub mod cli;
pub mod io;
pub mod web;
