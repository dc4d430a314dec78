//! An alerter's settings.

use std::time::Duration;

use accounts::StoreUrl;
use clap::Args;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Alerter")]
pub struct AlerterSettings {
    /// Where accounts are kept, with their rules and alerts: mongodb://…, or sqlite:FILE for a single machine.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub store: StoreUrl,

    /// How often changed rules are looked up, in seconds: only for changes whose message was lost.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub recheck: u64,
}

impl AlerterSettings {
    pub fn recheck(&self) -> Duration {
        Duration::from_secs(self.recheck)
    }
}
