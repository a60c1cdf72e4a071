//! What the service thread tells the page's thread when another config counts: to open what it asks for, beside what is
//! open, to use that, and to close what isn't asked for any more.

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::Web;

/// The page's thread answers within this, or the change is refused.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// One order.
#[derive(Debug)]
pub enum PageOrder {
    /// Open what this config asks for and isn't open; what is open stays so.
    Prepare(Box<Web>, oneshot::Sender<Result<(), String>>),
    /// Use what was prepared. What was used before stays open until the change is settled.
    Use,
    /// What was prepared isn't needed.
    Abandon,
    /// The change stays, or has been taken back: what its config doesn't ask for is closed.
    Settle,
}

/// The way to the page's thread. Lives on the service thread.
#[derive(Debug, Default)]
pub struct PageOrders(RefCell<Option<mpsc::UnboundedSender<PageOrder>>>);

impl PageOrders {
    /// From now on there is somebody who takes orders: at most a few for each change of the config.
    pub fn begin(&self) -> mpsc::UnboundedReceiver<PageOrder> {
        let (sender, orders) = mpsc::unbounded_channel();
        self.0.replace(Some(sender));
        orders
    }

    /// Has everything opened that `config` asks for.
    ///
    /// # Errors
    /// What can't be opened, in words; then all is as before.
    pub async fn prepare(&self, config: &Web) -> Result<(), String> {
        let (answer, prepared) = oneshot::channel();
        if !self.send(PageOrder::Prepare(Box::new(config.clone()), answer)) {
            return Ok(());
        }
        match tokio::time::timeout(ANSWER_MAX, prepared).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("the page: its thread has ended".to_owned()),
            Err(_) => Err(format!("the page: its thread doesn't answer within {} s", ANSWER_MAX.as_secs())),
        }
    }

    /// Uses what was prepared.
    pub fn use_prepared(&self) {
        self.send(PageOrder::Use);
    }

    /// Forgets what was prepared.
    pub fn abandon(&self) {
        self.send(PageOrder::Abandon);
    }

    /// Closes what the config in use doesn't ask for.
    pub fn settle(&self) {
        self.send(PageOrder::Settle);
    }

    /// Whether anybody takes it.
    fn send(&self, order: PageOrder) -> bool {
        self.0.borrow().as_ref().is_some_and(|sender| sender.send(order).is_ok())
    }
}
