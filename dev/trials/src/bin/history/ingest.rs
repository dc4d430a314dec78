//! How fast steps are stored without a pause.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    measured::Measured,
    recorded::{AT_ONCE, DAY_MS, DENSE_CHANGES, OUTCOMES, Recorded, append},
};

/// Stores steps and returns how many changed outcomes the store takes in a second. Another thread makes the steps, so
/// that only storing them is measured.
pub async fn ingest(measured: &Measured, window: Duration) -> anyhow::Result<f64> {
    let store = measured.open("ingest").await?;
    let (send, mut receive) = mpsc::channel(4);
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let begin = service::now().plus_millis(-DAY_MS);
    let making = std::thread::spawn(move || {
        let (mut recorded, first) = Recorded::begin(begin)?;
        let (mut at, mut steps) = (begin, vec![first]);
        while !over.load(Ordering::Relaxed) {
            at = at.plus_millis(50);
            steps.push(recorded.step(DENSE_CHANGES, at)?);
            if steps.len() == AT_ONCE && send.blocking_send(std::mem::take(&mut steps)).is_err() {
                break;
            }
        }
        anyhow::Ok(())
    });
    let (began, mut storing, mut outcomes) = (Instant::now(), Duration::ZERO, 0);
    while began.elapsed() < window {
        let steps = receive.recv().await.context("no more steps")?;
        outcomes += steps.len() * DENSE_CHANGES * OUTCOMES;
        let begun = Instant::now();
        append(&store, steps).await?;
        storing += begun.elapsed();
    }
    let took = began.elapsed();
    is_over.store(true, Ordering::Relaxed);
    drop(receive);
    making.join().ok().context("the thread that makes steps failed")??;
    let share = storing.as_secs_f64() / took.as_secs_f64();
    println!("{outcomes} changed outcomes in {took:.0?}, of which the store took {:.0} %", share * 100.0);
    Ok(outcomes as f64 / storing.as_secs_f64())
}
