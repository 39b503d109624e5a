//! What a Byzantine replica can say: everything that its own key, and those of its friends, can sign.

use super::n;
use consensus_core::NodeId;
use pbft::{
    Batch, Committed, Digest, Ed25519, Keyring, Kind, Message, NewView, PrePrepare, Prepared, Proposal,
    Request, Scheme, Sequence, Signature, Signers, Stable, Statement, View, ViewChange, Vote,
};
use std::cell::Cell;

/// What signatures of tests are bound to.
pub const GROUP: u64 = 7;

const NOTHING: Signature = Signature { r: [0; 32], s: [0; 32] };

pub fn secret(id: NodeId) -> [u8; 32] {
    Digest::of(b"a secret of a test", &id.0.to_le_bytes()).0
}

/// The keys of replica `id` in a group of `size`.
pub fn keyring(id: NodeId, size: u64) -> Keyring {
    let public = (1..=size).map(|other| (n(other), Ed25519::public_of(&secret(n(other)))));
    Keyring::new(Counting(Ed25519::new(id, &secret(id), public).unwrap()))
}

thread_local! {
    static SPENT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// How many signatures the replicas of this test have made and checked since this was last asked.
pub fn signatures() -> (u64, u64) {
    SPENT.take()
}

/// Real keys, and a count of what is done with them.
#[derive(Debug)]
struct Counting(Ed25519);

impl Scheme for Counting {
    fn members(&self) -> &[NodeId] {
        self.0.members()
    }

    fn signs_as(&self, member: NodeId) -> bool {
        self.0.signs_as(member)
    }

    fn sign(&self, member: NodeId, message: &[u8]) -> Option<Signature> {
        let (made, checked) = SPENT.get();
        SPENT.set((made + 1, checked));
        self.0.sign(member, message)
    }

    fn verify(&self, member: NodeId, message: &[u8], signature: &Signature) -> bool {
        let (made, checked) = SPENT.get();
        SPENT.set((made, checked + 1));
        self.0.verify(member, message, signature)
    }
}

/// Signs as a replica, for a group.
pub fn sign_for(group: u64, id: u64, statement: Statement) -> Signature {
    let key = Ed25519::new(n(id), &secret(n(id)), [(n(id), Ed25519::public_of(&secret(n(id))))]).unwrap();
    key.sign(n(id), &statement.to_bytes(group)).unwrap()
}

pub fn sign(id: u64, kind: Kind, view: u64, sequence: u64, digest: Digest) -> Signature {
    sign_for(GROUP, id, Statement { kind, view: View(view), sequence: Sequence(sequence), digest })
}

pub fn vote(id: u64, kind: Kind, view: u64, sequence: u64, digest: Digest) -> Vote {
    let signature = sign(id, kind, view, sequence, digest);
    Vote { view: View(view), sequence: Sequence(sequence), digest, signature }
}

pub fn prepare(id: u64, view: u64, sequence: u64, digest: Digest) -> Message {
    Message::Prepare(vote(id, Kind::Prepare, view, sequence, digest))
}

pub fn commit(id: u64, view: u64, sequence: u64, digest: Digest) -> Message {
    Message::Commit(vote(id, Kind::Commit, view, sequence, digest))
}

pub fn checkpoint(id: u64, sequence: u64, digest: Digest) -> Message {
    Message::Checkpoint(vote(id, Kind::Checkpoint, 0, sequence, digest))
}

pub fn batch(requests: impl IntoIterator<Item = Request>) -> Batch {
    Batch::new(requests.into_iter().collect())
}

pub fn null() -> Digest {
    Batch::default().digest()
}

pub fn pre_prepare(id: u64, view: u64, sequence: u64, batch: Batch) -> Message {
    let digest = batch.digest();
    let signature = sign(id, Kind::PrePrepare, view, sequence, digest);
    Message::PrePrepare(PrePrepare {
        view: View(view),
        sequence: Sequence(sequence),
        digest,
        batch,
        signature,
    })
}

fn signers(ids: &[u64], kind: Kind, view: u64, sequence: u64, digest: Digest) -> Signers {
    Signers(ids.iter().map(|&id| (n(id), sign(id, kind, view, sequence, digest))).collect())
}

/// A prepared certificate of these backups, whoever they are.
pub fn prepared(primary: u64, view: u64, sequence: u64, digest: Digest, backups: &[u64]) -> Prepared {
    let pre_prepare = sign(primary, Kind::PrePrepare, view, sequence, digest);
    let prepares = signers(backups, Kind::Prepare, view, sequence, digest);
    Prepared { view: View(view), sequence: Sequence(sequence), digest, pre_prepare, prepares }
}

pub fn committed(view: u64, sequence: u64, digest: Digest, ids: &[u64]) -> Committed {
    let commits = signers(ids, Kind::Commit, view, sequence, digest);
    Committed { view: View(view), sequence: Sequence(sequence), digest, commits }
}

pub fn stable(sequence: u64, digest: Digest, ids: &[u64]) -> Stable {
    let votes = signers(ids, Kind::Checkpoint, 0, sequence, digest);
    Stable { sequence: Sequence(sequence), digest, votes }
}

pub fn view_change(id: u64, view: u64, stable: Stable, prepared: Vec<Prepared>) -> ViewChange {
    let mut change = ViewChange { node: n(id), view: View(view), stable, prepared, signature: NOTHING };
    change.signature = sign_for(GROUP, id, change.statement());
    change
}

/// A wish for a view of somebody who has prepared nothing.
pub fn wish(id: u64, view: u64) -> ViewChange {
    view_change(id, view, Stable::default(), Vec::new())
}

pub fn wishes(ids: &[u64], view: u64) -> Vec<ViewChange> {
    ids.iter().map(|&id| wish(id, view)).collect()
}

/// A NEW-VIEW with these proposals, all signed by `id`.
pub fn new_view(id: u64, view: u64, changes: Vec<ViewChange>, proposals: &[(u64, Digest)]) -> NewView {
    let proposal = |&(sequence, digest): &(u64, Digest)| {
        let signature = sign(id, Kind::PrePrepare, view, sequence, digest);
        Proposal { sequence: Sequence(sequence), digest, signature }
    };
    let proposals = proposals.iter().map(proposal).collect();
    let mut new_view = NewView { view: View(view), changes, proposals, signature: NOTHING };
    new_view.signature = sign_for(GROUP, id, new_view.statement());
    new_view
}

pub fn says(change: ViewChange) -> Message {
    Message::ViewChange(Box::new(change))
}

pub fn begins(new_view: NewView) -> Message {
    Message::NewView(Box::new(new_view))
}
