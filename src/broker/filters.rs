//! The filters that a session has subscribed to. Most clients have one or two, so they take no more room than those.

use crate::mqtt::topic::TopicFilter;

/// Filters, each once, in order. Putting one into the largest set that is allowed moves a few hundred kilobytes at most.
#[derive(Debug, Default)]
pub(super) struct Filters(Vec<TopicFilter>);

impl Filters {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TopicFilter> {
        self.0.iter()
    }

    pub(super) fn contains(&self, filter: &TopicFilter) -> bool {
        self.0.binary_search(filter).is_ok()
    }

    pub(super) fn insert(&mut self, filter: TopicFilter) {
        if let Err(at) = self.0.binary_search(&filter) {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, filter);
        }
    }

    pub(super) fn remove(&mut self, filter: &TopicFilter) {
        if let Ok(at) = self.0.binary_search(filter) {
            self.0.remove(at);
        }
    }
}

impl IntoIterator for Filters {
    type Item = TopicFilter;
    type IntoIter = std::vec::IntoIter<TopicFilter>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_there_once_until_it_is_removed_and_a_shared_one_is_another() {
        let filter = |text| TopicFilter::parse(text).unwrap();
        let mut filters = Filters::default();
        for text in ["b/+", "a/#", "$share/s/b/+", "b/+", "c"] {
            filters.insert(filter(text));
        }
        assert_eq!(filters.len(), 4);
        filters.remove(&filter("b/+"));
        filters.remove(&filter("never/there"));
        assert!(!filters.contains(&filter("b/+")));
        assert!(filters.contains(&filter("$share/s/b/+")));
        let mut left: Vec<String> = filters.into_iter().map(|filter| filter.to_string()).collect();
        left.sort();
        assert_eq!(left, ["$share/s/b/+", "a/#", "c"]);
    }
}
