//! Gives freed memory back to the system.
//!
//! glibc keeps what a program frees, unless it lies at the end of a heap. After a crowd has come, a third more than the
//! program uses would stay, and after it has left, nearly all.

/// Has the allocator return its free pages. Other threads that allocate wait for a few milliseconds at most: a quarter
/// of a gigabyte takes about 5 ms, and up to 25 if most of it is free.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no crate offers it")]
pub fn give_back() {
    // SAFETY: any thread may call it at any time. It changes nothing that was allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators return it by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    fn resident_bytes() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
    }

    #[test]
    fn what_is_free_between_what_is_used_is_given_back() {
        const BYTES: usize = 16_384;
        let mut blocks: Vec<Option<Vec<u8>>> = (0..4_000).map(|_| Some(vec![7; BYTES])).collect();
        let full = resident_bytes();
        for block in blocks.iter_mut().step_by(2) {
            *block = None;
        }
        give_back();
        let left = resident_bytes();
        assert!(left + 1_000 * BYTES < full, "{full} before, {left} after half of 64 MB was freed");
        assert_eq!(blocks.iter().flatten().map(Vec::len).sum::<usize>(), 2_000 * BYTES);
    }
}
