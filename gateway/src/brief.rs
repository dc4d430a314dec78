//! Values that several requests use within a short time: each is made once.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::OnceCell;

/// Keeps values for a short time after they were made, and never more than a number of them.
pub(crate) struct Brief<K, V> {
    keep: Duration,
    most: usize,
    values: Arc<Mutex<Values<K, V>>>,
}

type Values<K, V> = HashMap<K, Arc<OnceCell<Arc<V>>>>;

/// Removes a value when it is dropped.
struct Removal<K: Eq + Hash, V> {
    key: K,
    values: Arc<Mutex<Values<K, V>>>,
}

impl<K: Clone + Eq + Hash + Send + 'static, V: Send + Sync + 'static> Brief<K, V> {
    pub(crate) fn new(keep: Duration, most: usize) -> Self {
        Self { keep, most, values: Arc::default() }
    }

    /// Returns the value of a key, which is made if it is not there. Others that ask for it meanwhile wait for it.
    pub(crate) async fn get<E>(&self, key: K, make: impl Future<Output = Result<V, E>>) -> Result<Arc<V>, E> {
        let cell = self.cell(&key);
        let made = cell.get_or_try_init(async || {
            // If it can't be made, or nobody waits any more, the next one who asks begins anew.
            let removal = Removal { key, values: self.values.clone() };
            let value = make.await?;
            let keep = self.keep;
            tokio::spawn(async move {
                tokio::time::sleep(keep).await;
                drop(removal);
            });
            Ok(Arc::new(value))
        });
        made.await.cloned()
    }

    fn cell(&self, key: &K) -> Arc<OnceCell<Arc<V>>> {
        let mut values = lock(&self.values);
        match values.get(key) {
            Some(cell) => cell.clone(),
            None if values.len() >= self.most => Arc::default(),
            None => values.entry(key.clone()).or_default().clone(),
        }
    }
}

impl<K: Eq + Hash, V> Drop for Removal<K, V> {
    fn drop(&mut self) {
        lock(&self.values).remove(&self.key);
    }
}

fn lock<K, V>(values: &Mutex<Values<K, V>>) -> MutexGuard<'_, Values<K, V>> {
    values.lock().expect("nobody panics while holding it")
}

impl<K, V> fmt::Debug for Brief<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brief").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_value_is_made_once_until_its_time_is_over() {
        let (brief, made) = (Brief::new(Duration::from_secs(1), 2), AtomicUsize::new(0));
        let make = |fails: bool| {
            let made = &made;
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let n = made.fetch_add(1, Ordering::Relaxed);
                if fails { Err("no") } else { Ok(n) }
            }
        };
        assert_eq!(brief.get("a", make(true)).await, Err("no"));
        let (one, other) = tokio::join!(brief.get("a", make(false)), brief.get("a", make(false)));
        assert_eq!((one, other), (Ok(Arc::new(1)), Ok(Arc::new(1))));
        assert_eq!(brief.get("b", make(false)).await, Ok(Arc::new(2)));
        // There is no room for more.
        assert_eq!(brief.get("c", make(false)).await, Ok(Arc::new(3)));
        assert_eq!(brief.get("c", make(false)).await, Ok(Arc::new(4)));
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(brief.get("a", make(false)).await, Ok(Arc::new(5)));
    }
}
