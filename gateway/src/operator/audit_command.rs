//! The command that prints what operators did.

use std::{io::Write, sync::Arc};

use accounts::Store;
use clap::Args;

use super::audit_file::{HEAD, lines};

/// How many entries are read at once.
const AT_ONCE: usize = 500;

/// Prints what operators did as CSV, the newest first.
#[derive(Clone, Debug, Args)]
pub struct AuditCommand {
    /// Print no more than this.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

impl AuditCommand {
    pub async fn execute(self, store: Arc<dyn Store>, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
        out.write_all(HEAD.as_bytes())?;
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut before: Option<String> = None;
        while left > 0 {
            let entries = store.actions(before.as_deref(), left.min(AT_ONCE)).await?;
            let Some(last) = entries.last() else { break };
            before = Some(last.id.clone());
            left -= entries.len();
            out.write_all(&lines(&entries)?)?;
        }
        Ok(())
    }
}
