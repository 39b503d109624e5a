//! Signatures that cost next to nothing: a digest of who signs and of what is signed. The harness alone makes them, and no plan
//! holds enough bytes in one place to be one, so that nobody forges any.

use consensus_core::NodeId;
use pbft::{Digest, Keyring, STATEMENT_BYTES, Scheme, Signature, Statement};

/// What signatures are bound to.
pub(crate) const GROUP: u64 = 7;

/// Everybody's keys.
#[derive(Debug)]
struct Symbolic {
    members: Vec<NodeId>,
}

/// The keys of replicas 1 to `size`.
pub(crate) fn keyring(size: u64) -> Keyring {
    Keyring::new(Symbolic { members: (1..=size).map(NodeId).collect() })
}

/// As replica `node` signs.
pub(crate) fn sign(node: NodeId, statement: Statement) -> Signature {
    signature(node, &statement.to_bytes(GROUP))
}

fn signature(node: NodeId, message: &[u8]) -> Signature {
    let mut bytes = [0; 8 + STATEMENT_BYTES];
    bytes[..8].copy_from_slice(&node.0.to_le_bytes());
    bytes[8..].copy_from_slice(message);
    Signature { r: Digest::of(b"a signature", &bytes).0, s: [0; 32] }
}

impl Scheme for Symbolic {
    fn members(&self) -> &[NodeId] {
        &self.members
    }

    fn signs_as(&self, member: NodeId) -> bool {
        self.members.contains(&member)
    }

    fn sign(&self, member: NodeId, message: &[u8]) -> Option<Signature> {
        Some(signature(member, message))
    }

    fn verify(&self, member: NodeId, message: &[u8], found: &Signature) -> bool {
        self.members.contains(&member) && *found == signature(member, message)
    }
}
