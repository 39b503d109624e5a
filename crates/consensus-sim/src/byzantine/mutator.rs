//! Structured mutation: what a protocol's tests know about its messages, for what twins cannot make (malformed certificates,
//! lying view changes, wrong nulls, stale checkpoints).

use crate::random::Stream;
use crate::wrap::carried;
use consensus_core::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Changes a field of a message, in a way that the protocol's own structure suggests: another view, another digest, a
/// certificate with one vote too few. A protocol's tests implement it; no protocol knows of it.
pub trait Mutate {
    /// What the protocol's nodes say to each other.
    type Message: Serialize + DeserializeOwned;

    /// The message with another field; `None` if there is nothing to change.
    fn mutate(message: &Self::Message, choices: &mut Stream) -> Option<Self::Message>;
}

/// A [`Mutate`], as data that a plan can carry.
#[derive(Clone, Copy)]
pub struct Mutator {
    mutate: fn(&[u8], &mut Stream) -> Option<Vec<u8>>,
}

impl Mutator {
    /// The mutator of this protocol.
    #[must_use]
    pub fn of<T: Mutate>() -> Self {
        Self { mutate: through_the_wire::<T> }
    }

    /// The frame with another field.
    pub(crate) fn apply(self, frame: &[u8], choices: &mut Stream) -> Option<Vec<u8>> {
        (self.mutate)(frame, choices)
    }
}

fn through_the_wire<T: Mutate>(frame: &[u8], choices: &mut Stream) -> Option<Vec<u8>> {
    let message = wire::decode::<T::Message>(frame, wire::MAX_FRAME_BYTES).ok()?;
    Some(wire::encode(&T::mutate(&message, choices)?))
}

carried!(Mutator);
