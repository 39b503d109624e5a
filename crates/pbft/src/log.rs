//! What is known of each place between the watermarks.

use crate::certificate::{Committed, Prepared, Signers};
use crate::digest::Digest;
use crate::keys::Signature;
use crate::message::{PrePrepare, Vote};
use crate::request::Batch;
use crate::statement::{Kind, Sequence, View};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use consensus_core::NodeId;

/// One place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// What the primary of a view put here; the newest that we took over.
    pub(crate) proposal: Option<Accepted>,
    /// The bodies of the digests that matter here.
    bodies: Vec<(Digest, Batch)>,
    /// Of each replica the newest PREPARE.
    pub(crate) prepares: Votes,
    /// Of each replica the newest COMMIT.
    pub(crate) commits: Votes,
    /// The certificate of the highest view. Entering another view does not change it. [B8]
    pub(crate) prepared: Option<Prepared>,
    /// The proof that nothing else is executed here.
    pub(crate) committed: Option<Committed>,
    /// In which turn of the resend timer it was last touched.
    pub(crate) touched: u64,
}

/// A PRE-PREPARE that was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) view: View,
    pub(crate) digest: Digest,
    pub(crate) signature: Signature,
}

/// Which phase a vote is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteKind {
    Prepare,
    Commit,
}

impl From<VoteKind> for Kind {
    fn from(kind: VoteKind) -> Self {
        match kind {
            VoteKind::Prepare => Self::Prepare,
            VoteKind::Commit => Self::Commit,
        }
    }
}

/// Of each replica its newest vote of a kind: so one that lies about views takes no more room than any other. [B5]
#[derive(Clone, Debug, Default)]
pub(crate) struct Votes {
    by_node: BTreeMap<NodeId, Vote>,
    /// Votes that came again.
    pub(crate) repeats: usize,
}

/// What became of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It is new.
    Fresh,
    /// It was known, or is older than what is known.
    Known,
    /// The same replica said something else in the same view: this.
    Contradicts(Vote),
}

impl Votes {
    /// What would become of a vote.
    pub(crate) fn weigh(&self, from: NodeId, vote: &Vote) -> Counted {
        match self.by_node.get(&from) {
            Some(known) if known.view == vote.view && known.digest != vote.digest => {
                Counted::Contradicts(*known)
            }
            Some(known) if known.view >= vote.view => Counted::Known,
            Some(_) | None => Counted::Fresh,
        }
    }

    pub(crate) fn count(&mut self, from: NodeId, vote: Vote) -> Counted {
        let weighed = self.weigh(from, &vote);
        match weighed {
            Counted::Fresh => drop(self.by_node.insert(from, vote)),
            Counted::Known => {
                let again = self.of(from).is_some_and(|known| known.view == vote.view);
                self.repeats += usize::from(again);
            }
            Counted::Contradicts(_) => {}
        }
        weighed
    }

    pub(crate) fn of(&self, node: NodeId) -> Option<&Vote> {
        self.by_node.get(&node)
    }

    /// Who says that, with the signatures.
    pub(crate) fn alike(&self, fits: impl Fn(NodeId, &Vote) -> bool) -> Signers {
        let fitting = self.by_node.iter().filter(|&(&node, vote)| fits(node, vote));
        Signers(fitting.map(|(&node, vote)| (node, vote.signature)).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.by_node.len()
    }
}

impl Entry {
    /// The votes of this kind.
    pub(crate) const fn votes(&self, kind: VoteKind) -> &Votes {
        match kind {
            VoteKind::Prepare => &self.prepares,
            VoteKind::Commit => &self.commits,
        }
    }

    pub(crate) const fn votes_mut(&mut self, kind: VoteKind) -> &mut Votes {
        match kind {
            VoteKind::Prepare => &mut self.prepares,
            VoteKind::Commit => &mut self.commits,
        }
    }

    /// Whether a vote adds nothing to a certificate that stands here. No certificate gives way but to one of a later view, so the
    /// vote will never be asked for. [B28]
    pub(crate) fn has_proven(&self, kind: VoteKind, vote: &Vote) -> bool {
        match kind {
            VoteKind::Prepare => self.prepared.as_ref().is_some_and(|prepared| {
                vote.view < prepared.view || (vote.view == prepared.view && vote.digest == prepared.digest)
            }),
            VoteKind::Commit => {
                self.committed.as_ref().is_some_and(|committed| vote.digest == committed.digest)
            }
        }
    }

    /// The body of a digest.
    pub(crate) fn body(&self, digest: Digest) -> Option<&Batch> {
        self.bodies.iter().find(|(known, _)| *known == digest).map(|(_, batch)| batch)
    }

    /// Keeps the body of a digest.
    pub(crate) fn keep(&mut self, digest: Digest, batch: Batch) {
        if self.body(digest).is_none() {
            self.bodies.push((digest, batch));
        }
    }

    /// All bodies.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = &Batch> {
        self.bodies.iter().map(|(_, batch)| batch)
    }

    /// Whether a body of this digest is of use.
    pub(crate) fn refers_to(&self, digest: Digest) -> bool {
        self.proposal.is_some_and(|accepted| accepted.digest == digest)
            || self.prepared.as_ref().is_some_and(|prepared| prepared.digest == digest)
            || self.committed.as_ref().is_some_and(|committed| committed.digest == digest)
    }

    /// Forgets bodies of digests that matter no more.
    pub(crate) fn tidy(&mut self) {
        let mut bodies = core::mem::take(&mut self.bodies);
        bodies.retain(|(digest, _)| self.refers_to(*digest));
        self.bodies = bodies;
    }

    /// A digest that matters and has no body here.
    pub(crate) fn lacks(&self) -> Option<Digest> {
        let committed = self.committed.as_ref().map(|committed| committed.digest);
        let wanted = committed.or_else(|| self.proposal.map(|accepted| accepted.digest))?;
        self.body(wanted).is_none().then_some(wanted)
    }

    /// What is to be executed here, once it is known.
    pub(crate) fn outcome(&self) -> Option<&Batch> {
        self.body(self.committed.as_ref()?.digest)
    }
}

impl Entry {
    /// The PRE-PREPARE that was taken over here beyond what the new view has put at the places up to `inherited`.
    pub(crate) fn taken_over(&self, sequence: Sequence, inherited: Sequence) -> Option<PrePrepare> {
        let Accepted { view, digest, signature } = self.proposal.filter(|_| sequence > inherited)?;
        let batch = self.body(digest)?.clone();
        Some(PrePrepare { view, sequence, digest, batch, signature })
    }
}
