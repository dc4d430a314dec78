//! The limit on open files: each connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{error, info};

/// Files reserved for Kafka, the store, the page and logs, so that connections never use all of them.
const OTHERS: u64 = 512;

/// Raises the limit on open files as far as possible, and returns how many of the wanted connections fit into it.
pub(crate) fn connections_that_fit(wanted: usize) -> usize {
    let needed = wanted as u64 + OTHERS;
    let before = getrlimit(Resource::Nofile);
    let mut limit = before.current.unwrap_or(u64::MAX);
    if limit < needed {
        let raised = needed.min(before.maximum.unwrap_or(u64::MAX));
        let target = Rlimit { current: Some(raised), maximum: before.maximum };
        if raised > limit && setrlimit(Resource::Nofile, target).is_ok() {
            info!(before = limit, now = raised, "raised the limit on open files");
            limit = raised;
        }
    }
    let fit = fit(wanted, limit);
    if fit < wanted {
        error!(
            limit,
            needed,
            fit,
            wanted,
            "the limit on open files is too low for --max-connections, so some will be refused: raise `ulimit -n`"
        );
    }
    fit
}

fn fit(wanted: usize, limit: u64) -> usize {
    // If the limit is very low, half of it.
    let left = limit.saturating_sub(OTHERS).max(limit / 2);
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        assert_eq!(fit(51_000, 65_536), 51_000);
        assert_eq!(fit(51_000, 20_000), 20_000 - OTHERS as usize);
        assert_eq!(fit(51_000, 256), 128);
    }
}
