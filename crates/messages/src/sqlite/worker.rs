//! A thread with a connection, which carries out jobs in the order in which they come.

use std::{fmt, sync::mpsc, time::Duration};

use rusqlite::Connection;
use tokio::{sync::oneshot, time::timeout};

use crate::StoreError;

/// How many jobs may wait.
const WAITING: usize = 10_000;
/// How many jobs are committed together.
const TOGETHER: usize = 256;
/// How long to wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Carries out a job. It returns a function that answers, which is called once the job is committed or has failed.
type Job = Box<dyn FnOnce(&Connection) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(super) struct Worker(mpsc::SyncSender<Job>);

impl Worker {
    /// Commits the jobs that wait together.
    pub(super) fn writer(connection: Connection) -> Result<Self, StoreError> {
        Self::start("messages: write", move |jobs| {
            while let Ok(first) = jobs.recv() {
                let jobs: Vec<Job> = std::iter::once(first).chain(jobs.try_iter().take(TOGETHER - 1)).collect();
                write(&connection, jobs);
            }
        })
    }

    pub(super) fn reader(connection: Connection) -> Result<Self, StoreError> {
        Self::start("messages: read", move |jobs| {
            for job in jobs {
                job(&connection)(Ok(()));
            }
        })
    }

    fn start(name: &str, run: impl FnOnce(mpsc::Receiver<Job>) + Send + 'static) -> Result<Self, StoreError> {
        let (send, jobs) = mpsc::sync_channel(WAITING);
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(jobs));
        started.map_err(StoreError::new)?;
        Ok(Self(send))
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (send, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let done = in_savepoint(connection, work).map_err(StoreError::new);
            Box::new(move |committed| {
                // Fails only if nobody waits for the answer any more.
                let _ = send.send(committed.and(done));
            })
        });
        self.0.try_send(job).map_err(|_| StoreError("too many operations are waiting".into()))?;
        match timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError("the store's thread died".into())),
            Err(_) => Err(StoreError(format!("no answer within {} seconds", ANSWER_WITHIN.as_secs()))),
        }
    }
}

/// Carries out the jobs in one transaction.
fn write(connection: &Connection, jobs: Vec<Job>) {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        let error = StoreError::new(error);
        // Their results are not committed, and so never seen.
        jobs.into_iter().for_each(|job| job(connection)(Err(error.clone())));
        return;
    }
    let answers: Vec<Answer> = jobs.into_iter().map(|job| job(connection)).collect();
    let committed = connection.execute_batch("COMMIT").map_err(|error| {
        let rolled_back = connection.execute_batch("ROLLBACK");
        tracing::debug!(%error, ?rolled_back, "a transaction failed");
        StoreError::new(error)
    });
    answers.into_iter().for_each(|answer| answer(committed.clone()));
}

/// Undoes what a job has written if it fails, so that it doesn't spoil the others' transaction.
fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let done = work(connection);
    if done.is_err() {
        connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    connection.prepare_cached("RELEASE job")?.execute([])?;
    done
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worker")
    }
}
