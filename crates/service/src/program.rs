//! How every program starts and ends.

use std::{
    path::PathBuf,
    process::{ExitCode, Termination},
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
};

/// The settings that every program has.
#[derive(Clone, Debug, Args)]
pub struct ProgramSettings {
    /// A TOML file with settings, by their long names with _ for -. Flags and environment take precedence.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    #[command(flatten)]
    log: LogSettings,
}

/// A program that has started to log, and its tasks.
#[derive(Debug)]
pub struct Program {
    pub lifecycle: Lifecycle,
    logs: Logs,
}

impl ProgramSettings {
    /// Starts to log, under this name.
    pub fn start(&self, name: &str) -> anyhow::Result<Program> {
        Ok(Program { logs: self.log.start(name)?, lifecycle: Lifecycle::new() })
    }
}

impl Program {
    pub fn stopping(&self) -> CancellationToken {
        self.lifecycle.stopping()
    }

    /// Serves the metrics on the admin port, if there is one.
    pub async fn serve_admin(&self, settings: &AdminSettings, metrics: MetricRegistry) -> anyhow::Result<()> {
        if let Some(admin) = settings.bind(metrics).await? {
            self.lifecycle.run("the admin port", admin.serve(self.stopping().cancelled_owned()));
        }
        Ok(())
    }

    /// Runs until the tasks are to stop and have stopped.
    pub async fn wait(self) -> anyhow::Result<()> {
        let result = self.lifecycle.wait().await;
        drop(self.logs);
        result
    }
}

/// Runs a program: reads its settings, and reports what went wrong in one line. Threads that wait for a broker don't
/// delay its end.
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

/// Chooses the implementation of TLS for the whole process. To be called before the first HTTP client is made.
pub fn install_tls_provider() {
    // Fails if one is installed already, which can only be the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
