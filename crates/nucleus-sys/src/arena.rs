//! The program's allocator, for a process that lives a millisecond and has one thread.
//!
//! A verb asks for some thousand small pieces and ends. The C library's allocator spends most of its time on what such a
//! process does not need: heaps for threads, merging of neighbours, giving back to the kernel. Here a freed piece waits
//! in the list of its size for the next one of that size, new ones are cut off one block, and the block's pages are asked
//! for three at a time, since a page fault for each costs three times as much. What is too large for the lists, or is
//! asked for when the block is used up or a second thread has been started, comes from the C library. Nothing grows in a
//! process that waits or repeats itself for days.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr::null_mut;

use crate::process::{PAGE, is_alone};

/// Bytes of the block.
const SIZE: usize = 512 << 10;
/// Bytes that are asked of the kernel at a time.
const STEP: usize = 3 * PAGE;
/// Sizes are rounded up to this, and no piece is aligned to more.
const GRAIN: usize = 16;
/// Up to here there is a list for each size in grains, from here on one for each power of two.
const SMALL: usize = 1 << SMALL_BITS;
const SMALL_BITS: u32 = 10;
const LARGEST: usize = 64 << 10;
const LISTS: usize = SMALL / GRAIN + 1 + (LARGEST / SMALL).ilog2() as usize;

/// The block, page by page.
#[repr(C, align(4096))]
struct Block(UnsafeCell<[u8; SIZE]>);

// In this order, so that all but the block lies together.
#[repr(C)]
struct Arena {
    block: Block,
    /// Bytes given out, from the start.
    used: Cell<usize>,
    /// Bytes that the kernel has been asked for, from the start.
    present: Cell<usize>,
    /// The freed pieces of each size; each begins with the address of the next.
    free: [Cell<*mut u8>; LISTS],
    /// Bytes from the start that were given out before a fork.
    shared: Cell<usize>,
}

// SAFETY: the fields are touched only where `is_alone` has said that there is no other thread.
unsafe impl Sync for Arena {}

/// The one of this program.
static ARENA: Arena = Arena::new();

/// What a program names as its `#[global_allocator]` to be served by the arena.
pub struct Allocator;

/// The address after the block; what the arena notes of it comes next.
pub(crate) fn end_of_block() -> usize {
    &raw const ARENA.block as usize + SIZE
}

/// To be called before a fork: what either side is given afterwards lies in pages of its own, and what it frees of the
/// pages that both have is forgotten, as writing to it would copy the page.
pub(crate) fn share() {
    if is_alone() {
        ARENA.share();
    }
}

/// The list for a size, and the size of its pieces. None for what is too large or aligned too coarsely.
fn list(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size();
    if layout.align() > GRAIN || size > LARGEST || size == 0 {
        return None;
    }
    if size <= SMALL {
        let grains = size.div_ceil(GRAIN);
        return Some((grains, grains * GRAIN));
    }
    let piece = size.next_power_of_two();
    Some((SMALL / GRAIN + (piece.ilog2() - SMALL_BITS) as usize, piece))
}

impl Arena {
    const fn new() -> Self {
        Self {
            block: Block(UnsafeCell::new([0; SIZE])),
            used: Cell::new(0),
            present: Cell::new(0),
            free: [const { Cell::new(null_mut()) }; LISTS],
            shared: Cell::new(0),
        }
    }

    fn share(&self) {
        let used = self.used.get().next_multiple_of(PAGE);
        self.used.set(used);
        self.shared.set(used);
        self.free.iter().for_each(|list| list.set(null_mut()));
    }

    fn start(&self) -> *mut u8 {
        self.block.0.get().cast()
    }

    fn owns(&self, pointer: *mut u8) -> bool {
        (pointer as usize).wrapping_sub(self.start() as usize) < SIZE
    }

    /// A piece from the list or off the block, if there is one.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let (list, piece) = list(layout)?;
        let first = self.free[list].get();
        if !first.is_null() {
            // SAFETY: a freed piece, which `give` has written the next one's address to; pieces are aligned to GRAIN.
            self.free[list].set(unsafe { first.cast::<*mut u8>().read() });
            return Some(first);
        }
        let begin = self.used.get();
        let end = begin + piece;
        if end > SIZE {
            return None;
        }
        self.used.set(end);
        self.populate_to(end);
        Some(self.start().wrapping_add(begin))
    }

    /// Puts a piece into its list, unless it is from before a fork.
    ///
    /// # Safety
    /// It was taken with this layout, and nobody uses it any more.
    unsafe fn give(&self, pointer: *mut u8, layout: Layout) {
        if (pointer as usize) < self.start() as usize + self.shared.get() {
            return;
        }
        if let Some((list, _)) = list(layout) {
            // SAFETY: at least GRAIN bytes that nobody uses any more.
            unsafe { pointer.cast::<*mut u8>().write(self.free[list].get()) };
            self.free[list].set(pointer);
        }
    }

    /// Makes a piece one of another size where it lies: within its list, or at the end of what was given out.
    fn resize(&self, pointer: *mut u8, from: Layout, to: Layout) -> bool {
        let (Some((_, old)), Some((_, new))) = (list(from), list(to)) else {
            return false;
        };
        let begin = (pointer as usize).wrapping_sub(self.start() as usize);
        let last = begin + old == self.used.get() && begin + new <= SIZE;
        if last {
            self.used.set(begin + new);
            self.populate_to(begin + new);
        }
        last || old == new
    }

    fn populate_to(&self, end: usize) {
        if end > self.present.get() {
            self.populate(end);
        }
    }

    // Hardly ever called.
    #[inline(never)]
    fn populate(&self, end: usize) {
        let present = self.present.get();
        let next = end.next_multiple_of(STEP).min(SIZE);
        self.present.set(next);
        let begin = self.start().wrapping_add(present);
        // SAFETY: the range lies in the block; populating does not change what it holds. Kernels before 5.14 refuse it, and
        // page faults bring the pages.
        unsafe { libc::madvise(begin.cast(), next - present, libc::MADV_POPULATE_WRITE) };
    }
}

// Never inlined: a thousand copies of it cost more page faults than calls of one.
// SAFETY: pieces are aligned, disjoint and live as long as the static that they come from; what is not the arena's goes
// to the allocator that it came from.
unsafe impl GlobalAlloc for Allocator {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let piece = if is_alone() { ARENA.take(layout) } else { None };
        // SAFETY: the caller's promises are those that System asks for.
        piece.unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    #[inline(never)]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !ARENA.owns(pointer) {
            // SAFETY: not the arena's, so System has given it.
            unsafe { System.dealloc(pointer, layout) };
        } else if is_alone() {
            // SAFETY: the arena's, and the caller's last use of it.
            unsafe { ARENA.give(pointer, layout) };
        }
        // Else it is lost: the block is bounded, and so is what of it was in use when the second thread came.
    }

    #[inline(never)]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !ARENA.owns(pointer) {
            // SAFETY: not the arena's, so System has given it.
            return unsafe { System.realloc(pointer, layout, size) };
        }
        // SAFETY: `size` is not zero and, rounded up to the alignment, no overflow: the caller has promised.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if is_alone() && ARENA.resize(pointer, layout, wanted) {
            return pointer;
        }
        // SAFETY: as above; the size is not zero.
        let new = unsafe { self.alloc(wanted) };
        if !new.is_null() {
            // SAFETY: two pieces that do not overlap, of at least so many bytes.
            unsafe { new.copy_from_nonoverlapping(pointer, layout.size().min(size)) };
            // SAFETY: the old piece, whose content is elsewhere now.
            unsafe { self.dealloc(pointer, layout) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    /// The place of a new piece, counted from the block's start.
    fn taken(arena: &Arena, size: usize) -> usize {
        let pointer = arena.take(layout(size)).expect("room");
        assert!(arena.owns(pointer));
        pointer as usize - arena.start() as usize
    }

    /// Frees the piece at this place.
    fn give(arena: &Arena, place: usize, size: usize) {
        let piece = arena.start().wrapping_add(place);
        // SAFETY: tests free what they have taken, once, and do not use it.
        unsafe { arena.give(piece, layout(size)) };
    }

    #[test]
    fn each_size_has_a_list_whose_pieces_are_large_enough() {
        for size in 1..=LARGEST {
            let (list, piece) = list(layout(size)).unwrap();
            assert!(list < LISTS && piece >= size && piece % GRAIN == 0, "{size}");
        }
        let sizes = [16, 17, SMALL, SMALL + 1, 2 * SMALL, 2 * SMALL + 1, LARGEST];
        let lists = sizes.map(|size| list(layout(size)).unwrap().0);
        assert_eq!(lists, [1, 2, 64, 65, 65, 66, LISTS - 1]);
        for (size, align) in [(LARGEST + 1, 8), (8, 32), (0, 1)] {
            assert_eq!(list(Layout::from_size_align(size, align).unwrap()), None);
        }
    }

    #[test]
    fn what_was_freed_is_given_again_and_to_its_size_only() {
        let arena = Box::new(Arena::new());
        assert_eq!([taken(&arena, 1), taken(&arena, 24), taken(&arena, 24)], [0, 16, 48]);
        give(&arena, 16, 24);
        give(&arena, 48, 32);
        assert_eq!([taken(&arena, 8), taken(&arena, 30), taken(&arena, 17)], [80, 48, 16]);
    }

    #[test]
    fn only_the_last_piece_grows_where_it_lies() {
        let arena = Box::new(Arena::new());
        let first = arena.take(layout(24)).unwrap();
        assert!(arena.resize(first, layout(24), layout(100)));
        assert_eq!(taken(&arena, 8), 112);
        assert!(arena.resize(first, layout(100), layout(97)), "the same list");
        for size in [96, 113, LARGEST + 1] {
            assert!(!arena.resize(first, layout(100), layout(size)), "{size}");
        }
    }

    #[test]
    fn pages_that_a_fork_shares_are_left_alone() {
        let arena = Box::new(Arena::new());
        assert_eq!([taken(&arena, 24), taken(&arena, 24)], [0, 32]);
        give(&arena, 32, 24);
        arena.share();
        assert_eq!(taken(&arena, 24), PAGE, "not a freed piece of before");
        give(&arena, 0, 24);
        assert_eq!(taken(&arena, 24), PAGE + 32, "not a piece that was freed since");
        give(&arena, PAGE, 24);
        assert_eq!(taken(&arena, 24), PAGE);
    }

    #[test]
    fn pieces_do_not_overlap() {
        let arena = Box::new(Arena::new());
        let mut live: Vec<(usize, usize)> = Vec::new();
        let mut seed = 7_usize;
        for _ in 0..20_000 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let random = seed >> 33;
            if live.len() > 60 || (random & 1 == 1 && !live.is_empty()) {
                let (begin, size) = live.swap_remove(random % live.len());
                give(&arena, begin, size);
            } else if let Some(pointer) = arena.take(layout(1 + random % 3000)) {
                let piece = (pointer as usize - arena.start() as usize, 1 + random % 3000);
                let apart = |other: &(usize, usize)| piece.0 + piece.1 <= other.0 || other.0 + other.1 <= piece.0;
                assert!(live.iter().all(apart), "{piece:?} {live:?}");
                live.push(piece);
            }
        }
        assert!(live.len() > 10, "the block was used up: {}", arena.used.get());
    }

    #[test]
    fn what_does_not_fit_comes_from_elsewhere() {
        let arena = Box::new(Arena::new());
        for _ in 0..SIZE / LARGEST {
            taken(&arena, LARGEST);
        }
        assert!(arena.take(layout(16)).is_none());
    }

    /// Tests have threads, so that all of this is the C library's; a piece of the arena may only be lost.
    #[test]
    fn with_a_second_thread_the_arena_rests() {
        let arena = &ARENA;
        let own = arena.take(layout(24)).unwrap();
        std::thread::spawn(|| assert!(!is_alone())).join().unwrap();
        // SAFETY: a piece of 24 bytes.
        unsafe { own.write_bytes(7, 24) };
        // SAFETY: taken with this layout.
        let moved = unsafe { Allocator.realloc(own, layout(24), 4000) };
        assert!(!arena.owns(moved));
        // SAFETY: of the 24 bytes that were written.
        assert_eq!(unsafe { moved.wrapping_add(23).read() }, 7);
        // SAFETY: the layout that it has now.
        unsafe { Allocator.dealloc(moved, layout(4000)) };
        assert_eq!(taken(arena, 24), 32, "the first piece is not given again");
    }
}
