//! Filters in use. Each is another room in every region, so their number is limited; clients with
//! the same filter share one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};

use odds::Filter;

#[derive(Debug)]
pub(crate) struct Filters {
    most: usize,
    known: Mutex<HashMap<Filter, Weak<Filter>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{most} different filters are in use: try one that others have, or later")]
pub(crate) struct TooManyFilters {
    most: usize,
}

impl Filters {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, known: Mutex::default() }
    }

    /// The filter as everybody shares it. It counts for as long as somebody holds it.
    pub(crate) fn hold(&self, filter: Filter) -> Result<Arc<Filter>, TooManyFilters> {
        let mut known = self.known.lock().expect("nobody panics while holding it");
        if let Some(shared) = known.get(&filter).and_then(Weak::upgrade) {
            return Ok(shared);
        }
        if !filter.is_all() && known.len() >= self.most {
            known.retain(|_, held| held.strong_count() > 0);
            if known.len() >= self.most {
                return Err(TooManyFilters { most: self.most });
            }
        }
        let shared = Arc::new(filter.clone());
        known.insert(filter, Arc::downgrade(&shared));
        Ok(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(name: &str) -> Filter {
        Filter::from_value(&serde_json::json!({ "sports": [name] })).unwrap()
    }

    #[test]
    fn one_too_many_is_refused_until_another_is_let_go() {
        let filters = Filters::new(2);
        let first = filters.hold(narrow("a")).unwrap();
        let second = filters.hold(narrow("b")).unwrap();
        assert!(Arc::ptr_eq(&first, &filters.hold(narrow("a")).unwrap()), "shared");
        assert_eq!(filters.hold(narrow("c")), Err(TooManyFilters { most: 2 }));
        assert!(filters.hold(Filter::default()).is_ok(), "everything is always to be had");
        drop(second);
        assert!(filters.hold(narrow("c")).is_ok());
    }
}
