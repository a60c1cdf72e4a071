//! One listening address: binds it, again and again if it must, and takes clients in.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tracing::{error, info, warn};

use super::connection;
use super::shard::{Shard, update};
use crate::broker::ListenerId;
use crate::config::Listener;

/// An address that can't be bound is tried again after this.
const BIND_RETRY: Duration = Duration::from_secs(5);

/// After an accept that failed (out of file descriptors, mostly) the next waits this long, so that it doesn't spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A snapshot of one listener for health and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The address as configured or, where the config says port 0, as it was given.
    pub address: SocketAddr,
    /// Why it doesn't listen.
    pub error: Option<String>,
}

/// Listens until the task is aborted.
pub(super) async fn serve(
    shard: Rc<Shard>,
    id: ListenerId,
    config: Listener,
    status: Arc<Mutex<Vec<ListenerStatus>>>,
) {
    let index = usize::from(id.0);
    let mut told = false;
    loop {
        match TcpListener::bind(config.bind).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(config.bind);
                info!(listener = %config.name, %address, "listening for MQTT clients");
                set(&status, index, ListenerStatus { name: config.name.clone(), address, error: None });
                accept(&shard, id, &config, &listener).await;
            }
            Err(error) => {
                if !told {
                    error!(
                        listener = %config.name, address = %config.bind, %error,
                        "can't listen; another program may have the port; trying again every 5 s"
                    );
                    told = true;
                }
                let error = Some(format!("can't listen on {}: {error}", config.bind));
                set(
                    &status,
                    index,
                    ListenerStatus { name: config.name.clone(), address: config.bind, error },
                );
                tokio::time::sleep(BIND_RETRY).await;
            }
        }
    }
}

async fn accept(shard: &Rc<Shard>, id: ListenerId, config: &Listener, listener: &TcpListener) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                failing = false;
                take_in(shard, id, stream, peer);
            }
            Err(error) => {
                if !failing {
                    warn!(listener = %config.name, %error, "can't accept clients");
                    failing = true;
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn take_in(shard: &Rc<Shard>, id: ListenerId, stream: TcpStream, peer: SocketAddr) {
    // We coalesce writes ourselves. A socket that refuses this is as good as gone; the read will tell.
    let _ = stream.set_nodelay(true);
    let stream = Rc::new(stream);
    if let Some((conn, wake)) = shard.open(id, stream.clone(), &peer.to_string()) {
        tokio::task::spawn_local(connection::serve(shard.clone(), conn, stream, wake));
    }
}

fn set(status: &Mutex<Vec<ListenerStatus>>, index: usize, value: ListenerStatus) {
    update(status, |all| {
        if let Some(slot) = all.get_mut(index) {
            *slot = value;
        }
    });
}
