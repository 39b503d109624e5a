//! Whom we know: which nodes we dial, where, and whom we let in.
//!
//! Three voices tell. The *configuration* names peers and their addresses. The *application* says where nodes listen, and which
//! were removed for good ([`Peers`]). A *guest* introduces itself: nobody else tells of it, but our own log may lack the entry that
//! made it a member, and a node that shut it out could then never catch up. None of them is needed for safety: the algorithms
//! judge what anybody says.
//!
//! Invariants:
//! - There is one link to each node of which anybody tells, ourselves and those that were removed excepted. It stays the same
//!   when the node moves.
//! - Guests are few, and what they say of themselves is forgotten when they go.
//! - A node that was removed for good is never let in again.

use crate::address::PeerAddress;
use crate::book::{MAX_ADDRESSES, Peers};
use crate::handshake::Verdict;
use crate::link::{Link, Links, Table};
use crate::metrics::HostMetrics;
use consensus_core::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The most guests at once.
pub(crate) const MAX_GUESTS: usize = 16;

/// What the groups make of a node of which nobody else tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// No group can have it as a member.
    Stranger,
    /// A group may have it as a member by an entry that is not here.
    Guest,
    /// A group has it as a member.
    Member,
}

/// Shared by the groups and the transport of a host.
#[derive(Debug)]
pub(crate) struct Contacts {
    me: NodeId,
    /// The most bytes that wait for one peer.
    most_waiting: usize,
    metrics: Arc<HostMetrics>,
    state: Mutex<State>,
    links: Links,
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    configured: BTreeMap<NodeId, PeerAddress>,
    told: Peers,
    /// Where guests say that they listen.
    introduced: BTreeMap<NodeId, Vec<PeerAddress>>,
    /// How many connections of each node are open to us.
    present: BTreeMap<NodeId, usize>,
}

/// A connection of a peer to us.
#[derive(Debug)]
pub(crate) struct Stay {
    pub(crate) link: Arc<Link>,
    contacts: Arc<Contacts>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        let node = self.link.peer;
        self.contacts.change(|state| {
            if let Some(count) = state.present.get_mut(&node) {
                *count -= 1;
                if *count == 0 {
                    state.present.remove(&node);
                    state.introduced.remove(&node);
                }
            }
        });
    }
}

impl Contacts {
    pub(crate) fn new(
        me: NodeId,
        configured: BTreeMap<NodeId, PeerAddress>,
        told: Peers,
        most_waiting: usize,
        metrics: Arc<HostMetrics>,
    ) -> Arc<Self> {
        let state = Mutex::new(State { configured, told, ..State::default() });
        let (links, changes) = (Links::default(), watch::Sender::new(()));
        let contacts = Self { me, most_waiting, metrics, state, links, changes };
        contacts.change(|_| {});
        Arc::new(contacts)
    }

    pub(crate) const fn links(&self) -> &Links {
        &self.links
    }

    /// A receiver that sees each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The application says where nodes listen; false if that is old news.
    pub(crate) fn update(&self, told: Peers) -> bool {
        let mut is_news = false;
        self.change(|state| {
            is_news = told.revision > state.told.revision;
            if is_news {
                state.told = told;
            }
        });
        is_news
    }

    /// Whether the application says that we were removed.
    pub(crate) fn has_removed_us(&self) -> bool {
        self.lock().told.has_removed(self.me)
    }

    /// Where we listen, as far as is known: what we introduce ourselves with.
    pub(crate) fn own_addresses(&self) -> Vec<PeerAddress> {
        self.lock().addresses(self.me)
    }

    /// Lets somebody in who says that it is `from`.
    pub(crate) fn admit(
        self: &Arc<Self>,
        from: NodeId,
        standing: impl FnOnce() -> Standing,
    ) -> Result<Stay, Verdict> {
        // The groups are asked only where nobody else tells, and with nothing locked.
        let standing = if self.lock().is_told_of(from) { Standing::Member } else { standing() };
        let mut state = self.lock();
        state.check(self.me, from, standing)?;
        *state.present.entry(from).or_default() += 1;
        self.relink(&state);
        // Whoever is present has one.
        let link = self.links.get(from).ok_or(Verdict::Stranger)?;
        drop(state);
        self.changes.send_replace(());
        Ok(Stay { link, contacts: Arc::clone(self) })
    }

    /// Completes when this node was removed for good.
    pub(crate) async fn removal(&self, node: NodeId) {
        let mut changes = self.changes.subscribe();
        // We hold the sender, so the channel is open.
        while !self.lock().told.has_removed(node) && changes.changed().await.is_ok() {}
    }

    /// A peer says where it listens. It is believed only where nobody else tells.
    pub(crate) fn introduce(&self, node: NodeId, mut addresses: Vec<PeerAddress>) {
        addresses.truncate(MAX_ADDRESSES);
        self.change(|state| {
            if !state.is_told_of(node) && state.present.contains_key(&node) {
                state.introduced.insert(node, addresses);
            }
        });
    }

    /// The most connections at once, greetings under way included.
    pub(crate) fn most_connections(&self, per_node: usize) -> usize {
        (self.links.table().len() + 1 + MAX_GUESTS) * per_node
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        self.relink(&state);
        drop(state);
        self.changes.send_replace(());
    }

    /// Links follow what is known.
    fn relink(&self, state: &State) {
        let before = self.links.table();
        let mut table = Table::new();
        for node in state.nodes().filter(|&node| node != self.me) {
            let addresses = state.addresses(node);
            let link = match before.get(&node) {
                Some(link) => {
                    link.relocate(addresses);
                    Arc::clone(link)
                }
                None => Arc::new(Link::new(
                    self.me,
                    node,
                    addresses,
                    self.most_waiting,
                    Arc::clone(&self.metrics),
                )),
            };
            table.insert(node, link);
        }
        if !table.keys().eq(before.keys()) {
            self.links.replace(table);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether anybody but itself tells of it.
    fn is_told_of(&self, node: NodeId) -> bool {
        self.told.addresses.contains_key(&node) || self.configured.contains_key(&node)
    }

    /// Whether it may come in; otherwise what it is told.
    fn check(&self, me: NodeId, from: NodeId, standing: Standing) -> Result<(), Verdict> {
        let guests =
            || self.present.keys().filter(|&&other| other != from && !self.is_told_of(other)).count();
        if from == me || from == NodeId::ZERO {
            Err(Verdict::Stranger)
        } else if self.told.has_removed(from) {
            Err(Verdict::Removed)
        } else {
            match standing {
                Standing::Member => Ok(()),
                Standing::Guest if guests() < MAX_GUESTS => Ok(()),
                Standing::Guest | Standing::Stranger => Err(Verdict::Stranger),
            }
        }
    }

    /// Everybody of whom anybody tells, those that were removed excepted.
    fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let nodes = self.told.addresses.keys().chain(self.configured.keys()).chain(self.present.keys());
        let nodes: BTreeSet<NodeId> = nodes.copied().filter(|&node| !self.told.has_removed(node)).collect();
        nodes.into_iter()
    }

    fn addresses(&self, node: NodeId) -> Vec<PeerAddress> {
        let mut addresses = self.told.addresses.get(&node).cloned().unwrap_or_default();
        let configured = self.configured.get(&node).into_iter();
        for address in configured.chain(self.introduced.get(&node).into_iter().flatten()) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId(1);

    fn address(text: &str) -> PeerAddress {
        text.parse().unwrap()
    }

    fn peers(revision: u64, addresses: &[(u64, &str)], unused_from: u64) -> Peers {
        let addresses = addresses.iter().map(|&(node, text)| (NodeId(node), vec![address(text)]));
        Peers { revision, addresses: addresses.collect(), unused_from: NodeId(unused_from) }
    }

    fn contacts() -> Arc<Contacts> {
        let configured = (1..=3).map(|node| (NodeId(node), address(&format!("h{node}:1")))).collect();
        Contacts::new(ME, configured, Peers::default(), 1 << 20, Arc::default())
    }

    fn admit(contacts: &Arc<Contacts>, node: u64, standing: Standing) -> Result<Stay, Verdict> {
        contacts.admit(NodeId(node), || standing)
    }

    fn dialled(contacts: &Contacts) -> Vec<(u64, String)> {
        let list = |link: &Link| {
            let addresses = link.addresses.borrow();
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        contacts.links().table().iter().map(|(node, link)| (node.0, list(link))).collect()
    }

    fn pairs(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
        rows.iter().map(|&(node, list)| (node, list.to_owned())).collect()
    }

    #[test]
    fn the_application_says_where_nodes_listen_and_who_is_gone() {
        let contacts = contacts();
        let mut routes = crate::link::Routes::default();
        assert_eq!(dialled(&contacts), pairs(&[(2, "h2:1"), (3, "h3:1")]));
        let kept = Arc::clone(&routes.look(contacts.links())[&NodeId(2)]);
        assert!(contacts.update(peers(2, &[(1, "h1:1"), (2, "h2:1"), (4, "h4:1")], 5)));
        // The third was removed, the fourth was added.
        assert_eq!(dialled(&contacts), pairs(&[(2, "h2:1"), (4, "h4:1")]));
        assert_eq!(routes.look(contacts.links()).keys().copied().collect::<Vec<_>>(), [2, 4].map(NodeId));
        let verdicts = [2, 3, 4].map(|node| admit(&contacts, node, Standing::Stranger).err());
        assert_eq!(verdicts, [None, Some(Verdict::Removed), None]);
        // A replica that reads its log again passes through the past.
        assert!(!contacts.update(peers(1, &[(1, "h1:1"), (2, "h2:1"), (3, "h3:1")], 4)));
        assert_eq!(dialled(&contacts), pairs(&[(2, "h2:1"), (4, "h4:1")]));
        // What the configuration says is tried beside it: it may be what an operator has changed.
        assert!(contacts.update(peers(3, &[(1, "h1:1"), (2, "moved:1"), (4, "h4:1")], 5)));
        assert_eq!(dialled(&contacts), pairs(&[(2, "moved:1 h2:1"), (4, "h4:1")]));
        assert!(Arc::ptr_eq(&kept, &contacts.links().get(NodeId(2)).unwrap()), "who moves keeps its link");
        assert!(!contacts.has_removed_us());
        contacts.update(peers(4, &[(2, "moved:1")], 5));
        assert!(contacts.has_removed_us());
    }

    #[test]
    fn a_guest_is_dialled_for_as_long_as_it_stays() {
        let contacts = contacts();
        let stay = admit(&contacts, 9, Standing::Guest).unwrap();
        let again = admit(&contacts, 9, Standing::Guest).unwrap();
        contacts.introduce(NodeId(9), vec![address("guest:1")]);
        contacts.introduce(NodeId(2), vec![address("elsewhere:1")]);
        contacts.introduce(NodeId(8), vec![address("nobody:1")]);
        assert_eq!(dialled(&contacts), pairs(&[(2, "h2:1"), (3, "h3:1"), (9, "guest:1")]));
        drop(stay);
        assert_eq!(dialled(&contacts).len(), 3);
        drop(again);
        assert_eq!(dialled(&contacts), pairs(&[(2, "h2:1"), (3, "h3:1")]));
        let enter = |node| admit(&contacts, node, Standing::Guest);
        let crowd: Vec<_> = (10..).take(MAX_GUESTS).map(|node| enter(node).unwrap()).collect();
        assert_eq!(enter(9).err(), Some(Verdict::Stranger));
        assert!(enter(10).is_ok(), "it is here already");
        assert!(enter(3).is_ok(), "somebody tells of it");
        assert!(admit(&contacts, 9, Standing::Member).is_ok(), "a member is no guest");
        drop(crowd);
        assert!(enter(9).is_ok());
    }

    #[test]
    fn where_members_are_for_ever_there_are_no_guests() {
        let contacts = contacts();
        let verdicts = [0, 1, 2, 9].map(|node| admit(&contacts, node, Standing::Stranger).err());
        let stranger = Some(Verdict::Stranger);
        assert_eq!(verdicts, [stranger, stranger, None, stranger]);
    }

    #[tokio::test]
    async fn who_is_removed_is_shown_out() {
        let contacts = contacts();
        let two = NodeId(2);
        let removal = tokio::spawn({
            let contacts = Arc::clone(&contacts);
            async move { contacts.removal(two).await }
        });
        contacts.update(peers(1, &[(1, "h1:1"), (2, "h2:1")], 4));
        tokio::task::yield_now().await;
        assert!(!removal.is_finished());
        contacts.update(peers(2, &[(1, "h1:1")], 4));
        removal.await.unwrap();
    }
}
