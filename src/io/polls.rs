//! Between whoever wants a device polled out of turn and the task that has its line. What is asked when decides
//! [`Bus`](crate::sensor::Bus).

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use crate::sensor::bus::Polled;

/// Who waits for which poll. Lives on the service thread.
#[derive(Debug, Default)]
pub struct Polls {
    /// By the port's name: its task looks at its machine when it is rung. One for each name that a port ever had.
    bells: RefCell<HashMap<Arc<str>, Rc<Notify>>>,
    /// The last number, and who waits: one for each device that is asked, and no more.
    waiting: RefCell<(u64, HashMap<u64, oneshot::Sender<Polled>>)>,
}

impl Polls {
    /// What rings when a device of the port is asked.
    #[must_use]
    pub fn bell(&self, port: &Arc<str>) -> Rc<Notify> {
        self.bells.borrow_mut().entry(port.clone()).or_default().clone()
    }

    /// A number for a poll, and where its end is told. Whoever doesn't ask after all gives it back with [`Self::forget`].
    #[must_use]
    pub fn begin(&self) -> (u64, oneshot::Receiver<Polled>) {
        let (ended, end) = oneshot::channel();
        let mut waiting = self.waiting.borrow_mut();
        waiting.0 = waiting.0.wrapping_add(1);
        let id = waiting.0;
        waiting.1.insert(id, ended);
        (id, end)
    }

    /// Nobody waits for it.
    pub fn forget(&self, id: u64) {
        self.waiting.borrow_mut().1.remove(&id);
    }

    /// It has ended.
    pub fn ended(&self, polled: Polled) {
        let waits = self.waiting.borrow_mut().1.remove(&polled.id);
        if let Some(waits) = waits {
            // Whoever has gone needs nothing.
            let _ = waits.send(polled);
        }
    }
}
