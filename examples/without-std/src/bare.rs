//! One node, and what an operating system would give it.
#![allow(unsafe_code, reason = "an allocator and a symbol of C are unsafe by nature")]

use bytes::Bytes;
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    ClientId, Decision, Event, InstallError, Members, Node, NodeConfig, NodeId, ProposalId, Role, Slot,
    StateMachine, Time,
};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};
use raft::{Message, Raft, Record};

const ARENA_BYTES: usize = 1 << 20;

/// Hands its memory out from the front, and takes none back.
#[repr(align(4096))]
struct Arena {
    memory: UnsafeCell<[u8; ARENA_BYTES]>,
    used: AtomicUsize,
}

// SAFETY: whoever allocates gets a part that nobody else gets: `used` only grows.
unsafe impl Sync for Arena {}

// SAFETY: a part lies within the arena, is aligned, and is never handed out twice.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = |used: usize| used.checked_next_multiple_of(layout.align());
        let end = |used| start(used)?.checked_add(layout.size()).filter(|&end| end <= ARENA_BYTES);
        let used = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end);
        match used.ok().and_then(start) {
            // SAFETY: `end` found room behind `start`.
            Some(start) => unsafe { self.memory.get().cast::<u8>().add(start) },
            None => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _memory: *mut u8, _layout: Layout) {}
}

#[global_allocator]
static ARENA: Arena = Arena { memory: UnsafeCell::new([0; ARENA_BYTES]), used: AtomicUsize::new(0) };

/// `std` has one too, and there can be only one.
#[panic_handler]
fn stop(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Counts.
#[derive(Default)]
struct Count(u64);

impl StateMachine for Count {
    fn apply(&mut self, _decision: Decision<'_>) -> Bytes {
        self.0 += 1;
        Bytes::new()
    }
    fn query(&self, _request: &Bytes) -> Bytes {
        self.snapshot()
    }
    fn snapshot(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_le_bytes())
    }
    fn install(&mut self, _through: Slot, _snapshot: Bytes) -> Result<(), InstallError> {
        Ok(())
    }
}

/// Has the only node of a group decide one proposal, and tells how many were applied: one, or none after a failure.
#[unsafe(no_mangle)]
pub extern "C" fn decide_one() -> u64 {
    decide().unwrap_or(0)
}

fn decide() -> Option<u64> {
    let config = NodeConfig::<Raft>::new(NodeId(1), Members::of([NodeId(1)]), 42);
    let (outbox, disk) = (Outbox::<Message>::default(), MemoryStorage::<Record>::default());
    let mut node = Node::open(config, Time::ZERO, outbox, disk, Count::default()).ok()?;
    let mut now = Time::ZERO;
    while node.status().role != Role::Leader {
        now = node.deadline()?;
        node.handle(now, Event::Tick).ok()?;
    }
    let id = ProposalId::new(ClientId::anonymous(1), 1);
    node.handle(now, Event::Propose { id, payload: Bytes::from_static(b"x") }).ok()?;
    Some(node.machine().0)
}
