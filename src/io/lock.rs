//! Locks around small values that two threads share: state and counters that stay whole, whoever panics.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A lock that a panic elsewhere doesn't close.
pub trait Locked<T> {
    /// The value, until the guard is dropped. Never held across an await.
    fn locked(&self) -> MutexGuard<'_, T>;
}

impl<T> Locked<T> for Mutex<T> {
    fn locked(&self) -> MutexGuard<'_, T> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
