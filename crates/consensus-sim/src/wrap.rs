//! How a transaction says who takes part in it, and a command by whom it is signed: a protocol's own envelopes, which the simulator
//! knows nothing of.

use bytes::Bytes;
use consensus_core::{NodeId, ProposalId};

/// Lets a plan carry a function: plans are compared and shown for what they say, and code is not part of that.
macro_rules! carried {
    ($name:ident) => {
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(stringify!($name))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, _: &Self) -> bool {
                true
            }
        }

        impl Eq for $name {}
    };
}
pub(crate) use carried;

/// The participants, everybody, the payload, and a number drawn at random, for whatever else there is to choose.
type Wrapping = fn(&[NodeId], &[NodeId], Bytes, u64) -> Wrapped;

/// What is handed to a coordinator, and somebody who only looks at something for it and may never hear of a verdict.
pub type Wrapped = (Bytes, Option<NodeId>);

/// Puts a payload into an envelope, as data that a plan can carry.
#[derive(Clone, Copy)]
pub struct Wrap {
    wrap: Wrapping,
}

impl Wrap {
    /// This envelope.
    #[must_use]
    pub fn with(wrap: Wrapping) -> Self {
        Self { wrap }
    }

    /// What is handed to a coordinator.
    pub(crate) fn apply(
        self,
        participants: &[NodeId],
        all: &[NodeId],
        payload: Bytes,
        number: u64,
    ) -> Wrapped {
        (self.wrap)(participants, all, payload, number)
    }
}

carried!(Wrap);

/// Signs what a client proposes under a name, as data that a plan can carry. What is decided is what was signed.
#[derive(Clone, Copy)]
pub struct Seal {
    seal: fn(ProposalId, &Bytes) -> Bytes,
}

impl Seal {
    /// This one.
    #[must_use]
    pub fn with(seal: fn(ProposalId, &Bytes) -> Bytes) -> Self {
        Self { seal }
    }

    /// What is handed to a node.
    pub(crate) fn apply(self, id: ProposalId, payload: &Bytes) -> Bytes {
        (self.seal)(id, payload)
    }
}

carried!(Seal);
