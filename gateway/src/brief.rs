//! Values that several requests use within a short time: each is made once.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::OnceCell;

/// Keeps values for a short time after they were first asked for.
pub(crate) struct Brief<K, V> {
    keep: Duration,
    values: Arc<Mutex<Values<K, V>>>,
}

type Values<K, V> = HashMap<K, Arc<OnceCell<Arc<V>>>>;

impl<K: Clone + Eq + Hash + Send + 'static, V: Send + Sync + 'static> Brief<K, V> {
    pub(crate) fn new(keep: Duration) -> Self {
        Self { keep, values: Arc::default() }
    }

    /// Returns the value of a key, which is made if it is not there. Others that ask for it meanwhile wait for it.
    pub(crate) async fn get<E>(&self, key: K, make: impl Future<Output = Result<V, E>>) -> Result<Arc<V>, E> {
        let cell = self.cell(key);
        let made = cell.get_or_try_init(async || make.await.map(Arc::new)).await?;
        Ok(made.clone())
    }

    fn cell(&self, key: K) -> Arc<OnceCell<Arc<V>>> {
        let mut values = lock(&self.values);
        if let Some(cell) = values.get(&key) {
            return cell.clone();
        }
        let cell = Arc::<OnceCell<_>>::default();
        values.insert(key.clone(), cell.clone());
        let (keep, all) = (self.keep, self.values.clone());
        tokio::spawn(async move {
            tokio::time::sleep(keep).await;
            lock(&all).remove(&key);
        });
        cell
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
        let (brief, made) = (Brief::new(Duration::from_secs(1)), AtomicUsize::new(0));
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
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(brief.get("a", make(false)).await, Ok(Arc::new(3)));
    }
}
