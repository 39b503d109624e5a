//! How runs of PBFT are configured, and what its Byzantine replicas know of it.

use super::pick;
use crate::suite::Tuning;
use ::pbft::{
    Ask, Batch, Config, Digest, Keyring, Kind, Message, Name, PrePrepare, Request, Scheme, Signature, Stable,
    Statement, ViewChange, Vote, Vouching,
};
use consensus_core::{Bytes, ClientId, NodeId, ProposalId};
use consensus_sim::{ByzantinePlan, Mutate, Mutator, Plan, Seal, Stream};
use core::fmt::Debug;
use core::time::Duration;

/// What signatures of simulated runs are bound to.
const GROUP: u64 = 7;
/// The most replicas of a run.
const MOST_NODES: u64 = 16;

/// PBFT with small timeouts, batches, windows and chunks, so that every limit is met.
pub fn pbft(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    if plan.byzantine.is_some() && draw.below(8) == 0 {
        plan.nodes = 10;
        plan.byzantine = Some(ByzantinePlan::draw(draw.number(), 10, 3));
    }
    // Three phases and a disk in each.
    let delay = plan.network.longest_delay(plan.hosts());
    let round = (delay + plan.burst) * 5 + plan.disk.sync * 4;
    let round_ms = u64::try_from(round.as_millis()).unwrap_or(u64::MAX);
    let resend_interval_ms = draw.between(10, 60).max(round_ms);
    let view_timeout_ms = resend_interval_ms * draw.between(3, 8);
    let checkpoint_interval = draw.pick(&[1, 2, 5, 16, 64]).copied().unwrap_or(16);
    let config = Config {
        keys: Keyring::new(StandIn::of(plan.nodes)),
        group: GROUP,
        view_timeout_ms,
        max_view_timeout_ms: view_timeout_ms * draw.between(4, 16),
        resend_interval_ms,
        checkpoint_interval,
        window: checkpoint_interval * draw.between(2, 4),
        max_in_flight_batches: draw.pick(&[1, 4, 64]).copied().unwrap_or(4),
        max_batch_requests: pick(draw, &[1, 4, 64]),
        max_batch_bytes: pick(draw, &[64, 1_000, 64_000]),
        max_open_requests: pick(draw, &[16, 64, 1_024]),
        chunk_bytes: pick(draw, &[100, 4_096, 256 << 10]),
        snapshot_after_bytes: draw.pick(&[0, 500, 5_000, 50_000]).copied().unwrap_or(0),
        ..Config::default()
    };
    if let Some(byzantine) = &mut plan.byzantine {
        byzantine.mutator = Some(Mutator::of::<Lies>());
    }
    let config = if draw.below(4) == 0 { signed(draw, plan, config) } else { config };
    // Several views in a row may bring nothing, each of up to the longest timeout.
    let patience = Duration::from_millis(5_000 + 8 * config.max_view_timeout_ms);
    Tuning { config, patience }
}

/// The same group, whose clients sign what they ask for.
fn signed(draw: &mut Stream, plan: &mut Plan, config: Config) -> Config {
    plan.workload.seal = Some(Seal::with(seal));
    let members = (1..=u64::from(plan.workload.clients.max(1))).map(ClientId::known).collect();
    Config {
        vouching: Vouching::Signed,
        clients: Keyring::new(StandIn { members }),
        max_open_per_client: pick(draw, &[1, 4, 16]),
        ..config
    }
}

fn seal(id: ProposalId, command: &Bytes) -> Bytes {
    let signature = StandIn::signature(id.client, &Ask::of(id, command).to_bytes(GROUP));
    Request::signed(id, command, &signature).payload().clone()
}

/// In place of signatures, so that a thousand runs take seconds: a digest that nobody makes under another's name, since no
/// misbehaviour that is simulated computes one. Real signatures are a matter of `pbft`'s own tests.
#[derive(Debug)]
pub struct StandIn<I = NodeId> {
    members: Vec<I>,
}

impl StandIn {
    /// Nodes 1 to `nodes`.
    #[must_use]
    pub fn of(nodes: usize) -> Self {
        Self { members: (1..=nodes as u64).map(NodeId).collect() }
    }
}

impl<I: Debug> StandIn<I> {
    fn signature(member: I, message: &[u8]) -> Signature {
        Signature { r: Digest::of(format!("stand-in of {member:?}").as_bytes(), message).0, s: [0; 32] }
    }
}

impl<I: Name> Scheme<I> for StandIn<I> {
    fn members(&self) -> &[I] {
        &self.members
    }

    fn signs_as(&self, member: I) -> bool {
        self.members.contains(&member)
    }

    fn sign(&self, member: I, message: &[u8]) -> Option<Signature> {
        self.signs_as(member).then(|| Self::signature(member, message))
    }

    fn verify(&self, member: I, message: &[u8], signature: &Signature) -> bool {
        self.signs_as(member) && Self::signature(member, message) == *signature
    }
}

/// Mutations that the messages' own structure suggests. What a replica signs itself it signs again; what others signed it
/// cannot. Requests are made up too: nobody else vouches for those, or no client has signed them.
pub enum Lies {}

impl Mutate for Lies {
    type Message = Message;

    fn mutate(message: &Message, choices: &mut Stream) -> Option<Message> {
        let lie = match message.clone() {
            Message::PrePrepare(message) => Message::PrePrepare(propose_otherwise(message, choices)),
            Message::Prepare(vote) => Message::Prepare(vote_otherwise(vote, choices)),
            Message::Commit(vote) => Message::Commit(vote_otherwise(vote, choices)),
            Message::Checkpoint(vote) => Message::Checkpoint(vote_otherwise(vote, choices)),
            Message::ViewChange(mut change) => {
                change_otherwise(&mut change, choices);
                Message::ViewChange(change)
            }
            Message::NewView(mut new_view) => {
                let place = choices.index(new_view.proposals.len());
                if choices.below(2) == 0 && !new_view.proposals.is_empty() {
                    new_view.proposals.remove(place);
                } else {
                    new_view.changes.pop();
                }
                Message::NewView(new_view)
            }
            Message::Status(mut status) => {
                status.executed.0 = near(status.executed.0, choices);
                status.stable.0 = near(status.stable.0, choices);
                status.view.0 = near(status.view.0, choices);
                Message::Status(status)
            }
            Message::Requests(mut requests) => {
                requests.reverse();
                requests.truncate(1 + choices.index(4));
                if choices.below(4) == 0 {
                    ask_otherwise(&mut requests, choices);
                }
                Message::Requests(requests)
            }
            Message::Committed(mut proven) => {
                proven.certificate.commits.0.pop();
                Message::Committed(proven)
            }
            Message::Stable(mut stable) => {
                stable.sequence.0 = near(stable.sequence.0, choices);
                Message::Stable(stable)
            }
            Message::State(mut manifest) => {
                manifest.slot.0 = near(manifest.slot.0, choices);
                if choices.below(2) == 0 {
                    manifest.batches.reverse();
                }
                Message::State(manifest)
            }
            Message::Batches { sequence, after, mut batches } => {
                let place = choices.index(batches.len());
                if let Some(batch) = batches.get_mut(place) {
                    let mut requests = batch.requests().to_vec();
                    requests.pop();
                    *batch = Batch::new(requests);
                }
                Message::Batches { sequence, after, batches }
            }
            Message::Chunk { sequence, index, bytes } => {
                let mut changed = bytes.to_vec();
                let place = choices.index(changed.len());
                if let Some(byte) = changed.get_mut(place) {
                    *byte = byte.wrapping_add(1);
                }
                Message::Chunk { sequence, index, bytes: changed.into() }
            }
            Message::FetchBatch { .. }
            | Message::BatchIs { .. }
            | Message::FetchState { .. }
            | Message::FetchBatches { .. }
            | Message::FetchChunk { .. } => return None,
        };
        Some(lie)
    }
}

fn near(number: u64, choices: &mut Stream) -> u64 {
    match choices.below(4) {
        0 => number.saturating_add(1),
        1 => number.saturating_sub(1),
        2 => number.saturating_add(choices.below(100)),
        _ => number,
    }
}

/// The signature on something else, by whoever made this one.
fn sign_again(said: Statement, signature: Signature, instead: Statement) -> Signature {
    let made = |node: &NodeId| StandIn::signature(*node, &said.to_bytes(GROUP)) == signature;
    let signer = (1..=MOST_NODES).map(NodeId).find(made);
    signer.map_or(signature, |node| StandIn::signature(node, &instead.to_bytes(GROUP)))
}

/// Something else in a client's name, another number of it or another client, with the signature that was there if one was.
fn ask_otherwise(requests: &mut [Request], choices: &mut Stream) {
    let place = choices.index(requests.len());
    let Some(request) = requests.get_mut(place) else { return };
    let (mut id, mut payload) = (request.id(), request.payload().to_vec());
    match choices.below(3) {
        0 => id.sequence = near(id.sequence, choices),
        1 => id.client = ClientId::from_bits(id.client.to_bits() ^ (1 + choices.below(3))),
        _ => payload.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1),
    }
    *request = Request::new(id, payload.into());
}

/// Another order of the same requests, fewer of them, others, or another place or view.
fn propose_otherwise(mut message: PrePrepare, choices: &mut Stream) -> PrePrepare {
    let statement = |message: &PrePrepare| Statement {
        kind: Kind::PrePrepare,
        view: message.view,
        sequence: message.sequence,
        digest: message.digest,
    };
    let said = statement(&message);
    let mut requests = message.batch.requests().to_vec();
    match choices.below(7) {
        0 => requests.reverse(),
        1 | 2 => requests.truncate(choices.index(requests.len())),
        3 => message.sequence.0 = near(message.sequence.0, choices),
        4 => message.view.0 = near(message.view.0, choices),
        5 => ask_otherwise(&mut requests, choices),
        _ => requests.extend(requests.clone()),
    }
    message.batch = Batch::new(requests);
    if choices.below(8) > 0 {
        message.digest = message.batch.digest();
    }
    message.signature = sign_again(said, message.signature, statement(&message));
    message
}

fn vote_otherwise(mut vote: Vote, choices: &mut Stream) -> Vote {
    let kinds = [Kind::Prepare, Kind::Commit, Kind::Checkpoint];
    let said = vote;
    match choices.below(4) {
        0 => vote.view.0 = near(vote.view.0, choices),
        1 => vote.sequence.0 = near(vote.sequence.0, choices),
        _ => vote.digest = Digest::of(b"another", &choices.number().to_le_bytes()),
    }
    for kind in kinds {
        let signature = sign_again(said.statement(kind), said.signature, vote.statement(kind));
        if signature != said.signature {
            vote.signature = signature;
        }
    }
    vote
}

/// It tells of less than it prepared, of an older checkpoint, of another view, or of certificates that prove nothing.
fn change_otherwise(change: &mut ViewChange, choices: &mut Stream) {
    let said = change.statement();
    let place = choices.index(change.prepared.len());
    match choices.below(6) {
        0 => change.prepared.clear(),
        1 if !change.prepared.is_empty() => drop(change.prepared.remove(place)),
        2 => change.stable = Stable::default(),
        3 => change.view.0 = near(change.view.0, choices),
        _ => {
            if let Some(prepared) = change.prepared.get_mut(place) {
                match choices.below(3) {
                    0 => prepared.digest = Digest::of(b"another", &[0]),
                    1 => prepared.view.0 = near(prepared.view.0, choices),
                    _ => drop(prepared.prepares.0.pop()),
                }
            }
        }
    }
    change.signature = sign_again(said, change.signature, change.statement());
}
