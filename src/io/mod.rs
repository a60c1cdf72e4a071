//! The thin shells: they read, call a machine, carry out its outputs and sleep until its deadline. The only
//! folder, with `cli`, `app` and `main`, that names tokio, opens a file or reads a clock.
//!
//! Three threads. The *broker thread* ([`shard`]) runs the listeners, the connections and the broker machine on
//! one current-thread runtime. The *service thread* runs serial ports ([`serial`]), upstreams ([`upstream`]),
//! health and the control socket on another. The *store thread* ([`store_task`]) blocks on the disk. Broker and
//! service thread exchange one bounded batch a turn through [`mailbox`]es; the store answers requests of which
//! each outbox has at most a few under way.

pub mod clock;
pub mod connection;
pub mod control;
pub mod files;
pub mod listener;
pub mod mailbox;
pub mod reporter;
pub mod serial;
pub mod shard;
pub mod sink;
pub mod store_task;
pub mod tls;
pub mod transport;
pub mod upstream;
