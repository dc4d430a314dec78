//! The startup and shutdown that every program shares.

use std::{
    path::PathBuf,
    process::{ExitCode, Termination},
    sync::Arc,
};

use clap::{Args, Parser};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::AdminSettings,
    lifecycle::Lifecycle,
    logs::{LogSettings, Logs},
    metrics::MetricRegistry,
    settings,
    troubles::Troubles,
};

/// The settings that every program has.
#[derive(Clone, Debug, Args)]
pub struct ProgramSettings {
    /// A TOML file with settings, named like the flags with _ instead of -. Flags and environment take precedence.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    #[command(flatten)]
    log: LogSettings,
}

/// A running program: its logs and its tasks.
#[derive(Debug)]
pub struct Program {
    pub lifecycle: Lifecycle,
    logs: Logs,
}

impl ProgramSettings {
    /// Starts logging under this name. Fails if the log settings are invalid or the log files can't be written.
    pub fn start(&self, name: &str) -> anyhow::Result<Program> {
        Ok(Program { logs: self.log.start(name)?, lifecycle: Lifecycle::new() })
    }
}

impl Program {
    pub fn stopping(&self) -> CancellationToken {
        self.lifecycle.stopping()
    }

    /// The newest warnings and errors that it has logged.
    pub fn troubles(&self) -> Troubles {
        self.logs.troubles.clone()
    }

    /// Serves the admin port, if the settings have one. Fails if the port can't be opened.
    pub async fn serve_admin(&self, settings: &AdminSettings, metrics: Arc<MetricRegistry>) -> anyhow::Result<()> {
        if let Some(admin) = settings.bind(metrics).await? {
            self.lifecycle.run("the admin port", admin.serve(self.stopping().cancelled_owned()));
        }
        Ok(())
    }

    /// Waits until the program is asked to stop and its tasks have ended. Fails if a task failed.
    pub fn wait(self) -> impl Future<Output = anyhow::Result<()>> + Send {
        // Signals are caught from now on.
        let (waiting, logs) = (self.lifecycle.wait(), self.logs);
        async move {
            let result = waiting.await;
            drop(logs);
            result
        }
    }
}

/// Runs a program: reads its settings, and prints an error in one line. Threads that wait for a broker don't delay the
/// exit.
pub fn main<S, F, T>(run: impl FnOnce(S) -> F) -> ExitCode
where
    S: Parser,
    F: Future<Output = anyhow::Result<T>>,
    T: Termination,
{
    install_tls_provider();
    let settings = settings::load();
    let result = Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(run(settings));
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(done) => done.report(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Installs the TLS implementation of the whole process. Must be called before the first HTTP client is created.
pub fn install_tls_provider() {
    // Fails only if it is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
