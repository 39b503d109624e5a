//! The door: every input goes to its handler, and those that are declined are named.

use crate::config::{Config, Vouching};
use crate::message::{Message, Vote};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::request::Request;
use crate::requests::Admitted;
use crate::state::Pbft;
use crate::statement::{Kind, Sequence, View};
use alloc::vec::Vec;
use bytes::Bytes;
use consensus_core::{
    Boot, ClientId, ConfigError, ConsensusAlgorithm, Effects, Faults, Guarantees, Input, Inspection, Members,
    Membership, NodeId, Offence, Problem, ProposalId, Reads, Refusal, Resilience, RestoreError, Status,
    Termination, Time, Timing,
};

/// The effect buffer.
pub(crate) type Out = Effects<Message, Record, Timer>;

/// Reasons to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// What may have been lost is said again.
    Resend,
    /// Nothing was executed for long, or a view does not begin.
    View,
}

impl ConsensusAlgorithm for Pbft {
    const NAME: &'static str = "pbft";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::Log,
        faults: Faults::Byzantine,
        resilience: Resilience::Third,
        timing: Timing::PartialSynchrony,
        termination: Termination::AfterStabilisation,
        reads: Reads::ThroughLog,
        membership: Membership::Static,
    };
    // Replicas compare their states: all take their snapshots at the same places. [B15]
    const ASKS_FOR_SNAPSHOTS: bool = true;
    type Config = Config;
    type Message = Message;
    type Record = Record;
    type Timer = Timer;

    fn validate(config: &Config, members: &Members) -> Result<(), ConfigError> {
        config.validate(members)
    }

    fn restore(boot: Boot<Self>, out: &mut Out) -> Result<Self, RestoreError> {
        Self::recover(boot, out)
    }

    fn step(&mut self, now: Time, input: Input<Message, Timer>, out: &mut Out) {
        self.now = now;
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Timer(Timer::Resend) => self.on_resend(now, out),
            Input::Timer(Timer::View) => self.on_view_timeout(out),
            Input::Propose { id, payload } => self.on_propose(now, id, payload, out),
            Input::Compact { through, snapshot } => self.on_compact(through, snapshot, out),
            // A read goes through the log, since one replica's word is worth nothing: the node makes a proposal of it.
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            Input::Reconfigure { id, .. } => out.refuse(id, Refusal::Unsupported),
            Input::Suspect { peer, suspected } => self.on_suspect(peer, suspected),
            // Primaries take turns, whatever anybody wishes; the gate waits for the disk; nothing is judged.
            Input::Durable(_) | Input::Transfer { .. } | Input::Priority(_) | Input::Judged { .. } => {}
        }
        self.tend_deadline(now, out);
    }

    fn flush(&mut self, now: Time, out: &mut Out) {
        self.look_at_held(out);
        self.pass_on(out);
        self.propose(out);
        self.tend_deadline(now, out);
    }

    fn status(&self) -> Status {
        self.observe()
    }

    fn inspect(&self) -> Inspection {
        self.show()
    }

    fn screen(config: &Config, from: NodeId, message: &Message) -> Result<(), Offence> {
        message.check(config, from)
    }

    fn name(_client: ClientId, number: u64, payload: &[u8]) -> ProposalId {
        Request::name(number, payload)
    }

    fn assert_invariants(&self) {
        self.check_invariants();
    }
}

impl Pbft {
    fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        if from == self.id || !self.members.is_voter(from) {
            return out.accuse(from, Offence::Stranger);
        }
        match message {
            Message::Requests(requests) => self.on_requests(now, from, requests, out),
            Message::PrePrepare(message) => self.on_pre_prepare(from, message, out),
            Message::Prepare(vote) => self.on_prepare(from, vote, out),
            Message::Commit(vote) => self.on_commit(from, vote, out),
            Message::Checkpoint(vote) => self.on_checkpoint(from, vote, out),
            Message::ViewChange(change) => self.on_view_change(from, *change, out),
            Message::NewView(new_view) => self.on_new_view(from, *new_view, out),
            Message::Status(status) => self.on_status(from, status, out),
            Message::Committed(proven) => self.on_committed(from, *proven, out),
            Message::Stable(stable) => self.on_stable(*stable, out),
            Message::FetchBatch { sequence, digest } => self.on_fetch_batch(from, sequence, digest, out),
            Message::BatchIs { sequence, batch } => self.on_body(sequence, batch, out),
            Message::FetchState { sequence } => self.on_fetch_state(from, sequence, out),
            Message::State(manifest) => self.on_manifest(from, *manifest, out),
            Message::FetchChunk { sequence, index } => self.on_fetch_chunk(from, sequence, index, out),
            Message::Chunk { sequence, index, bytes } => self.on_chunk(from, sequence, index, bytes, out),
            Message::FetchBatches { sequence, after } => self.on_fetch_batches(from, sequence, after, out),
            Message::Batches { sequence, after, batches } => {
                self.on_batches(from, sequence, after, batches, out);
            }
        }
    }

    /// [B13] A client of ours asks for something.
    fn on_propose(&mut self, now: Time, id: ProposalId, payload: Bytes, out: &mut Out) {
        if payload.len() > self.config.max_payload_bytes {
            return out.refuse(id, Refusal::TooLarge);
        }
        let (rules, request) = (self.rules(), Request::new(id, payload));
        // A read of ours would wait for vouchers whom nobody has asked; and others would not hear of what has another's name.
        let is_read = request.payload().is_empty() && !id.client.is_session() && !id.opens_session();
        let is_alone = is_read && rules.genuine > 1;
        let is_misnamed = self.config.vouching == Vouching::Named && !request.is_named();
        if is_alone || is_misnamed {
            return out.refuse(id, Refusal::Unsupported);
        }
        let config = &self.config;
        match self.requests.add(now, self.id, request, &rules, &|request| config.is_asked(request)) {
            Admitted::Counted | Admitted::Known => {}
            Admitted::Unasked => out.refuse(id, Refusal::Unsupported),
            Admitted::TooMany | Admitted::OverShare => out.refuse(id, Refusal::Busy),
        }
    }

    /// [B13] Another replica passes on what clients asked it for. What is too much is not listened to.
    fn on_requests(&mut self, now: Time, from: NodeId, requests: Vec<Request>, out: &mut Out) {
        let rules = self.rules();
        if self.config.vouching == Vouching::Signed && self.is_muted(from) {
            return;
        }
        for request in requests {
            let config = &self.config;
            match self.requests.add(now, from, request, &rules, &|request| config.is_asked(request)) {
                Admitted::Unasked => return self.mute(from, out),
                // The next one may be another client's.
                Admitted::Counted | Admitted::Known | Admitted::OverShare => {}
                Admitted::TooMany => break,
            }
        }
    }

    /// [B29] Whether the primary puts forward nothing but what clients have signed, where they sign.
    pub(crate) fn are_asked(&mut self, from: NodeId, requests: &[Request], out: &mut Out) -> bool {
        if self.config.vouching != Vouching::Signed {
            return true;
        }
        if self.is_muted(from) {
            return false;
        }
        let is_asked = |request: &Request| self.requests.knows(request) || self.config.is_asked(request);
        let are_asked = requests.iter().all(is_asked);
        if !are_asked {
            self.mute(from, out);
        }
        are_asked
    }
}

impl Message {
    /// What can be said of a message without knowing a replica's state: its shape, and who signed it. [B2] [B14]
    fn check(&self, config: &Config, from: NodeId) -> Result<(), Offence> {
        match self {
            Self::Requests(requests) => check_requests(config, requests),
            Self::PrePrepare(message) => {
                if config.primary(message.view) != Some(from) {
                    return Err(Offence::Impossible("a PRE-PREPARE of somebody who is not the primary"));
                }
                if message.sequence == Sequence::ZERO {
                    return Err(Offence::Malformed("a PRE-PREPARE before the first place"));
                }
                let is_body = message.batch.digest() == message.digest;
                if !is_body && !config.plants(Mutant::BodyUnchecked) {
                    return Err(Offence::Malformed("a PRE-PREPARE whose digest is not its batch's"));
                }
                check_requests(config, message.batch.requests())?;
                let (view, sequence, digest) = (message.view, message.sequence, message.digest);
                let vote = Vote { view, sequence, digest, signature: message.signature };
                vote.check(config, from, Kind::PrePrepare)
            }
            Self::Prepare(vote) if config.primary(vote.view) == Some(from) => {
                Err(Offence::Impossible("a PREPARE of the primary"))
            }
            // They are many, and some are never counted: their signatures are checked where they would be. [B28]
            Self::Prepare(_) | Self::Commit(_) => Ok(()),
            Self::Checkpoint(vote) => {
                if vote.view != View::ZERO || !config.is_checkpoint(vote.sequence) {
                    return Err(Offence::Malformed("a CHECKPOINT where none is taken"));
                }
                vote.check(config, from, Kind::Checkpoint)
            }
            Self::ViewChange(change) if change.node != from => {
                Err(Offence::Impossible("a VIEW-CHANGE of somebody else"))
            }
            // The proofs in them are looked at only if they are news.
            Self::ViewChange(change) => change.check_signature(config),
            Self::NewView(new_view) => new_view.check_signature(config).map(drop),
            Self::Committed(proven) if proven.certificate.is_proven(config) => Ok(()),
            Self::Stable(stable) if stable.is_proven(config) => Ok(()),
            Self::Committed(_) | Self::Stable(_) => {
                Err(Offence::Malformed("a certificate that proves nothing"))
            }
            Self::State(manifest) => {
                let is_consistent = config.chunks(manifest.length) == manifest.chunks.len() as u64;
                if is_consistent {
                    Ok(())
                } else {
                    Err(Offence::Malformed("a state with other chunks than its length has"))
                }
            }
            Self::Chunk { bytes, .. } if bytes.len() > config.chunk_bytes => {
                Err(Offence::Malformed("a chunk that is too long"))
            }
            Self::Batches { batches, .. } => {
                batches.iter().try_for_each(|batch| check_requests(config, batch.requests()))
            }
            Self::Status(_)
            | Self::FetchBatches { .. }
            | Self::FetchBatch { .. }
            | Self::BatchIs { .. }
            | Self::FetchState { .. }
            | Self::FetchChunk { .. }
            | Self::Chunk { .. } => Ok(()),
        }
    }
}

impl Vote {
    fn check(&self, config: &Config, from: NodeId, kind: Kind) -> Result<(), Offence> {
        let is_signed = config.is_signed(from, self.statement(kind), &self.signature);
        if is_signed { Ok(()) } else { Err(Offence::Forged) }
    }
}

fn check_requests(config: &Config, requests: &[Request]) -> Result<(), Offence> {
    if requests.iter().any(|request| request.payload().len() > config.max_payload_bytes) {
        return Err(Offence::Malformed("a request over the configured limit"));
    }
    // [B27]
    let is_misnamed = |request: &Request| config.vouching == Vouching::Named && !request.is_named();
    if requests.iter().any(is_misnamed) && !config.plants(Mutant::NamesUnchecked) {
        return Err(Offence::Malformed("a request under the name of another one"));
    }
    Ok(())
}
