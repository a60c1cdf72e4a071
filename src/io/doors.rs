//! All listeners of the broker thread: opened at the start, and changed while the gateway runs. Who has to go with a
//! listener decides the broker.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;
use tracing::info;

use super::listener::{self, Bound, ListenerStatus, Place};
use super::server_tls::Keys;
use super::shard::{Shard, update};
use crate::broker::ListenerId;
use crate::config::{Bind, Listener};

/// A socket that a new config asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The listener's name, for messages.
    pub name: Arc<str>,
    /// Where.
    pub bind: Bind,
}

/// A listener that was opened.
#[derive(Debug)]
struct Open {
    name: Arc<str>,
    bind: Bind,
    place: Place,
    socket: Rc<RefCell<Option<Rc<Bound>>>>,
    task: JoinHandle<()>,
}

/// The listeners, in the order of the config.
#[derive(Debug)]
pub(super) struct Doors {
    shard: Rc<Shard>,
    status: Arc<Mutex<Vec<ListenerStatus>>>,
    open: Vec<Open>,
    /// Bound for the config that is about to come.
    ready: Vec<(Bind, Rc<Bound>)>,
}

impl Doors {
    /// Opens them, each as soon as it can be.
    pub(super) fn open(
        shard: Rc<Shard>,
        listeners: Vec<Listener>,
        status: Arc<Mutex<Vec<ListenerStatus>>>,
    ) -> Self {
        let mut doors = Self { shard, status, open: Vec::new(), ready: Vec::new() };
        for listener in listeners {
            let door = doors.start(listener, None, None, doors.open.len());
            doors.open.push(door);
        }
        doors
    }

    /// Closes them; whoever is in stays.
    pub(super) fn close(&mut self) {
        for door in self.open.drain(..) {
            door.place.set(None);
            door.task.abort();
        }
    }

    /// Binds what a new config asks for. A socket of a listener that will be closed is taken over where the address
    /// is the same, and gives way where it is covered or covers.
    ///
    /// # Errors
    /// Which can't be bound, in words; then none is.
    pub(super) fn bind(&mut self, wanted: &[Wanted], closing: &[usize]) -> Result<(), String> {
        self.ready.clear();
        let closing: Vec<(Bind, Rc<Bound>)> = closing
            .iter()
            .filter_map(|place| self.open.get(*place))
            .filter_map(|door| Some((door.bind.clone(), door.socket.borrow().clone()?)))
            .collect();
        for Wanted { name, bind } in wanted {
            let is_free = |socket: &Rc<Bound>| !self.ready.iter().any(|(_, taken)| Rc::ptr_eq(taken, socket));
            let same = closing.iter().find(|(other, socket)| other == bind && is_free(socket));
            let bound = match same {
                Some((_, socket)) => Ok(socket.clone()),
                None => bind_beside(bind, &closing).map(Rc::new),
            };
            match bound {
                Ok(bound) => self.ready.push((bind.clone(), bound)),
                Err(error) => {
                    self.ready.clear();
                    return Err(format!("listener {name}: can't listen on {bind}: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Has these listeners from now on. `moved` tells for each listener until now its new place, or that it is closed;
    /// the others are opened, on the sockets that were bound for them. Returns the tasks of those that are closed: when
    /// they have ended, their sockets are gone.
    pub(super) fn change(
        &mut self,
        moved: &[Option<ListenerId>],
        listeners: Vec<(Listener, Option<Keys>)>,
    ) -> Vec<JoinHandle<()>> {
        let mut closing = Vec::new();
        let mut kept: Vec<Option<Open>> = Vec::new();
        kept.resize_with(listeners.len(), || None);
        let mut statuses = Vec::new();
        statuses.resize_with(listeners.len(), || None);
        let mut old_statuses = Vec::new();
        update(&self.status, |all| old_statuses.clone_from(all));
        for (at, door) in std::mem::take(&mut self.open).into_iter().enumerate() {
            let place = moved.get(at).copied().flatten();
            door.place.set(place);
            let index = place.map(|place| usize::from(place.0));
            match index.and_then(|index| kept.get_mut(index)) {
                Some(slot) => {
                    *slot = Some(door);
                    if let Some(status) = index.and_then(|index| statuses.get_mut(index)) {
                        *status = old_statuses.get(at).cloned();
                    }
                }
                None => {
                    info!(listener = %door.name, address = %door.bind, "listener closed");
                    door.task.abort();
                    closing.push(door.task);
                }
            }
        }
        let in_place = listeners.iter().zip(statuses).map(|((listener, _), status)| {
            status.unwrap_or_else(|| ListenerStatus {
                name: listener.name.clone(),
                address: listener.bind.clone(),
                transport: listener.transport(),
                error: None,
                dates: Vec::new(),
            })
        });
        let in_place: Vec<ListenerStatus> = in_place.collect();
        update(&self.status, |all| *all = in_place);
        for (at, ((listener, keys), door)) in listeners.into_iter().zip(kept).enumerate() {
            let door = door.unwrap_or_else(|| {
                let ready = self.ready.iter().position(|(bind, _)| *bind == listener.bind);
                let socket = ready.map(|ready| self.ready.swap_remove(ready).1);
                self.start(listener, socket, keys, at)
            });
            self.open.push(door);
        }
        self.ready.clear();
        closing
    }

    fn start(&self, listener: Listener, socket: Option<Rc<Bound>>, keys: Option<Keys>, place: usize) -> Open {
        let place = Rc::new(Cell::new(u16::try_from(place).ok().map(ListenerId)));
        let socket = Rc::new(RefCell::new(socket));
        let (name, bind) = (listener.name.clone(), listener.bind.clone());
        let task = tokio::task::spawn_local(listener::serve(listener::Setup {
            shard: self.shard.clone(),
            place: place.clone(),
            config: listener,
            status: self.status.clone(),
            socket: socket.clone(),
            keys,
        }));
        Open { name, bind, place, socket, task }
    }
}

/// Binds an address although sockets that will be closed may cover it.
fn bind_beside(bind: &Bind, closing: &[(Bind, Rc<Bound>)]) -> Result<Bound, String> {
    let rivals: Vec<&Rc<Bound>> =
        closing.iter().filter(|(other, _)| overlap(bind, other)).map(|(_, socket)| socket).collect();
    rivals.iter().for_each(|rival| rival.share(true));
    let bound = listener::bind(bind, !rivals.is_empty());
    rivals.iter().for_each(|rival| rival.share(false));
    bound
}

/// Whether one of two different addresses covers the other.
fn overlap(one: &Bind, other: &Bind) -> bool {
    let everywhere = |address: &SocketAddr| address.ip().is_unspecified();
    match (one, other) {
        (Bind::Tcp(one), Bind::Tcp(other)) => {
            one.port() == other.port() && one.port() != 0 && (everywhere(one) || everywhere(other))
        }
        _ => false,
    }
}
