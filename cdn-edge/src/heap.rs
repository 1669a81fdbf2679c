//! What the allocator does with memory that was given free.

/// A chunk's bytes come from the system and go back to it, each with a mapping of its own. glibc stops doing so as soon
/// as the first of them is given free, unless it is told a bound: from then on chunks lie between the objects that stay,
/// and what they leave free fits nothing else.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "no crate of ours wraps mallopt")]
pub(crate) fn keep_chunks_apart() {
    const BOUND: libc::c_int = 128 << 10;
    // SAFETY: it takes two numbers and may be called at any time.
    if unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, BOUND) } == 0 {
        tracing::debug!("the allocator takes no bound for what it maps");
    }
}

/// Other allocators map what is large.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_chunks_apart() {}
