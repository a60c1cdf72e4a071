//! Batches between the broker thread and the service thread: bounded in bytes, taken all at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A bounded queue from one thread to another. What is pushed in one turn is taken in one turn.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Mutex<Queue<T>>,
    filled: Notify,
    emptied: Notify,
    weight_max: usize,
}

#[derive(Debug)]
struct Queue<T> {
    items: Vec<T>,
    weight: usize,
    closed: bool,
}

impl<T> Mailbox<T> {
    /// An empty mailbox that takes items up to `weight_max` bytes in all.
    #[must_use]
    pub fn new(weight_max: usize) -> Self {
        Self {
            queue: Mutex::new(Queue { items: Vec::new(), weight: 0, closed: false }),
            filled: Notify::new(),
            emptied: Notify::new(),
            weight_max,
        }
    }

    /// Puts one item in.
    ///
    /// # Errors
    /// Gives the item back where the mailbox is full or closed: the caller applies its rule at the bound.
    pub fn push(&self, item: T, weight: usize) -> Result<(), T> {
        let mut queue = self.lock();
        if queue.closed || (queue.weight > 0 && queue.weight.saturating_add(weight) > self.weight_max) {
            return Err(item);
        }
        queue.items.push(item);
        queue.weight = queue.weight.saturating_add(weight);
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// Puts one item in whatever the weight. For what is bounded elsewhere: acknowledgements, answers, control.
    pub fn force(&self, item: T) {
        self.lock().items.push(item);
        self.filled.notify_one();
    }

    /// Puts one item in whatever the weight, which counts: whoever does so looks at [`Self::weight`] and stops in time.
    pub fn force_weighed(&self, item: T, weight: usize) {
        let mut queue = self.lock();
        queue.items.push(item);
        queue.weight = queue.weight.saturating_add(weight);
        drop(queue);
        self.filled.notify_one();
    }

    /// Waits until something is there, then takes all of it into `into`, which must be empty. False once the
    /// mailbox is closed and empty. Cancel safe: nothing is taken before it returns.
    pub async fn take(&self, into: &mut Vec<T>) -> bool {
        loop {
            let filled = self.filled.notified();
            if self.try_take(into) {
                return true;
            }
            if self.lock().closed {
                return false;
            }
            filled.await;
        }
    }

    /// Takes all that is there; false if nothing is.
    pub fn try_take(&self, into: &mut Vec<T>) -> bool {
        let mut queue = self.lock();
        if queue.items.is_empty() {
            return false;
        }
        std::mem::swap(&mut queue.items, into);
        queue.weight = 0;
        drop(queue);
        self.emptied.notify_one();
        true
    }

    /// Waits until someone took what is in it, or takes no time if it is empty.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            {
                let queue = self.lock();
                if queue.items.is_empty() || queue.closed {
                    return;
                }
            }
            emptied.await;
        }
    }

    /// The bytes that wait in it.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.lock().weight
    }

    /// Takes nothing more in; what is in it can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
        self.emptied.notify_one();
    }

    /// A thread that panicked while it held the lock left the queue whole: pushes and takes are single steps.
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_that_does_not_fit_comes_back_and_the_rest_stays() {
        let mailbox = Mailbox::new(10);
        assert_eq!(mailbox.push('a', 6), Ok(()));
        assert_eq!(mailbox.push('b', 6), Err('b'));
        mailbox.force('c');
        let mut taken = Vec::new();
        assert!(mailbox.try_take(&mut taken));
        assert_eq!(taken, ['a', 'c']);
        assert_eq!(mailbox.weight(), 0);
        assert_eq!(mailbox.push('d', 60), Ok(()), "an empty mailbox takes one item of any size");
    }

    #[test]
    fn a_closed_mailbox_gives_what_it_has_and_then_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mailbox = Mailbox::new(10);
            mailbox.force(1);
            mailbox.close();
            assert_eq!(mailbox.push(2, 1), Err(2));
            let mut taken = Vec::new();
            assert!(mailbox.take(&mut taken).await);
            taken.clear();
            assert!(!mailbox.take(&mut taken).await);
        });
    }
}
