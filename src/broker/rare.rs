//! What most connections and sessions have nothing of: lists that take no more room than a pointer until something is put
//! into them. Thousands of clients may do nothing but wait.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::ops::{Deref, DerefMut};

/// What can be empty without a place of its own.
pub(super) trait Empty: Default + 'static {
    /// An empty one.
    const EMPTY: &'static Self;
}

impl<T: 'static> Empty for Vec<T> {
    const EMPTY: &'static Self = &Self::new();
}

impl<T: 'static> Empty for VecDeque<T> {
    const EMPTY: &'static Self = &Self::new();
}

impl<K: 'static, V: 'static, H: 'static> Empty for HashMap<K, V, BuildHasherDefault<H>> {
    const EMPTY: &'static Self = &Self::with_hasher(BuildHasherDefault::new());
}

/// A list that is seldom used. To read it costs nothing; the first change makes a place for it, also one that does nothing
/// to an empty list: for those there is [`Rare::there`].
#[derive(Debug)]
pub(super) struct Rare<T>(Option<Box<T>>);

impl<T> Rare<T> {
    /// What is there, if anything has ever been.
    pub(super) fn there(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T: Empty> Rare<T> {
    /// Takes all that is there.
    pub(super) fn take(&mut self) -> T {
        self.0.take().map(|list| *list).unwrap_or_default()
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> From<T> for Rare<T> {
    fn from(list: T) -> Self {
        Self(Some(Box::new(list)))
    }
}

impl<T: Empty> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Empty> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_takes_a_pointer_until_something_is_in_it_and_is_one_like_any_other_then() {
        let mut list: Rare<VecDeque<u64>> = Rare::default();
        assert_eq!(size_of_val(&list), size_of::<usize>());
        assert!(list.is_empty() && list.front().is_none() && list.there().is_none());
        list.push_back(3);
        list.push_back(4);
        assert_eq!(list.pop_front(), Some(3));
        assert_eq!(list.there().map(|list| list.len()), Some(1));
        assert_eq!(list.take(), [4]);
        assert!(list.is_empty() && list.there().is_none());
    }
}
