//! Who the peers are: whom we dial, where, and whom we let in.
//!
//! Three voices tell. The *algorithm* names the members. The *application* says where nodes listen, and which were removed for
//! good ([`Peers`]). A *guest* introduces itself: it is no member as far as our own log tells, which may lack the entry that
//! made it one, and a node that shut it out could then never catch up. None of them is needed for safety: the algorithm judges
//! what anybody says.
//!
//! Invariants:
//! - There is a link to each node whose address is known, but for ourselves, those that were removed, and those that left the
//!   members a while ago and are gone.
//! - Guests are few, and what they say of themselves is forgotten when they go.
//! - A node that was removed for good is never let in again.

use crate::address::PeerAddress;
use crate::book::{MAX_ADDRESSES, Peers};
use crate::handshake::Verdict;
use crate::peers::Link;
use consensus_core::{Members, NodeId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The most guests at once.
pub(crate) const MAX_GUESTS: usize = 16;
/// How long we still dial who left the members: the last messages of its removal are under way, and the entry that removed it
/// may be cut off again.
const FAREWELL: Duration = Duration::from_secs(5);

/// Shared by the core loop, the transport and the handle.
#[derive(Debug)]
pub(crate) struct Roster {
    me: NodeId,
    /// Whether the members are for ever those of the birth.
    is_static: bool,
    state: Mutex<State>,
    /// Counts the changes.
    generation: AtomicU64,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    members: Members,
    peers: Peers,
    /// Where the configuration says that peers listen: tried beside what the application says.
    configured: BTreeMap<NodeId, PeerAddress>,
    /// When those left who were members since we started.
    left: BTreeMap<NodeId, Instant>,
    /// Where guests say that they listen.
    introduced: BTreeMap<NodeId, Vec<PeerAddress>>,
    /// How many connections of each node are open to us.
    present: BTreeMap<NodeId, usize>,
    links: BTreeMap<NodeId, Arc<Link>>,
}

/// A connection of a peer to us.
#[derive(Debug)]
pub(crate) struct Presence {
    roster: Arc<Roster>,
    node: NodeId,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.roster.change(|state| {
            if let Some(count) = state.present.get_mut(&self.node) {
                *count -= 1;
                if *count == 0 {
                    state.present.remove(&self.node);
                    state.introduced.remove(&self.node);
                }
            }
        });
    }
}

impl Roster {
    pub(crate) fn new(
        me: NodeId,
        is_static: bool,
        members: Members,
        peers: Peers,
        configured: BTreeMap<NodeId, PeerAddress>,
    ) -> Arc<Self> {
        let state = State {
            members,
            peers,
            configured,
            left: BTreeMap::new(),
            introduced: BTreeMap::new(),
            present: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        let (generation, changes) = (AtomicU64::new(0), watch::Sender::new(0));
        let roster = Self { me, is_static, state: Mutex::new(state), generation, changes };
        roster.change(|_| {});
        Arc::new(roster)
    }

    /// Grows with each change of the links, and of who is let in.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A receiver that sees each such change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn links(&self) -> BTreeMap<NodeId, Arc<Link>> {
        self.lock().links.clone()
    }

    pub(crate) fn link(&self, peer: NodeId) -> Option<Arc<Link>> {
        self.lock().links.get(&peer).cloned()
    }

    /// When a link is to be given up, if nothing else happens before.
    pub(crate) fn next_farewell(&self) -> Option<Instant> {
        let state = self.lock();
        let still_dialled = state.left.iter().filter(|(node, _)| state.links.contains_key(node));
        let absent = still_dialled.filter(|(node, _)| !state.present.contains_key(node));
        absent.map(|(_, &at)| at + FAREWELL).min()
    }

    /// Looks at the clock.
    pub(crate) fn pass_time(&self) {
        self.change(|_| {});
    }

    /// The algorithm names the members.
    pub(crate) fn follow(&self, members: &Members) {
        self.change(|state| {
            let now = Instant::now();
            for node in state.members.iter().filter(|&node| !members.contains(node)) {
                state.left.insert(node, now);
            }
            state.left.retain(|&node, _| !members.contains(node));
            state.members = members.clone();
        });
    }

    /// The application says where nodes listen; false if that is old news.
    pub(crate) fn update(&self, peers: Peers) -> bool {
        let mut is_news = false;
        self.change(|state| {
            is_news = peers.revision > state.peers.revision;
            if is_news {
                state.peers = peers;
            }
        });
        is_news
    }

    /// Whether the application says that we were removed.
    pub(crate) fn has_removed_us(&self) -> bool {
        self.lock().peers.has_removed(self.me)
    }

    /// Where we listen, as far as is known: what we introduce ourselves with.
    pub(crate) fn own_addresses(&self) -> Vec<PeerAddress> {
        self.lock().addresses(self.me)
    }

    /// Whether somebody who says that it is `from` may come in.
    pub(crate) fn judge(&self, from: NodeId) -> Verdict {
        let state = self.lock();
        if from == self.me || from == NodeId::ZERO {
            Verdict::Stranger
        } else if state.peers.has_removed(from) {
            Verdict::Removed
        } else if state.members.contains(from) {
            Verdict::Welcome
        } else if self.is_static || state.is_crowded(from) {
            Verdict::Stranger
        } else {
            Verdict::Welcome
        }
    }

    /// A peer has come in.
    pub(crate) fn enter(self: &Arc<Self>, node: NodeId) -> Presence {
        self.change(|state| *state.present.entry(node).or_default() += 1);
        Presence { roster: Arc::clone(self), node }
    }

    /// A peer says where it listens. It is believed only where nobody else tells.
    pub(crate) fn introduce(&self, node: NodeId, mut addresses: Vec<PeerAddress>) {
        addresses.truncate(MAX_ADDRESSES);
        self.change(|state| {
            if state.is_guest(node) && state.present.contains_key(&node) {
                state.introduced.insert(node, addresses);
            }
        });
    }

    /// The most connections at once, greetings under way included.
    pub(crate) fn most_connections(&self, per_node: usize) -> usize {
        (self.lock().links.len() + 1 + MAX_GUESTS) * per_node
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let generation = {
            let mut state = self.lock();
            change(&mut state);
            state.relink(self.me, Instant::now());
            self.generation.fetch_add(1, Ordering::AcqRel) + 1
        };
        self.changes.send_replace(generation);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Nobody but itself tells of it.
    fn is_guest(&self, node: NodeId) -> bool {
        !self.members.contains(node)
            && !self.peers.addresses.contains_key(&node)
            && !self.configured.contains_key(&node)
    }

    /// Whether there is no room for this guest.
    fn is_crowded(&self, node: NodeId) -> bool {
        let guests = || self.present.keys().filter(|&&other| other != node && self.is_guest(other)).count();
        self.is_guest(node) && guests() >= MAX_GUESTS
    }

    fn addresses(&self, node: NodeId) -> Vec<PeerAddress> {
        let mut addresses = self.peers.addresses.get(&node).cloned().unwrap_or_default();
        let configured = self.configured.get(&node).into_iter();
        for address in configured.chain(self.introduced.get(&node).into_iter().flatten()) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// Links follow what is known. One whose addresses have changed is another link.
    fn relink(&mut self, me: NodeId, now: Instant) {
        self.left.retain(|&node, _| !self.peers.has_removed(node));
        let known = self.peers.addresses.keys().chain(self.configured.keys()).chain(self.introduced.keys());
        let is_gone = |node: &NodeId| {
            let is_late = self.left.get(node).is_some_and(|&at| now >= at + FAREWELL);
            self.peers.has_removed(*node) || (is_late && !self.present.contains_key(node))
        };
        let mut links = BTreeMap::new();
        for &node in known.filter(|&&node| node != me && node != NodeId::ZERO) {
            let addresses = self.addresses(node);
            if addresses.is_empty() || is_gone(&node) || links.contains_key(&node) {
                continue;
            }
            let same = self.links.get(&node).filter(|link| link.addresses == addresses);
            let link = same.cloned().unwrap_or_else(|| Arc::new(Link::new(node, addresses)));
            links.insert(node, link);
        }
        self.links = links;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId(1);

    fn address(text: &str) -> PeerAddress {
        text.parse().unwrap()
    }

    fn members(voters: &[u64]) -> Members {
        Members::of(voters.iter().copied().map(NodeId))
    }

    fn peers(revision: u64, addresses: &[(u64, &str)], unused_from: u64) -> Peers {
        let addresses = addresses.iter().map(|&(node, text)| (NodeId(node), vec![address(text)]));
        Peers { revision, addresses: addresses.collect(), unused_from: NodeId(unused_from) }
    }

    fn roster() -> Arc<Roster> {
        let configured = (1..=3).map(|node| (NodeId(node), address(&format!("h{node}:1")))).collect();
        Roster::new(ME, false, members(&[1, 2, 3]), Peers::default(), configured)
    }

    fn dialled(roster: &Roster) -> Vec<(u64, String)> {
        let list =
            |link: Arc<Link>| link.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        roster.links().into_iter().map(|(node, link)| (node.0, list(link))).collect()
    }

    fn pairs(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
        rows.iter().map(|&(node, list)| (node, list.to_owned())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_application_says_where_nodes_listen_and_who_is_gone() {
        let roster = roster();
        assert_eq!(dialled(&roster), pairs(&[(2, "h2:1"), (3, "h3:1")]));
        let kept = roster.link(NodeId(2)).unwrap();
        assert!(roster.update(peers(2, &[(1, "h1:1"), (2, "h2:1"), (4, "h4:1")], 5)));
        // The third was removed, the fourth was added; a link that has not changed is the same link.
        assert_eq!(dialled(&roster), pairs(&[(2, "h2:1"), (4, "h4:1")]));
        assert!(Arc::ptr_eq(&kept, &roster.link(NodeId(2)).unwrap()));
        assert_eq!([2, 3, 4, 5].map(|node| roster.judge(NodeId(node))), {
            use Verdict::{Removed, Welcome};
            [Welcome, Removed, Welcome, Welcome]
        });
        // A replica that reads its log again passes through the past.
        assert!(!roster.update(peers(1, &[(1, "h1:1"), (2, "h2:1"), (3, "h3:1")], 4)));
        assert_eq!(dialled(&roster), pairs(&[(2, "h2:1"), (4, "h4:1")]));
        // What the configuration says is tried beside it: it may be what an operator has changed.
        assert!(roster.update(peers(3, &[(1, "h1:1"), (2, "moved:1"), (4, "h4:1")], 5)));
        assert_eq!(dialled(&roster), pairs(&[(2, "moved:1 h2:1"), (4, "h4:1")]));
        assert!(!roster.has_removed_us());
        roster.update(peers(4, &[(2, "moved:1")], 5));
        assert!(roster.has_removed_us());
    }

    #[tokio::test(start_paused = true)]
    async fn who_left_the_members_is_dialled_for_a_while() {
        let roster = roster();
        roster.follow(&members(&[1, 2]));
        assert_eq!(dialled(&roster), pairs(&[(2, "h2:1"), (3, "h3:1")]));
        tokio::time::advance(FAREWELL / 2).await;
        // The entry that removed it was cut off.
        roster.follow(&members(&[1, 2, 3]));
        assert_eq!(roster.next_farewell(), None);
        roster.follow(&members(&[1, 2]));
        let farewell = roster.next_farewell().unwrap();
        tokio::time::advance(FAREWELL).await;
        assert!(farewell <= Instant::now());
        roster.pass_time();
        assert_eq!(dialled(&roster), pairs(&[(2, "h2:1")]));
        assert_eq!(roster.next_farewell(), None);
        // It comes back: perhaps it is a member by an entry that we lack.
        assert_eq!(roster.judge(NodeId(3)), Verdict::Welcome);
        let presence = roster.enter(NodeId(3));
        assert_eq!(dialled(&roster), pairs(&[(2, "h2:1"), (3, "h3:1")]));
        drop(presence);
        assert_eq!(dialled(&roster), pairs(&[(2, "h2:1")]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_is_dialled_for_as_long_as_it_stays() {
        let roster = roster();
        assert_eq!(roster.judge(NodeId(9)), Verdict::Welcome);
        let presence = roster.enter(NodeId(9));
        roster.introduce(NodeId(9), vec![address("guest:1")]);
        roster.introduce(NodeId(2), vec![address("elsewhere:1")]);
        roster.introduce(NodeId(8), vec![address("nobody:1")]);
        assert_eq!(dialled(&roster), pairs(&[(2, "h2:1"), (3, "h3:1"), (9, "guest:1")]));
        drop(presence);
        assert_eq!(dialled(&roster), pairs(&[(2, "h2:1"), (3, "h3:1")]));
        let crowd: Vec<_> = (10..).take(MAX_GUESTS).map(|node| roster.enter(NodeId(node))).collect();
        assert_eq!(roster.judge(NodeId(9)), Verdict::Stranger);
        assert_eq!(roster.judge(NodeId(10)), Verdict::Welcome, "it is here already");
        assert_eq!(roster.judge(NodeId(3)), Verdict::Welcome, "a member is no guest");
        drop(crowd);
        assert_eq!(roster.judge(NodeId(9)), Verdict::Welcome);
    }

    #[tokio::test(start_paused = true)]
    async fn where_members_are_for_ever_there_are_no_guests() {
        let roster = Roster::new(ME, true, members(&[1, 2]), Peers::default(), BTreeMap::new());
        let verdicts = [0, 1, 2, 3].map(|node| roster.judge(NodeId(node)));
        use Verdict::{Stranger, Welcome};
        assert_eq!(verdicts, [Stranger, Stranger, Welcome, Stranger]);
    }
}
