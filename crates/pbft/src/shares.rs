//! Fairness among clients that can be told apart: each has its share of what a replica may have waiting, and its turn. [B31]
//!
//! A share is counted for each replica that vouches, so that nobody fills a client's share by passing on what that client asked for
//! long ago. Turns are numbered: of a client's requests each has a later one, and whoever comes after a while begins with the turn
//! that is served.

use crate::request::Request;
use alloc::collections::BTreeMap;
use consensus_core::{ClientId, NodeId};

/// So many requests, and so many bytes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// Who has how much, and whose turn is next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares {
    /// What of each client waits, by each replica that vouches for it.
    taken: BTreeMap<(NodeId, ClientId), Share>,
    /// The last turn that each client was given.
    last: BTreeMap<ClientId, u64>,
    /// The latest turn that was served.
    served: u64,
}

impl Share {
    pub(crate) fn take(&mut self, size: usize) {
        self.count += 1;
        self.bytes += size;
    }

    pub(crate) fn give_back(&mut self, size: usize) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
    }
}

impl Shares {
    /// Whether the client's share with this voucher has room for it. One request may always wait.
    pub(crate) fn has_room(&self, voucher: NodeId, request: &Request, share: Share) -> bool {
        let taken = self.taken.get(&(voucher, request.id().client));
        taken.is_none_or(|taken| {
            taken.count < share.count && taken.bytes.saturating_add(request.size()) <= share.bytes
        })
    }

    pub(crate) fn take(&mut self, voucher: NodeId, request: &Request) {
        self.taken.entry((voucher, request.id().client)).or_default().take(request.size());
    }

    pub(crate) fn give_back(&mut self, voucher: NodeId, request: &Request) {
        let place = (voucher, request.id().client);
        if let Some(taken) = self.taken.get_mut(&place) {
            taken.give_back(request.size());
            if taken.count == 0 {
                self.taken.remove(&place);
            }
        }
    }

    /// The next turn of this client.
    pub(crate) fn next_turn(&mut self, client: ClientId) -> u64 {
        let last = self.last.entry(client).or_default();
        *last = self.served.max(*last).saturating_add(1);
        *last
    }

    /// What had this turn waits no more.
    pub(crate) fn serve(&mut self, turn: u64) {
        self.served = self.served.max(turn);
    }

    /// How much waits altogether, by whom it is vouched for.
    pub(crate) fn waiting(&self) -> usize {
        self.taken.values().map(|share| share.count).sum()
    }
}
