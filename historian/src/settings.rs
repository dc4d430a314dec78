//! A historian's settings.

use std::time::Duration;

use clap::Args;
use history::StoreUrl;
use odds::Region;

const DAY: Duration = Duration::from_secs(24 * 3_600);

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Historian")]
pub struct HistorianSettings {
    /// Where the history is kept: sqlite:FILE, or questdb:http://[USER:PASSWORD@]HOST:PORT. A file is created if it is
    /// missing, and so are the tables of a server.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub history: Option<StoreUrl>,

    /// Regions to record, separated by commas or repeated. Without any: all.
    #[arg(long = "regions", id = "regions", value_name = "us|uk|eu|au", value_delimiter = ',')]
    pub regions: Vec<Region>,

    #[command(flatten)]
    pub retention: Retention,
}

impl HistorianSettings {
    pub fn regions(&self) -> Vec<Region> {
        let is_wanted = |region: &Region| self.regions.is_empty() || self.regions.contains(region);
        Region::ALL.into_iter().filter(is_wanted).collect()
    }
}

/// How long the history is kept.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "History")]
pub struct Retention {
    /// How many days the history is kept. Older boards can't be retrieved any more.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub keep_history: u32,
}

impl Retention {
    pub(crate) fn keep(self) -> Duration {
        DAY * self.keep_history
    }
}
