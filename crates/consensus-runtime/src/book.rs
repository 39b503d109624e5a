//! What a node remembers beside its journal, so that it finds its peers again by itself: as the journal's note, which is
//! replaced atomically and checked when it is read.

use crate::address::PeerAddress;
use crate::config::StartError;
use bytes::Bytes;
use consensus_core::wire::{self, MAX_FRAME_BYTES};
use consensus_core::{ClusterId, MAX_MEMBERS, NodeId, StorageError};
use consensus_wal::{FileDisk, Journal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The most addresses of one node.
pub const MAX_ADDRESSES: usize = 8;

/// The nodes of a cluster as the application knows them. It is replicated data of the application: what an operator is told and
/// what is dialled cannot differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// Grows with each change. What is older than what is known already is ignored: a replica that reads its log again passes
    /// through the past.
    pub revision: u64,
    /// Where each node listens, all of them tried in turn; at most [`MAX_ADDRESSES`] each, of at most [`MAX_MEMBERS`] nodes.
    pub addresses: BTreeMap<NodeId, Vec<PeerAddress>>,
    /// No node from this id on was ever let in. A smaller id that has no address was removed, and never comes back: its
    /// connections are closed and refused. Zero if that is not so.
    pub unused_from: NodeId,
}

impl Peers {
    /// Whether this node was removed for good.
    #[must_use]
    pub fn has_removed(&self, node: NodeId) -> bool {
        node < self.unused_from && !self.addresses.contains_key(&node)
    }

    /// What is known when a data directory is begun.
    pub(crate) fn at_first(configured: &BTreeMap<NodeId, PeerAddress>) -> Self {
        let addresses = configured.iter().map(|(&node, address)| (node, vec![address.clone()])).collect();
        Self { revision: 0, addresses, unused_from: NodeId::ZERO }
    }

    pub(crate) fn is_bounded(&self) -> bool {
        self.addresses.len() <= MAX_MEMBERS && self.addresses.values().all(|list| list.len() <= MAX_ADDRESSES)
    }
}

/// Everything that is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Book {
    /// Drawn when the directory was begun: a node that comes with another one is not the same any more.
    pub(crate) incarnation: u64,
    pub(crate) peers: Peers,
}

impl Book {
    pub(crate) fn encode(&self) -> Bytes {
        wire::encode(self).into()
    }

    pub(crate) fn decode(note: &Bytes, directory: &Path) -> Result<Self, StorageError> {
        let foreign = |problem: String| StorageError::Foreign { place: place(directory), problem };
        let book: Self = wire::decode(note, MAX_FRAME_BYTES).map_err(|error| {
            foreign(format!(
                "it is intact, but this program cannot read it ({error}); start the version that wrote it"
            ))
        })?;
        if book.peers.is_bounded() {
            Ok(book)
        } else {
            Err(foreign("it names more than any program writes".into()))
        }
    }
}

/// A directory without a note in which something was promised already.
pub(crate) fn missing(directory: &Path) -> StorageError {
    let problem = "there is a journal, but not the note that tells where the peers are, and that nobody else has this node's id; \
                   restore this directory from a copy, or remove it and let the node join anew as a new member";
    StorageError::Corrupt { place: place(directory), offset: 0, problem: problem.into() }
}

fn place(directory: &Path) -> String {
    directory.join("note").display().to_string()
}

/// What a data directory tells of its node without being opened for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Where its peers, and itself, were last known to listen.
    pub peers: Peers,
}

/// Reads whose directory this is; `None` if it is nobody's yet, or was left before the node could promise anything. Nothing is
/// changed.
///
/// # Errors
/// The directory is damaged, in use, or of a newer program.
pub async fn remembered(directory: impl Into<PathBuf>) -> Result<Option<Remembered>, StartError> {
    let directory = directory.into();
    crate::host::blocking(move || {
        if !directory.is_dir() {
            return Ok(None);
        }
        let Some((identity, note)) = Journal::peek(FileDisk::open_dir(&directory)?)? else { return Ok(None) };
        let Some(note) = note else { return Ok(None) };
        let peers = Book::decode(&note, &directory)?.peers;
        Ok(Some(Remembered { cluster: identity.cluster, node: identity.node, peers }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_and_the_rest_is_refused() {
        let here = Path::new("d");
        let address: PeerAddress = "h:1".parse().unwrap();
        let addresses = BTreeMap::from([(NodeId(2), vec![address.clone()])]);
        let peers = Peers { revision: 3, addresses, unused_from: NodeId(4) };
        let book = Book { incarnation: 7, peers };
        assert_eq!(Book::decode(&book.encode(), here), Ok(book.clone()));
        let mut crowded = book;
        crowded.peers.addresses.insert(NodeId(3), vec![address; MAX_ADDRESSES + 1]);
        let error = Book::decode(&crowded.encode(), here).unwrap_err().to_string();
        assert!(error.starts_with("d/note cannot be used: "), "{error}");
    }

    #[test]
    fn a_node_is_removed_once_its_id_was_given_and_its_address_is_gone() {
        let addresses = BTreeMap::from([(NodeId(2), Vec::new())]);
        let peers = Peers { revision: 3, addresses, unused_from: NodeId(4) };
        let removed = (1..=5).map(NodeId).filter(|&node| peers.has_removed(node));
        assert_eq!(removed.collect::<Vec<_>>(), [NodeId(1), NodeId(3)]);
        assert!(!Peers::default().has_removed(NodeId(1)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Book::decode(&bytes.into(), Path::new("d"));
        }
    }
}
