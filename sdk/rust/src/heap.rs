//! The memory of a call: an arena that a fresh instance has from the start, and more where a call needs more.
//!
//! An instance lives for one call, so what decides its cost is how many pages it touches and whether its memory grows: each
//! growth is a system call of the host. The arena holds what ordinary calls need.

use core::{alloc::Layout, mem::MaybeUninit};

use talc::{
    base::{Talc, binning::Binning},
    cell::TalcSyncCell,
    source::Source,
    wasm::WasmBinning,
};

/// Ordinary calls stay well below this; a megabyte of manifests does not.
const ARENA_BYTES: usize = 192 * 1024;

static mut ARENA: [MaybeUninit<u8>; ARENA_BYTES] = [MaybeUninit::uninit(); ARENA_BYTES];

#[derive(Debug)]
struct ArenaFirst {
    is_arena_taken: bool,
}

#[expect(unsafe_code, reason = "an allocator hands out memory")]
// SAFETY: `acquire` allocates nothing, and each piece of memory is claimed once.
unsafe impl Source for ArenaFirst {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        if !talc.source.is_arena_taken {
            talc.source.is_arena_taken = true;
            // SAFETY: nothing else names the arena, and this branch is taken once.
            let claimed = unsafe { talc.claim((&raw mut ARENA).cast(), ARENA_BYTES) };
            if claimed.is_some() && layout.size() < ARENA_BYTES / 2 {
                return Ok(());
            }
        }
        grow(talc, layout)
    }
}

/// Grows the linear memory by what the allocation needs and claims it.
fn grow<B: Binning>(talc: &mut Talc<ArenaFirst, B>, layout: Layout) -> Result<(), ()> {
    const PAGE_BYTES: usize = 64 * 1024;
    // Room for the allocator's own words around the largest alignment.
    let bytes = layout.size().checked_add(layout.align()).and_then(|bytes| bytes.checked_add(1024)).ok_or(())?;
    let pages = bytes.div_ceil(PAGE_BYTES);
    let before = core::arch::wasm32::memory_grow::<0>(pages);
    if before == usize::MAX {
        return Err(());
    }
    #[expect(unsafe_code, reason = "an allocator hands out memory")]
    // SAFETY: these pages did not exist before, so nothing else can own them.
    let claimed = unsafe { talc.claim((before * PAGE_BYTES) as *mut u8, pages * PAGE_BYTES) };
    claimed.map(|_| ()).ok_or(())
}

#[global_allocator]
static HEAP: TalcSyncCell<ArenaFirst, WasmBinning> = TalcSyncCell::new_wasm(ArenaFirst { is_arena_taken: false });
