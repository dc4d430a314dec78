//! The tasks of a process, and its shutdown.
//!
//! A task that ends too early ends the process: a supervisor can restart a whole process, but not one of its tasks.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    runtime,
    signal::unix::{self, SignalKind},
    sync::{Mutex, oneshot},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

/// How long tasks may take to end after they are asked to.
const GRACE: Duration = Duration::from_secs(20);

/// The tasks of a process. Clones share the same tasks.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    stop_requested: CancellationToken,
    drains: TaskTracker,
    stopping: CancellationToken,
    tasks: TaskTracker,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Lifecycle {
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a token that is cancelled when tasks are to end.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Asks the process to stop, as a signal does: [`Self::wait`] does the rest.
    pub fn stop(&self) {
        self.stop_requested.cancel();
    }

    /// Runs a task when the process is asked to stop. The other tasks go on until it has ended, unless one of them fails
    /// or the process is asked again: then [`Self::stopping`] is cancelled, and it should end soon.
    pub fn run_before_stop(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let this = self.clone();
        let task = tokio::spawn(async move {
            this.stop_requested.cancelled().await;
            task.await;
        });
        let this = self.clone();
        self.drains.spawn(async move {
            if let Err(panic) = task.await {
                this.fail(name, anyhow::anyhow!("{name} failed: {panic}")).await;
            }
        });
    }

    /// Whether a task has failed, so that the process stops without being asked to.
    pub async fn has_failed(&self) -> bool {
        self.failure.lock().await.is_some()
    }

    /// Runs a task that lives as long as the process. If it fails or ends too early, everything stops.
    pub fn run(&self, name: impl Into<String>, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (this, name) = (self.clone(), name.into());
        let task = tokio::spawn(task);
        self.tasks.spawn(async move {
            let failure = match task.await {
                Ok(Ok(())) if this.may_end() => return,
                Ok(Ok(())) => anyhow::anyhow!("{name} ended unexpectedly"),
                Ok(Err(error)) => error.context(name.clone()),
                Err(panic) => anyhow::anyhow!("{name} failed: {panic}"),
            };
            this.fail(&name, failure).await;
        });
    }

    /// Whether a task may end without a failure.
    fn may_end(&self) -> bool {
        self.stopping.is_cancelled() || self.stop_requested.is_cancelled() && self.drains.is_empty()
    }

    async fn fail(&self, task: &str, failure: anyhow::Error) {
        let mut first = self.failure.lock().await;
        if first.is_none() {
            error!(task, "{failure:#}");
            *first = Some(failure);
        }
        self.stopping.cancel();
    }

    /// Runs a task like [`Self::run`], but on its own thread, so that it neither wakes nor delays others. The thread
    /// has timers; the task's sockets belong to the calling runtime, and the task is dropped with that runtime. Fails
    /// if the thread can't be started.
    pub fn run_apart(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> std::io::Result<()> {
        let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
        let (mut end, ended) = oneshot::channel();
        let name = name.into();
        std::thread::Builder::new().name(name.clone()).spawn(move || {
            let result = runtime.block_on(async {
                tokio::select! {
                    result = task => Some(result),
                    () = end.closed() => None,
                }
            });
            if let Some(result) = result {
                // Fails if the process no longer waits for its tasks.
                let _ = end.send(result);
            }
        })?;
        self.run(name, async move { ended.await.context("its thread panicked")? });
        Ok(())
    }

    /// Waits for SIGTERM, SIGINT, a call of [`Self::stop`] or a failed task, then for what is to run before the stop, until
    /// another signal comes, and then up to 20 seconds for all tasks to end. Returns the failure of the first task that
    /// failed. Signals are caught from this call on, even before the future is awaited.
    pub fn wait(self) -> impl Future<Output = anyhow::Result<()>> + Send {
        let (terminate, interrupt) = (unix::signal(SignalKind::terminate()), unix::signal(SignalKind::interrupt()));
        async move {
            let (mut terminate, mut interrupt) = (terminate?, interrupt?);
            tokio::select! {
                _ = terminate.recv() => info!("stopping: received SIGTERM"),
                _ = interrupt.recv() => info!("stopping: received SIGINT"),
                () = self.stop_requested.cancelled() => info!("stopping"),
                () = self.stopping.cancelled() => info!("stopping: a task has failed"),
            }
            self.stop_requested.cancel();
            self.drains.close();
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => {}
                () = self.drains.wait() => {}
                _ = terminate.recv() => info!("stopping at once: received another SIGTERM"),
                _ = interrupt.recv() => info!("stopping at once: received another SIGINT"),
            }
            self.stopping.cancel();
            self.tasks.close();
            let all = async { tokio::join!(self.drains.wait(), self.tasks.wait()) };
            if tokio::time::timeout(GRACE, all).await.is_err() {
                let tasks = self.drains.len() + self.tasks.len();
                warn!(tasks, "some tasks did not end in time: stopping without them");
            }
            match self.failure.lock().await.take() {
                None => Ok(()),
                Some(failure) => Err(failure),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_task_stops_the_others_and_is_named() {
        let lifecycle = Lifecycle::new();
        let stopping = lifecycle.stopping();
        lifecycle.run("the long one", async move {
            stopping.cancelled().await;
            Ok(())
        });
        lifecycle.run("the short one", async { anyhow::bail!("no luck") });
        let error = format!("{:#}", lifecycle.wait().await.unwrap_err());
        assert_eq!(error, "the short one: no luck");
    }

    #[tokio::test]
    async fn a_thread_that_breaks_stops_the_others_too() {
        for (panics, expected) in [(false, "apart: no luck"), (true, "apart: its thread panicked: channel closed")] {
            let lifecycle = Lifecycle::new();
            let task = async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert!(!panics, "no luck at all");
                anyhow::bail!("no luck")
            };
            lifecycle.run_apart("apart", task).unwrap();
            assert_eq!(format!("{:#}", lifecycle.wait().await.unwrap_err()), expected);
        }
    }

    #[tokio::test]
    async fn tasks_go_on_until_what_is_before_the_stop_has_ended() {
        let lifecycle = Lifecycle::new();
        let (stopping, done) = (lifecycle.stopping(), CancellationToken::new());
        lifecycle.run("a task", async move {
            stopping.cancelled().await;
            Ok(())
        });
        let (stopping, doing) = (lifecycle.stopping(), done.clone());
        lifecycle.run_before_stop("a drain", async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(!stopping.is_cancelled());
            doing.cancel();
        });
        tokio::task::yield_now().await;
        assert!(!done.is_cancelled(), "it has not begun");
        lifecycle.stop();
        lifecycle.wait().await.unwrap();
        assert!(done.is_cancelled());
    }

    /// A task fails, ends too early, or what is before the stop fails.
    #[tokio::test]
    async fn a_failure_does_not_wait_for_what_is_before_the_stop() {
        for (fails, expected) in [(true, "a task: no luck"), (false, "a task ended unexpectedly")] {
            let lifecycle = Lifecycle::new();
            let (stopping, requested) = (lifecycle.stopping(), lifecycle.stop_requested.clone());
            lifecycle.run_before_stop("a drain", async move { stopping.cancelled().await });
            lifecycle.run("a task", async move {
                requested.cancelled().await;
                if fails { anyhow::bail!("no luck") } else { Ok(()) }
            });
            lifecycle.stop();
            assert_eq!(format!("{:#}", lifecycle.wait().await.unwrap_err()), expected);
        }
        let lifecycle = Lifecycle::new();
        lifecycle.run_before_stop("a drain", async { panic!("no luck") });
        lifecycle.stop();
        let error = format!("{:#}", lifecycle.wait().await.unwrap_err());
        assert!(error.starts_with("a drain failed: "), "{error}");
    }

    #[test]
    fn a_thread_ends_with_the_runtime_that_it_was_started_from() {
        let runtime = runtime::Runtime::new().unwrap();
        let (held, dropped) = std::sync::mpsc::channel::<()>();
        let task = async move {
            let _held = held;
            std::future::pending().await
        };
        runtime.block_on(async { Lifecycle::new().run_apart("apart", task) }).unwrap();
        drop(runtime);
        let ended = dropped.recv_timeout(Duration::from_secs(10));
        assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "the task was not dropped");
    }

    #[tokio::test]
    async fn tasks_that_end_when_asked_are_no_failure() {
        let lifecycle = Lifecycle::new();
        let stopping = lifecycle.stopping();
        lifecycle.run("a task", async move {
            stopping.cancelled().await;
            Ok(())
        });
        lifecycle.stop();
        lifecycle.wait().await.unwrap();
    }
}
