//! The machine that the process runs on.

/// The host's name. `None` if it has none.
pub fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
