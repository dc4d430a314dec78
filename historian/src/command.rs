//! The commands that work on a recorded history. They may run beside a historian that records.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use history::StoreUrl;
use tokio_util::sync::CancellationToken;

use crate::{
    export::{ExportSettings, Exported},
    import::{ImportSettings, Imported},
    progress::Progress,
    verify::VerifySettings,
};

/// The exit code when something that was recorded or exported is damaged.
const DAMAGED: u8 = 2;
/// The exit code after SIGINT or SIGTERM.
const INTERRUPTED: u8 = 130;

#[derive(Clone, Debug, Subcommand)]
pub enum HistoryCommand {
    /// Writes every recorded change of a region to a file or to standard output.
    Export(ExportSettings),
    /// Rebuilds every recorded board and compares it with the digest that it had. Exits with 2 if something is damaged.
    Verify(VerifySettings),
    /// Reads an exported file (jsonl) into a store, which may already have some of it.
    Import(ImportSettings),
}

impl HistoryCommand {
    /// The name for log files: a command may run beside a historian.
    pub fn log_name(&self) -> &'static str {
        match self {
            Self::Export(_) => "historian-export",
            Self::Verify(_) => "historian-verify",
            Self::Import(_) => "historian-import",
        }
    }

    /// Carries the command out, until `stop` is cancelled.
    pub async fn execute(self, url: &StoreUrl, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        // Opening a file that isn't there would create it.
        if let StoreUrl::Sqlite(file) = url
            && !matches!(self, Self::Import(_))
            && !file.exists()
        {
            bail!("the history: there is no file {}", file.display());
        }
        let store = url.open().await.context("the history")?;
        match self {
            Self::Export(settings) => {
                let exported = settings.export(store, &stop, Progress::on_terminal()).await?;
                eprintln!("{exported}");
                Ok(match exported {
                    Exported::Complete { .. } => ExitCode::SUCCESS,
                    Exported::Damaged { .. } => DAMAGED.into(),
                    Exported::Interrupted { .. } => INTERRUPTED.into(),
                })
            }
            Self::Verify(settings) => {
                let mut out = std::io::stdout();
                let verified = settings.verify(&store, &stop, Progress::on_terminal(), &mut out).await?;
                Ok(match verified {
                    None => INTERRUPTED.into(),
                    Some(verified) if verified.is_damaged() => DAMAGED.into(),
                    Some(_) => ExitCode::SUCCESS,
                })
            }
            Self::Import(settings) => {
                let imported = settings.import(store, &stop, Progress::on_terminal()).await?;
                eprintln!("{imported}");
                Ok(match imported {
                    Imported::Complete { .. } => ExitCode::SUCCESS,
                    Imported::Refused { reason, .. } if reason.is_damage() => DAMAGED.into(),
                    Imported::Refused { .. } => ExitCode::FAILURE,
                    Imported::Interrupted { .. } => INTERRUPTED.into(),
                })
            }
        }
    }
}
