//! Logs to the terminal and to rotating files, as text or JSON.

use std::{io::IsTerminal, path::PathBuf};

use clap::{Args, ValueEnum};
use tracing_rolling_file::{RollingConditionBase, RollingFileAppenderBase};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::troubles::Troubles;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logs")]
pub struct LogSettings {
    /// What to log: a level (error, warn, info, debug, trace), or levels by module, such as `info,kafka=debug`.
    #[arg(long, default_value = "info", value_name = "LEVELS")]
    pub log: String,

    /// Format of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// Also write logs to files in this folder.
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,

    /// Start a new log file at this size in megabytes, and at midnight.
    #[arg(long, default_value_t = 100, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..))]
    pub log_max_size: u64,

    /// Number of old log files to keep.
    #[arg(long, default_value_t = 10, value_name = "FILES")]
    pub log_keep: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// The open log files. Dropping it writes the buffered lines.
#[derive(Debug)]
#[must_use = "logging to files ends when this is dropped"]
pub struct Logs {
    pub(crate) troubles: Troubles,
    _file: Option<tracing_appender::non_blocking::WorkerGuard>,
}

impl LogSettings {
    /// Starts logging for this process. Fails if the settings are invalid, the folder can't be written, or logging has
    /// already started.
    pub fn start(&self, process: &str) -> anyhow::Result<Logs> {
        // One filter for all layers: a layer with its own filter sometimes misses the span that an event is in.
        let filter = EnvFilter::try_new(&self.log).map_err(|error| anyhow::anyhow!("--log: {error}"))?;
        let terminal = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let terminal = match self.log_format {
            LogFormat::Json => terminal.json().boxed(),
            LogFormat::Text => terminal.with_ansi(std::io::stderr().is_terminal()).boxed(),
        };
        let (file, guard) = match &self.log_dir {
            None => (None, None),
            Some(folder) => {
                std::fs::create_dir_all(folder)?;
                let condition = RollingConditionBase::new().daily().max_size(self.log_max_size * 1_000_000);
                let path = folder.join(format!("{process}.log"));
                let appender = RollingFileAppenderBase::new(path, condition, self.log_keep)
                    .map_err(|error| anyhow::anyhow!("--log-dir: {error}"))?;
                let (writer, guard) = tracing_appender::non_blocking(appender);
                let layer = tracing_subscriber::fmt::layer().with_writer(writer);
                let layer = match self.log_format {
                    LogFormat::Json => layer.json().boxed(),
                    LogFormat::Text => layer.with_ansi(false).boxed(),
                };
                (Some(layer), Some(guard))
            }
        };
        let troubles = Troubles::default();
        let layers = tracing_subscriber::registry().with(filter).with(terminal).with(file);
        layers.with(troubles.clone()).try_init()?;
        Ok(Logs { troubles, _file: guard })
    }
}
