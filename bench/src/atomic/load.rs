//! What is committed: money that moves from an account of the node that is asked to one of another node.

use consensus_core::{Bytes, NodeId};
use twophase::Envelope;
use twophase::accounts::{Account, Accounts, Transfer};

/// The nodes of every group.
pub(super) const NODES: u64 = 3;
/// The account of each node that is fought for.
const HOT: u32 = 0;
/// A client goes through so many accounts of its own: another node may free one some time after the client was told.
const TURNS: u32 = 16;
/// Nobody is ever out of money: what is aborted has met a lock.
const BALANCE: i64 = 1_000_000_000;

/// How many clients there are, and how often they get into each other's way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Of all nodes together.
    pub(super) clients: u32,
    /// How many transfers of a hundred are between hot accounts; all others touch accounts that nobody else does.
    pub(super) conflict: u8,
}

impl Shape {
    /// How many accounts each node has.
    pub(super) const fn accounts(self) -> u32 {
        // The hot one, and those of each client and of a spare one.
        1 + (self.clients + 1) * TURNS
    }

    /// The accounts of a node, before the first transfer.
    pub(super) fn machine(self, node: NodeId) -> Accounts {
        Accounts::new(node, self.accounts(), BALANCE)
    }

    /// The money of all nodes together.
    pub(super) fn total(self) -> i64 {
        i64::from(self.accounts()) * BALANCE * NODES.cast_signed()
    }

    /// A client of that node besides those that are measured, which gets into nobody's way.
    pub(super) fn spare(self, node: NodeId) -> Client {
        Self { conflict: 0, ..self }.client(self.clients, node)
    }

    /// The client of this number, from zero, which asks that node.
    pub(super) fn client(self, number: u32, node: NodeId) -> Client {
        let seed = u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Client { node, first: HOT + 1 + number * TURNS, turn: 0, conflict: self.conflict.into(), dice: seed }
    }
}

/// One client: the same transfers in the same order in every round.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Whom it asks.
    pub(super) node: NodeId,
    first: u32,
    turn: u32,
    conflict: u64,
    dice: u64,
}

impl Client {
    fn below(&mut self, bound: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        // The high bits are the better ones.
        (self.dice >> 32) % bound
    }

    /// What it asks for next.
    pub(super) fn next(&mut self) -> Bytes {
        let other = NodeId(1 + (self.node.0 + self.below(NODES - 1)) % NODES);
        let number = if self.below(100) < self.conflict {
            HOT
        } else {
            self.turn = (self.turn + 1) % TURNS;
            self.first + self.turn
        };
        let at = |node| Account { node, number };
        let transfer = Transfer::between(at(self.node), at(other), 1);
        Envelope::new(transfer.participants(), transfer.to_bytes()).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::{NODES, Shape};
    use consensus_core::{NodeId, wire};
    use std::collections::BTreeSet;
    use twophase::Envelope;
    use twophase::accounts::Transfer;

    #[test]
    fn clients_meet_at_the_hot_accounts_alone_and_as_often_as_was_asked_for() {
        let shape = Shape { clients: 3, conflict: 25 };
        let (mut hot, mut touched) = (0, Vec::new());
        for number in 0..shape.clients {
            let node = NodeId(1 + u64::from(number) % NODES);
            let mut client = shape.client(number, node);
            let mut own = BTreeSet::new();
            for _ in 0..4_000 {
                let payload = client.next();
                let envelope: Envelope = wire::decode(&payload, payload.len()).unwrap();
                let transfer: Transfer = wire::decode(&envelope.payload, envelope.payload.len()).unwrap();
                let [(from, -1), (to, 1)] = transfer.changes[..] else { panic!("{transfer:?}") };
                assert!(from.node == node && to.node != node && (1..=NODES).contains(&to.node.0));
                assert!(from.number == to.number && from.number < shape.accounts());
                hot += u32::from(from.number == 0);
                own.insert(from.number);
            }
            own.remove(&0);
            touched.extend(own);
        }
        assert!((2_800..3_200).contains(&hot), "{hot} of 12,000");
        assert_eq!(
            touched.iter().collect::<BTreeSet<_>>().len(),
            touched.len(),
            "two clients share an account"
        );
    }
}
