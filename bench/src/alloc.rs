//! Counts allocations, so that "allocations per commit" and "bytes per idle group" are measured and not argued.
//!
//! The counters are thread-local and plain: the protocol core runs in one thread, and an atomic counter would tax exactly
//! the contestants that allocate most. What is alive is counted over all threads, from the first time that somebody asks.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and forwards")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

/// Forwards to the system's allocator and counts the calls of each thread.
pub(crate) struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

/// Allocations (and growths) of this thread so far, and their bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allocated {
    /// Calls.
    pub(crate) count: u64,
    /// Bytes asked for.
    pub(crate) bytes: u64,
}

/// What this thread has allocated so far.
pub(crate) fn so_far() -> Allocated {
    Allocated { count: COUNT.get(), bytes: BYTES.get() }
}

static IS_LIVE_COUNTED: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);

/// Bytes that all threads have allocated and not given back, less what was alive when this was first asked.
pub(crate) fn live() -> i64 {
    IS_LIVE_COUNTED.store(true, Relaxed);
    LIVE.load(Relaxed)
}

fn note_live(bytes: usize, gone: usize) {
    if IS_LIVE_COUNTED.load(Relaxed) {
        LIVE.fetch_add(bytes as i64 - gone as i64, Relaxed);
    }
}

fn note(bytes: usize) {
    // At the end of a thread the counters may be gone: what is allocated then belongs to no measurement.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
    let _ = BYTES.try_with(|total| total.set(total.get() + bytes as u64));
}

// SAFETY: every call is forwarded unchanged to `System`, which upholds the contract; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        note_live(layout.size(), 0);
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        note_live(layout.size(), 0);
        // SAFETY: the caller upholds the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size);
        note_live(new_size, layout.size());
        // SAFETY: the caller upholds the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note_live(0, layout.size());
        // SAFETY: the caller upholds the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
