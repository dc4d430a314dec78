//! Limits how many long requests are answered at once: of all users together, and of each.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use accounts::UserId;

#[derive(Clone, Debug)]
pub(crate) struct Turns {
    most: usize,
    most_per_user: usize,
    /// How many each user has.
    taken: Arc<Mutex<HashMap<UserId, usize>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoTurn {
    #[error("you already have {0} requests like this under way: wait until one ends")]
    OfUser(usize),
    #[error("this gateway already answers {0} requests like this: try again later")]
    InTotal(usize),
}

/// Counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    user: UserId,
    taken: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Turns {
    pub(crate) fn new(most: usize, most_per_user: usize) -> Self {
        Self { most, most_per_user, taken: Arc::default() }
    }

    pub(crate) fn take(&self, user: &UserId) -> Result<Turn, NoTurn> {
        let mut taken = lock(&self.taken);
        if taken.get(user).is_some_and(|of_user| *of_user >= self.most_per_user) {
            return Err(NoTurn::OfUser(self.most_per_user));
        }
        if taken.values().sum::<usize>() >= self.most {
            return Err(NoTurn::InTotal(self.most));
        }
        *taken.entry(user.clone()).or_default() += 1;
        Ok(Turn { user: user.clone(), taken: self.taken.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        let of_user = taken.get_mut(&self.user).expect("it has this turn");
        *of_user -= 1;
        if *of_user == 0 {
            taken.remove(&self.user);
        }
    }
}

fn lock(taken: &Mutex<HashMap<UserId, usize>>) -> MutexGuard<'_, HashMap<UserId, usize>> {
    taken.lock().expect("nobody panics while holding it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_and_all_together_have_a_limit_and_turns_come_back() {
        let turns = Turns::new(3, 2);
        let [anna, ben]: [UserId; 2] = std::array::from_fn(|_| UserId::random());
        let first = turns.take(&anna).unwrap();
        let _second = turns.take(&anna).unwrap();
        assert_eq!(turns.take(&anna).unwrap_err(), NoTurn::OfUser(2));
        let _third = turns.take(&ben).unwrap();
        assert_eq!(turns.take(&ben).unwrap_err(), NoTurn::InTotal(3));
        drop(first);
        assert!(turns.take(&ben).is_ok());
        assert!(turns.take(&anna).is_ok());
    }
}
