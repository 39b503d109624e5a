//! Certificates: what a quorum has signed, for anybody to check.

use crate::config::Config;
use crate::digest::Digest;
use crate::keys::Signature;
use crate::message::{NewView, Proposal, ViewChange};
use crate::mutant::Mutant;
use crate::statement::{Kind, Sequence, Statement, View};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use consensus_core::{MAX_MEMBERS, NodeId, Offence, wire};
use serde::{Deserialize, Serialize};

/// Who signed, in ascending order, and the signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signers(
    #[serde(deserialize_with = "wire::at_most::<MAX_MEMBERS, _, _>")] pub Vec<(NodeId, Signature)>,
);

/// Whether a member signed that: by its key, or since it was found so before.
pub(crate) type Verify<'a> = &'a dyn Fn(NodeId, Statement, &Signature) -> bool;

impl Signers {
    /// Whether at least `quorum` distinct members other than `except` signed that, and nobody is named who did not. [B2] [B4]
    fn prove(&self, verify: Verify<'_>, statement: Statement, quorum: usize, except: Option<NodeId>) -> bool {
        let are_distinct = self.0.is_sorted_by(|(a, _), (b, _)| a < b);
        are_distinct
            && self.0.len() >= quorum
            && self
                .0
                .iter()
                .all(|(node, signature)| Some(*node) != except && verify(*node, statement, signature))
    }
}

/// A prepared certificate: the primary put a batch at a place, and enough backups took it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The view.
    pub view: View,
    /// The place.
    pub sequence: Sequence,
    /// The batch's digest.
    pub digest: Digest,
    /// The primary's signature on its PRE-PREPARE.
    pub pre_prepare: Signature,
    /// The backups' on their PREPAREs.
    pub prepares: Signers,
}

impl Prepared {
    /// Whether it is what it claims to be. [B7]
    pub(crate) fn is_proven(&self, config: &Config, verify: Verify<'_>) -> bool {
        let Self { view, sequence, digest, pre_prepare, prepares } = self;
        let statement = |kind| Statement { kind, view: *view, sequence: *sequence, digest: *digest };
        let primary = config.primary(*view);
        let is_proposed = primary.is_some_and(|node| verify(node, statement(Kind::PrePrepare), pre_prepare));
        is_proposed && prepares.prove(verify, statement(Kind::Prepare), config.prepares(), primary)
    }
}

/// A commit certificate: nothing else will ever be executed at this place.
// [B9]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The view.
    pub view: View,
    /// The place.
    pub sequence: Sequence,
    /// The batch's digest.
    pub digest: Digest,
    /// Who holds a prepared certificate.
    pub commits: Signers,
}

impl Committed {
    /// Whether it is what it claims to be.
    pub(crate) fn is_proven(&self, config: &Config) -> bool {
        let Self { view, sequence, digest, commits } = self;
        let statement = Statement { kind: Kind::Commit, view: *view, sequence: *sequence, digest: *digest };
        let verify = |node, statement, signature: &Signature| config.is_signed(node, statement, signature);
        commits.prove(&verify, statement, config.quorum(), None)
    }
}

/// A stable checkpoint: a quorum executed everything up to here, and came to this state.
// [B15]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stable {
    /// The last place; zero at the beginning, which needs no proof.
    pub sequence: Sequence,
    /// The state's digest ([`crate::Manifest::digest`]).
    pub digest: Digest,
    /// Who came to it.
    pub votes: Signers,
}

impl Stable {
    /// Whether it is what it claims to be.
    pub(crate) fn is_proven(&self, config: &Config) -> bool {
        let Self { sequence, digest, votes } = self;
        if *sequence == Sequence::ZERO {
            return *self == Self::default();
        }
        let statement =
            Statement { kind: Kind::Checkpoint, view: View::ZERO, sequence: *sequence, digest: *digest };
        let verify = |node, statement, signature: &Signature| config.is_signed(node, statement, signature);
        votes.prove(&verify, statement, config.stable_quorum(), None)
    }
}

impl ViewChange {
    /// Checks that it is the sender's.
    pub(crate) fn check_signature(&self, config: &Config) -> Result<(), Offence> {
        let is_signed = config.is_signed(self.node, self.statement(), &self.signature);
        if is_signed { Ok(()) } else { Err(Offence::Forged) }
    }

    /// Checks everything that it claims. [B19]
    pub(crate) fn check(&self, config: &Config, verify: Verify<'_>) -> Result<(), Offence> {
        self.check_signature(config)?;
        if config.plants(Mutant::CertificatesUnchecked) {
            return Ok(());
        }
        let (low, high) = (self.stable.sequence, config.high(self.stable.sequence));
        let is_in_order = self.prepared.is_sorted_by(|a, b| a.sequence < b.sequence);
        let is_in_place = |prepared: &Prepared| {
            prepared.view < self.view && low < prepared.sequence && prepared.sequence <= high
        };
        if self.view == View::ZERO || !is_in_order || !self.prepared.iter().all(is_in_place) {
            return Err(Offence::Malformed("a VIEW-CHANGE with certificates out of place"));
        }
        let is_proven = self.stable.is_proven(config)
            && self.prepared.iter().all(|prepared| prepared.is_proven(config, verify));
        if is_proven {
            Ok(())
        } else {
            Err(Offence::Malformed("a VIEW-CHANGE with a certificate that proves nothing"))
        }
    }
}

/// What a new view begins with: the stable checkpoint, and a digest for each place above it. [B21]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heritage {
    pub(crate) stable: Stable,
    pub(crate) digests: Vec<(Sequence, Digest)>,
}

impl Heritage {
    /// From the highest stable checkpoint to the highest place in any certificate: the digest of the certificate of the highest
    /// view, and where there is none, the null request.
    pub(crate) fn of(changes: &[ViewChange], config: &Config) -> Self {
        let stable = changes.iter().map(|change| &change.stable).max_by_key(|stable| stable.sequence);
        let stable = stable.cloned().unwrap_or_default();
        let mut best: BTreeMap<Sequence, &Prepared> = BTreeMap::new();
        for prepared in changes.iter().flat_map(|change| &change.prepared) {
            if prepared.sequence > stable.sequence {
                let known = best.entry(prepared.sequence).or_insert(prepared);
                if config.outranks(prepared, known) {
                    *known = prepared;
                }
            }
        }
        let null = crate::Batch::default().digest();
        let last = best.last_key_value().map_or(stable.sequence, |(&sequence, _)| sequence);
        let mut digests = Vec::new();
        let mut sequence = stable.sequence;
        while sequence < last && digests.len() < crate::message::MAX_WINDOW {
            sequence = sequence.next();
            let digest = best.get(&sequence).map(|prepared| prepared.digest);
            if digest.is_none() && config.plants(Mutant::NoNull) {
                continue;
            }
            let digest = digest.filter(|_| !config.plants(Mutant::NullForPrepared));
            digests.push((sequence, digest.unwrap_or(null)));
        }
        Self { stable, digests }
    }
}

impl NewView {
    /// Checks that it is of the view's primary, who is returned.
    pub(crate) fn check_signature(&self, config: &Config) -> Result<NodeId, Offence> {
        let Some(primary) = config.primary(self.view).filter(|_| self.view > View::ZERO) else {
            return Err(Offence::Malformed("a NEW-VIEW of the first view"));
        };
        let is_signed = config.is_signed(primary, self.statement(), &self.signature);
        if is_signed { Ok(primary) } else { Err(Offence::Forged) }
    }

    /// Checks everything that it claims, and that what it begins with is what follows. What `was_checked` before is not looked at
    /// again. [B22]
    pub(crate) fn check(
        &self,
        config: &Config,
        verify: Verify<'_>,
        was_checked: impl Fn(&ViewChange) -> bool,
    ) -> Result<(), Offence> {
        let primary = self.check_signature(config)?;
        let are_distinct = self.changes.is_sorted_by(|a, b| a.node < b.node);
        let are_for_it = self.changes.iter().all(|change| change.view == self.view);
        if !are_distinct || !are_for_it || self.changes.len() < config.quorum() {
            return Err(Offence::Malformed("a NEW-VIEW without a quorum for it"));
        }
        for change in self.changes.iter().filter(|change| !was_checked(change)) {
            change.check(config, verify)?;
        }
        let is_signed = |proposal: &Proposal| {
            let Proposal { sequence, digest, signature } = *proposal;
            let statement = Statement { kind: Kind::PrePrepare, view: self.view, sequence, digest };
            config.is_signed(primary, statement, &signature)
        };
        if !self.proposals.iter().all(is_signed) {
            return Err(Offence::Forged);
        }
        let proposed = self.proposals.iter().map(|proposal| (proposal.sequence, proposal.digest));
        let follows = proposed.eq(Heritage::of(&self.changes, config).digests);
        if follows || config.plants(Mutant::ProposalsNotRecomputed) {
            return Ok(());
        }
        Err(Offence::Malformed("a NEW-VIEW that does not follow from its proof"))
    }
}
