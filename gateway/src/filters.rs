//! The filters in use. Each different filter needs a room in every region, so their number is limited per user and in
//! total. Clients with the same filter share one.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use accounts::UserId;
use odds::Filter;

/// All filters in use, and their limits.
#[derive(Debug)]
pub(crate) struct Filters {
    max: usize,
    max_per_user: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The shared copy of each filter, and how many clients hold it.
    shared: HashMap<Filter, (Arc<Filter>, usize)>,
    of_user: HashMap<UserId, HashMap<Filter, usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooManyFilters {
    #[error("you already use {0} different filters: give one up, or use one of them")]
    OfUser(usize),
    #[error("{0} different filters are in use: use one that is in use, or try again later")]
    InTotal(usize),
}

/// A filter that a client of this user holds. It counts until it is dropped.
pub(crate) struct HeldFilter {
    filter: Arc<Filter>,
    user: UserId,
    filters: Arc<Filters>,
}

impl Filters {
    pub(crate) fn new(max: usize, max_per_user: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_user, held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nobody panics while holding it")
    }

    /// Holds a filter for a client of this user, instead of the `replaced` one. Fails if there are too many different
    /// filters; the filter that matches everything is always allowed.
    pub(crate) fn hold(
        self: &Arc<Self>,
        user: &UserId,
        filter: Filter,
        replaced: Option<&HeldFilter>,
    ) -> Result<HeldFilter, TooManyFilters> {
        let mut held = self.held();
        let held = &mut *held;
        let (freed_by_user, freed) = replaced.map_or((0, 0), |replaced| held.freed_by(replaced));
        let of_user = held.of_user.get(user);
        let has_it = filter.is_all() || of_user.is_some_and(|own| own.contains_key(&filter));
        if !has_it && of_user.map_or(0, HashMap::len) - freed_by_user >= self.max_per_user {
            return Err(TooManyFilters::OfUser(self.max_per_user));
        }
        let narrow = held.shared.len() - usize::from(held.shared.contains_key(&Filter::default()));
        if !filter.is_all() && !held.shared.contains_key(&filter) && narrow - freed >= self.max {
            return Err(TooManyFilters::InTotal(self.max));
        }
        let (shared, clients) = held.shared.entry(filter).or_insert_with_key(|filter| (Arc::new(filter.clone()), 0));
        *clients += 1;
        let filter = shared.clone();
        if !filter.is_all() {
            *held.of_user.entry(user.clone()).or_default().entry((*filter).clone()).or_default() += 1;
        }
        Ok(HeldFilter { filter, user: user.clone(), filters: self.clone() })
    }
}

impl Held {
    /// Returns how many different filters its user, and all users, would have less without this one.
    fn freed_by(&self, given_up: &HeldFilter) -> (usize, usize) {
        let filter = &*given_up.filter;
        if filter.is_all() {
            return (0, 0);
        }
        let by_user = self.of_user.get(&given_up.user).and_then(|own| own.get(filter));
        let in_total = self.shared.get(filter).map(|(_, clients)| clients);
        (usize::from(by_user == Some(&1)), usize::from(in_total == Some(&1)))
    }
}

impl HeldFilter {
    pub(crate) fn shared(&self) -> Arc<Filter> {
        self.filter.clone()
    }
}

impl Drop for HeldFilter {
    fn drop(&mut self) {
        let mut held = self.filters.held();
        let (_, clients) = held.shared.get_mut(&self.filter).expect("it is held");
        *clients -= 1;
        if *clients == 0 {
            held.shared.remove(&self.filter);
        }
        let Some(own) = held.of_user.get_mut(&self.user) else { return };
        let Some(clients) = own.get_mut(&self.filter) else { return };
        *clients -= 1;
        if *clients == 0 {
            own.remove(&self.filter);
            if own.is_empty() {
                held.of_user.remove(&self.user);
            }
        }
    }
}

impl fmt::Debug for HeldFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HeldFilter").field(&self.filter).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(name: &str) -> Filter {
        Filter::from_value(&serde_json::json!({ "sports": [name] })).unwrap()
    }

    fn user(name: &str) -> UserId {
        UserId::named(name)
    }

    #[test]
    fn one_too_many_is_refused_until_another_is_let_go() {
        let filters = Filters::new(2, 2);
        let first = filters.hold(&user("anna"), narrow("a"), None).unwrap();
        let second = filters.hold(&user("bert"), narrow("b"), None).unwrap();
        let same = filters.hold(&user("carl"), narrow("a"), None).unwrap();
        assert!(Arc::ptr_eq(&first.shared(), &same.shared()), "shared");
        assert_eq!(filters.hold(&user("carl"), narrow("c"), None).unwrap_err(), TooManyFilters::InTotal(2));
        assert!(filters.hold(&user("carl"), Filter::default(), None).is_ok(), "the empty filter is always allowed");
        drop(second);
        assert!(filters.hold(&user("carl"), narrow("c"), None).is_ok());
    }

    #[test]
    fn one_user_leaves_filters_to_others() {
        let filters = Filters::new(100, 2);
        let of_anna: Vec<_> = ["a", "b"].map(|name| filters.hold(&user("anna"), narrow(name), None).unwrap()).into();
        assert_eq!(filters.hold(&user("anna"), narrow("c"), None).unwrap_err(), TooManyFilters::OfUser(2));
        let again = filters.hold(&user("anna"), narrow("a"), None).unwrap();
        assert!(filters.hold(&user("anna"), Filter::default(), None).is_ok());
        assert!(filters.hold(&user("bert"), narrow("c"), None).is_ok(), "another user has filters of its own");
        let replaced = filters.hold(&user("anna"), narrow("c"), Some(&of_anna[1])).unwrap();
        drop((of_anna, replaced));
        assert!(filters.hold(&user("anna"), narrow("c"), None).is_ok());
        drop(again);
        assert!(filters.held().shared.is_empty() && filters.held().of_user.is_empty(), "nothing stays behind");
    }
}
