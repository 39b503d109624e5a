//! The coin that all nodes toss alike.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// The most rounds with a common coin, whatever is configured: so many can be wasted by whoever knows the key.
pub(crate) const MAX_COMMON_ROUNDS: u64 = 1 << 10;

/// The coin of a round of an instance: everybody who has the key computes it alike, and nobody else can.
///
/// It is fair whatever the instance and the round, and no secret from whoever has the key: who orders the messages by it can keep nodes
/// apart for as long as they toss it.
// [L6]
pub(crate) fn common(key: u64, instance: u64, round: u64) -> bool {
    let mut seed = [0; 32];
    for (place, part) in seed.chunks_exact_mut(8).zip([key, instance, round]) {
        place.copy_from_slice(&part.to_le_bytes());
    }
    ChaCha8Rng::from_seed(seed).next_u64() & 1 == 1
}
