//! Counts what the hot path allocates once it runs: blocks for what is written and a copy of what each
//! reading cuts in two, but nothing for each frame.

// An allocator can only be counted by an allocator, and that trait is unsafe; this is no part of the server.
#![allow(unsafe_code)]

#[path = "../benches/load/mod.rs"]
mod load;
#[path = "../benches/work/mod.rs"]
mod work;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Frames of the segment that every work is about.
const FRAMES: u64 = 50 + 93;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract; the counter
// is a constant-initialized cell without a destructor, so counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of this very call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations for one segment, after some that warm up.
fn allocations(mut work: work::Work) -> u64 {
    (0..4).for_each(|_| work());
    let before = ALLOCATIONS.get();
    (0..10).for_each(|_| work());
    (ALLOCATIONS.get() - before) / 10
}

#[test]
fn nothing_is_allocated_for_each_frame() {
    // What is allowed, for a segment of 750 KB in four parts that comes in twenty readings.
    let cases: [(&str, work::Work, u64); 6] = [
        ("demux", work::demux(), 0),
        // One for each block of 32 KiB that is handed on.
        ("mux", work::mux(), 24),
        ("chunks of 65536", work::chunks(65536), 40),
        ("chunks of 4096", work::chunks(4096), 40),
        ("pipeline, chunks of 65536", work::pipeline(65536), 80),
        ("pipeline, chunks of 4096", work::pipeline(4096), 80),
    ];
    for (name, work, allowed) in cases {
        let allocations = allocations(work);
        println!("{name}: {allocations} for {FRAMES} frames");
        assert!(allocations <= allowed, "{name}: {allocations}");
        assert!(allocations < FRAMES);
    }
}
