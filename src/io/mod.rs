//! The thin shells: they read, call a machine, carry out its outputs and sleep until its deadline. The only
//! folder, with `cli`, `app` and `main`, that names tokio, opens a file or reads a clock.
//!
//! Four threads. The *broker thread* ([`shard`]) runs the listeners, the connections and the broker machine on
//! one current-thread runtime. The *service thread* runs serial ports ([`serial`], [`bus`]), GPIO lines ([`gpio`]),
//! upstreams ([`upstream`]), commands ([`commands`]), health and the control socket on another. The *store thread* ([`store_task`]) blocks on the disk,
//! the *password thread* ([`passwords`]) on hashes and on the files that say who may do what. Broker and
//! service thread exchange one bounded batch a turn through [`mailbox`]es; the store answers requests of which
//! each outbox has at most a few under way.
//!
//! Besides, each destination of the log has a thread of its own ([`log`]), for a pipe may stand still. So has each GPIO
//! input that the kernel watches ([`gpio`]).
//!
//! [`discovery`] answers multicast DNS on a thread of its own, so that a flood of it delays nobody.
//!
//! [`supervisor`] tells systemd how the process is, and feeds its watchdog from a thread of its own while broker, service
//! and store thread get on with their work.
//!
//! What panics is caught by [`panics`], as close to the connection, the upstream or the port as can be.
//!
//! Before MQTT a LAN client may have to be greeted (`greet`: proxy header, TLS handshake, WebSocket request; how many
//! at once is the business of `guests`, how often and from where the broker's). From then on its bytes pass through a
//! `codec`, or, on plain TCP, through none. `descriptors` and `memory` tell how much of each the process takes.

pub mod access;
pub mod admission;
pub mod allocator;
pub mod backup;
pub mod borrow;
pub mod bus;
pub mod certificate_dates;
pub mod certificate_name;
pub mod change;
mod change_control;
pub mod clock;
mod codec;
pub mod commands;
pub mod config_files;
pub mod config_history;
pub mod config_mqtt;
pub mod config_start;
pub mod connection;
pub mod control;
pub mod descriptors;
pub mod dial;
pub mod dial_targets;
pub mod discovery;
pub mod doors;
pub mod exec;
pub mod file_source;
pub mod files;
mod glob;
pub mod gnss;
pub mod gpio;
pub mod gpio_control;
mod greet;
mod guests;
pub mod holders;
pub mod journal;
mod line;
pub mod links;
pub mod listener;
pub mod live;
pub mod lock;
pub mod log;
pub mod machine;
pub mod mailbox;
mod memory;
pub mod operations;
pub mod own_certificate;
pub mod own_names;
pub mod page_orders;
pub mod panics;
pub mod passwords;
pub mod pid_file;
mod plain;
pub mod plugged;
pub mod polls;
pub mod probe;
pub mod provisioned;
mod proxy;
mod proxy_protocol;
pub mod pump;
pub mod readings;
pub mod reporter;
mod rs485;
pub mod scan;
mod scan_control;
pub mod scans;
pub mod serial;
pub mod server_tls;
pub mod shard;
pub mod sink;
pub mod source;
pub mod store_check;
pub mod store_child;
pub mod store_control;
pub mod store_json;
pub mod store_task;
pub mod store_watch;
mod stream;
pub mod supervisor;
mod sys;
pub mod tls;
pub mod trace;
pub mod transport;
pub mod upstream;
mod upstream_log;
mod verifier;
mod websocket;
mod websocket_client;
mod write_control;
