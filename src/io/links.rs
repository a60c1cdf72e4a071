//! The upstreams that there are, for all who speak to them: an upstream that comes or goes while the gateway runs is here,
//! or isn't, from one moment to the next.

use std::cell::RefCell;
use std::rc::Rc;

use super::upstream::SharedBridge;
use crate::message::OutboxId;

/// The bridges, in the order of the config. Lives on the service thread.
#[derive(Debug, Default)]
pub struct Links {
    all: RefCell<Rc<[SharedBridge]>>,
}

impl Links {
    /// Those that there are now.
    #[must_use]
    pub fn all(&self) -> Rc<[SharedBridge]> {
        self.all.borrow().clone()
    }

    /// Whose default stream has this outbox.
    #[must_use]
    pub fn of(&self, outbox: OutboxId) -> Option<SharedBridge> {
        let all = self.all.borrow();
        all.iter().find(|bridge| bridge.outboxes.borrow().first() == Some(&outbox)).cloned()
    }

    /// Others from now on.
    pub fn set(&self, bridges: impl IntoIterator<Item = SharedBridge>) {
        self.all.replace(bridges.into_iter().collect());
    }

    /// All outboxes: each upstream's own, then those of further streams.
    #[must_use]
    pub fn outboxes(&self) -> Vec<OutboxId> {
        let all = self.all();
        let own = all.iter().filter_map(|bridge| bridge.outboxes.borrow().first().copied());
        let further = all
            .iter()
            .flat_map(|bridge| bridge.outboxes.borrow().iter().skip(1).copied().collect::<Vec<_>>());
        own.chain(further).collect()
    }
}
