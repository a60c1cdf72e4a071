//! The addresses of the page: opened at the start, and changed while it runs. The new ones are opened beside the old ones,
//! which stay until the change is settled, so that nobody loses the page over an address that he can't reach.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, spawn_local};
use tracing::{error, info};

use super::server::{Doorway, Room, accept};
use super::{Web, certificate, routes};
use crate::config;
use crate::io::listener::{bind_tcp, share};
use crate::io::lock::Locked;
use crate::io::page_orders::PageOrder;
use crate::io::server_tls::Keys;

/// What can't be opened is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// A connection that was accepted at that door.
pub(super) type DoorId = u64;

/// What makes two doors the same.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spec {
    address: SocketAddr,
    /// With TLS: with which certificate; the gateway's own where none is named.
    tls: Option<Option<(PathBuf, PathBuf)>>,
}

/// A change of the page's addresses that isn't settled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsettled {
    /// The door with TLS, where that is a new one: whoever confirms the change must come by it.
    pub(super) new: Option<(DoorId, SocketAddr)>,
    /// The doors that will be closed.
    pub(super) leaving: Vec<DoorId>,
}

impl Unsettled {
    /// Whether somebody who came by this door can still come when the change stays.
    pub(super) fn may_confirm(&self, door: DoorId) -> bool {
        match self.new {
            Some((new, _)) => door == new,
            None => !self.leaving.contains(&door),
        }
    }
}

/// A listening socket, once there is one.
type Socket = Rc<RefCell<Option<Rc<TcpListener>>>>;

struct Door {
    id: DoorId,
    spec: Spec,
    socket: Socket,
    task: AbortHandle,
    /// Whether anybody is let in by it.
    is_open: bool,
    /// Has its connections end after what they ask for just now: whoever comes back comes by the door that counts.
    shed: watch::Sender<()>,
}

impl Door {
    /// Nobody comes in by it any more; whoever is in is answered once more.
    fn close(&mut self) {
        self.is_open = false;
        self.task.abort();
        self.shed.send_replace(());
    }
}

/// What was opened for a config that doesn't count yet.
struct Prepared {
    config: config::Web,
    sockets: Vec<(Spec, Rc<TcpListener>)>,
    keys: Option<Keys>,
}

/// All doors. Lives on the page's thread.
pub(super) struct Doors {
    web: Arc<Web>,
    router: Router,
    room: Arc<Room>,
    open: Vec<Door>,
    leaving: Vec<Door>,
    prepared: Option<Prepared>,
    last_id: DoorId,
}

impl Doors {
    /// Opens those of the config, each as soon as it can be.
    pub(super) fn open(web: Arc<Web>) -> Self {
        let (router, room) = (routes::router(&web), Arc::new(Room::default()));
        let mut doors =
            Self { web, router, room, open: Vec::new(), leaving: Vec::new(), prepared: None, last_id: 0 };
        for spec in specs(&doors.web.current().config) {
            let door = doors.start(spec, None, None);
            doors.open.push(door);
        }
        doors.tell_doors();
        doors
    }

    /// Streams end whose door isn't among them any more.
    fn tell_doors(&self) {
        self.web.doors.send_replace(self.all().filter(|door| door.is_open).map(|door| door.id).collect());
    }

    /// Carries out what the service thread says, for as long as it is there.
    pub(super) async fn obey(mut self, mut orders: mpsc::UnboundedReceiver<PageOrder>) {
        while let Some(order) = orders.recv().await {
            match order {
                PageOrder::Prepare(config, answer) => {
                    let outcome = self.prepare(*config).await;
                    // Whoever asked has given up then, and says so.
                    let _ = answer.send(outcome);
                }
                PageOrder::Abandon => self.prepared = None,
                PageOrder::Use => self.use_prepared(),
                PageOrder::Settle => self.settle(),
            }
        }
        // The doors stay open until the page's thread ends.
        std::future::pending::<()>().await;
    }

    fn all(&self) -> impl Iterator<Item = &Door> {
        self.open.iter().chain(&self.leaving)
    }

    async fn prepare(&mut self, config: config::Web) -> Result<(), String> {
        self.prepared = None;
        let (mut sockets, mut keys) = (Vec::new(), None);
        for spec in specs(&config) {
            if self.all().any(|door| door.spec == spec && door.is_open) {
                continue;
            }
            if spec.tls.is_some() {
                let settings = certificate::settings(&config, &self.web)?;
                keys = Some(Keys::open(&settings).await.map_err(|error| format!("the page: {error}"))?);
            }
            let socket = self
                .socket_at(spec.address)
                .map_err(|error| format!("the page: can't listen on {}: {error}", spec.address))?;
            sockets.push((spec, socket));
        }
        self.prepared = Some(Prepared { config, sockets, keys });
        Ok(())
    }

    /// The socket that is there already, else one beside those that cover the address or are covered by it.
    fn socket_at(&self, address: SocketAddr) -> std::io::Result<Rc<TcpListener>> {
        let sockets =
            || self.all().filter_map(|door| Some((door.spec.address, door.socket.borrow().clone()?)));
        if let Some((_, socket)) = sockets().find(|(other, _)| *other == address) {
            return Ok(socket);
        }
        let everywhere = |address: SocketAddr| address.ip().is_unspecified();
        let covers = |other: SocketAddr| {
            address.port() != 0
                && other.port() == address.port()
                && (everywhere(other) || everywhere(address))
        };
        let rivals: Vec<_> =
            sockets().filter(|(other, _)| covers(*other)).map(|(_, socket)| socket).collect();
        rivals.iter().for_each(|rival| share(rival, true));
        let bound = bind(address, !rivals.is_empty()).map(Rc::new);
        rivals.iter().for_each(|rival| share(rival, false));
        bound
    }

    fn use_prepared(&mut self) {
        let Some(Prepared { config, sockets, mut keys }) = self.prepared.take() else { return };
        let (before, mut had) = (self.web.current(), std::mem::take(&mut self.open));
        had.append(&mut self.leaving);
        for spec in specs(&config) {
            let place = had.iter().position(|door| door.spec == spec);
            let door = match place.map(|place| had.remove(place)) {
                // One that was to be closed may have given its socket away.
                Some(door) if door.is_open => door,
                other => {
                    let mut sockets = sockets.iter();
                    let socket = sockets.find(|(of, _)| *of == spec).map(|(_, socket)| socket.clone());
                    let socket = socket.or_else(|| other.as_ref()?.socket.borrow().clone());
                    // Whoever comes from now on is meant for the new one.
                    had.iter_mut().filter(|door| door.spec.address == spec.address).for_each(Door::close);
                    let keys = spec.tls.as_ref().and_then(|_| keys.take());
                    self.start(spec, socket, keys)
                }
            };
            self.open.push(door);
        }
        had.iter().for_each(|door| door.shed.send_replace(()));
        self.leaving = had;
        let leaving: Vec<DoorId> = self.leaving.iter().map(|door| door.id).collect();
        let newest = self.open.iter().find(|door| door.spec.tls.is_some());
        let was_there = |spec: &Spec| specs(&before.config).contains(spec);
        let new = newest.filter(|door| !was_there(&door.spec)).map(|door| (door.id, door.spec.address));
        let is_same = new.is_none() && leaving.is_empty() && config.hosts == before.config.hosts;
        self.web.use_config(config, (!is_same).then_some(Unsettled { new, leaving }));
        self.tell_doors();
        self.tell_address();
    }

    fn settle(&mut self) {
        for mut door in self.leaving.drain(..) {
            info!(address = %door.spec.address, tls = door.spec.tls.is_some(), "an address of the page is closed");
            door.close();
        }
        self.tell_doors();
        self.web.settled();
    }

    /// For status: where the page is.
    fn tell_address(&self) {
        if let Some(door) = self.open.iter().find(|door| door.spec.tls.is_some())
            && let Some(socket) = &*door.socket.borrow()
        {
            let bound = socket.local_addr().unwrap_or(door.spec.address);
            self.web.page.locked().address = Some(bound.to_string());
        }
    }

    fn start(&mut self, spec: Spec, socket: Option<Rc<TcpListener>>, keys: Option<Keys>) -> Door {
        self.last_id += 1;
        let id = self.last_id;
        let (shed, shedding) = watch::channel(());
        let socket = Rc::new(RefCell::new(socket));
        let doorway = Doorway {
            web: self.web.clone(),
            router: self.router.clone(),
            room: self.room.clone(),
            door: id,
            keys: None,
            shed: shedding,
        };
        let task = spawn_local(serve(doorway, spec.clone(), socket.clone(), keys)).abort_handle();
        Door { id, spec, socket, task, is_open: true, shed }
    }
}

/// What a config asks for.
fn specs(config: &config::Web) -> Vec<Spec> {
    let with_tls = Spec { address: config.bind, tls: Some(config.certificate.clone()) };
    let plain = config.plain.map(|address| Spec { address, tls: None });
    std::iter::once(with_tls).chain(plain).collect()
}

/// Lets people in by one door. Certificate and address are tried again until they are there.
async fn serve(mut doorway: Doorway, spec: Spec, socket: Socket, keys: Option<Keys>) {
    let mut watching = None;
    if spec.tls.is_some() {
        let keys = Rc::new(match keys {
            Some(keys) => keys,
            None => keys_of(&doorway.web).await,
        });
        watching = Some(watch_keys(doorway.web.clone(), keys.clone(), spec.tls == Some(None)));
        doorway.keys = Some(keys);
    }
    let accepting = async {
        let listener = loop {
            if let Some(socket) = socket.borrow().clone() {
                break socket;
            }
            match bind(spec.address, false) {
                Ok(bound) => {
                    socket.replace(Some(Rc::new(bound)));
                }
                Err(error) => {
                    let words = format!("can't listen on {}: {error}; it is tried again", spec.address);
                    told(&doorway.web, Some(words));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        let bound = listener.local_addr().unwrap_or(spec.address);
        let is_secure = spec.tls.is_some();
        info!(address = %bound, tls = is_secure, "the page can be opened");
        if is_secure {
            let mut page = doorway.web.page.locked();
            (page.address, page.error) = (Some(bound.to_string()), None);
        }
        accept(&doorway, &listener).await;
    };
    match watching {
        // Neither ends by itself; both do with the door.
        Some(watching) => drop(tokio::join!(accepting, watching)),
        None => accepting.await,
    }
}

/// The certificate, as soon as there is one.
async fn keys_of(web: &Arc<Web>) -> Keys {
    loop {
        let config = web.current().config.clone();
        let opened = match certificate::settings(&config, web) {
            Ok(settings) => Keys::open(&settings).await.map(|keys| (keys, settings)),
            Err(error) => Err(error),
        };
        match opened {
            Ok((keys, settings)) => {
                let fingerprint = certificate::fingerprint_of(&settings.cert).unwrap_or_default();
                info!(fingerprint, "the page's certificate (SHA-256)");
                return keys;
            }
            Err(error) => {
                told(web, Some(error));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Reads the certificate again when its files change, has the gateway's own made again when it lacks a name, and says
/// when it ends.
async fn watch_keys(web: Arc<Web>, keys: Rc<Keys>, is_own: bool) {
    web.page.locked().dates = keys.dates();
    let clock = web.clock.clone();
    let (read, page) = (keys.clone(), web.clone());
    let changed = move |error| {
        page.page.locked().dates = read.dates();
        told(&page, error);
    };
    let watching = keys.clone().watch("web", move || clock.now().wall, &changed);
    if is_own {
        tokio::join!(watching, certificate::keep(web, keys, &changed));
    } else {
        watching.await;
    }
}

/// Says what is wrong with the page, once, or that it is all right again.
fn told(web: &Web, error: Option<String>) {
    let mut page = web.page.locked();
    if let Some(error) = &error
        && page.error.as_ref() != Some(error)
    {
        error!(error, "the page");
    }
    page.error = error;
}

fn bind(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    match bind_tcp(address, shared) {
        // A kernel without IPv6 has no [::]; every interface is meant.
        Err(error) if error.raw_os_error() == Some(97) && address.ip().is_unspecified() => {
            bind_tcp(SocketAddr::from(([0, 0, 0, 0], address.port())), shared)
        }
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_confirmed_by_a_door_that_stays_and_by_the_new_one_where_there_is_one() {
        let moved = Unsettled { new: Some((3, "127.0.0.1:1".parse().unwrap())), leaving: vec![1] };
        assert_eq!([1, 2, 3].map(|door| moved.may_confirm(door)), [false, false, true]);
        let tunnel_gone = Unsettled { new: None, leaving: vec![2] };
        assert_eq!([1, 2].map(|door| tunnel_gone.may_confirm(door)), [true, false]);
    }
}
