//! The gateway under demonstration: `app::run` on a thread of its own, and what it answers on its control socket.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle as Task, spawn_blocking, spawn_local};

use crate::app;
use crate::config::Config;
use crate::io::control;

/// The control socket is asked again after this.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The running gateway. A clean end is [`Gateway::stop`]; dropping it stops it, too, and waits.
#[derive(Debug)]
pub(super) struct Gateway {
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Result<(), String>>,
    /// What `ended` told: it tells only once.
    result: Option<Result<(), String>>,
    thread: Option<JoinHandle<()>>,
    status: Rc<RefCell<Result<Json, String>>>,
    asking: Task<()>,
}

impl Gateway {
    /// Starts it.
    ///
    /// # Errors
    /// In words.
    pub(super) fn start(config: Config) -> Result<Self, String> {
        let socket = config.gateway.control_socket.clone();
        let (stop, stopping) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("fg-service".into())
            .spawn(move || {
                let stop = async {
                    // An error means that the demo is gone: stop as well.
                    let _ = stopping.await;
                };
                // Nobody listens any more if the demo gave up.
                let _ = end.send(app::run(config, None, None, stop).map(drop));
            })
            .map_err(|error| format!("can't start the gateway: {error}"))?;
        let status = Rc::new(RefCell::new(Err("the gateway is starting".to_owned())));
        let asking = spawn_local(ask(socket, status.clone()));
        Ok(Self { stop: Some(stop), ended, result: None, thread: Some(thread), status, asking })
    }

    /// What it said last, or why it says nothing.
    pub(super) fn status(&self) -> Result<Json, String> {
        self.status.borrow().clone()
    }

    /// Waits for it to end by itself, which it shouldn't. Cancel safe.
    pub(super) async fn died(&mut self) -> String {
        match self.end().await {
            Ok(()) => "the gateway has stopped by itself".into(),
            Err(error) => error,
        }
    }

    /// Stops it cleanly and waits for its end.
    ///
    /// # Errors
    /// In words.
    pub(super) async fn stop(mut self) -> Result<(), String> {
        drop(self.stop.take());
        self.end().await
    }

    async fn end(&mut self) -> Result<(), String> {
        if self.result.is_none() {
            let ended = (&mut self.ended).await;
            self.result = Some(match ended {
                Ok(result) => result.map_err(|error| format!("the gateway: {error}")),
                Err(_) => Err("the gateway has panicked".into()),
            });
        }
        self.result.clone().unwrap_or(Ok(()))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.asking.abort();
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by then.
            let _ = thread.join();
        }
    }
}

async fn ask(socket: PathBuf, status: Rc<RefCell<Result<Json, String>>>) {
    loop {
        let path = socket.clone();
        let answer = spawn_blocking(move || control::ask(&path, "status")).await;
        *status.borrow_mut() = answer.unwrap_or_else(|error| Err(error.to_string()));
        tokio::time::sleep(ASK_EVERY).await;
    }
}
