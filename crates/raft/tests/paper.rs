//! One test per clause of `spec.md`. Schedules with everything at once are in `schedules.rs`.

use crate::common::{Cluster, Diary, Envelope, n};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, Epoch, Event, Members, Node, NodeConfig, NodeError, NodeId, Offence, Refusal, Role, Slot, Storage,
    Time, WriteSeq,
};
use raft::{
    Append, AppendReply, Arrival, Ballot, BallotReply, Chunk, Config, Content, Digest, Entries, Entry,
    Message, Mode, Outcome, Position, Raft, Record,
};
use std::time::Duration;

fn at(term: u64, slot: u64) -> Position {
    Position { term: Epoch(term), slot: Slot(slot) }
}

fn entries(terms: &[u64]) -> Entries {
    let entry = |&term: &u64| Entry { term: Epoch(term), content: Content::Noop };
    terms.iter().map(entry).collect()
}

fn append(term: u64, prev: Position, commit: u64, terms: &[u64]) -> Message {
    Message::Append(Append {
        term: Epoch(term),
        prev,
        commit: Slot(commit),
        probe: u64::from(terms.is_empty()),
        entries: entries(terms),
    })
}

fn vote(term: u64, last: Position) -> Message {
    Message::Vote(Ballot { term: Epoch(term), last })
}

/// Node 1 of three, alone with what the test tells it.
struct Alone {
    cluster: Cluster,
}

impl Alone {
    fn new(hold: bool) -> Self {
        Self::with(Config { stable_leadership: false, ..Config::default() }, hold)
    }

    fn with(config: Config, hold: bool) -> Self {
        let mut cluster = Cluster::with(3, config, hold, 1);
        cluster.crash(n(2));
        cluster.crash(n(3));
        Self { cluster }
    }

    /// Hears it, and returns what it says to that.
    fn hear(&mut self, from: u64, message: Message) -> Vec<Message> {
        self.cluster.wire.clear();
        self.cluster.deliver(Envelope { from: n(from), to: n(1), message });
        self.said()
    }

    fn said(&mut self) -> Vec<Message> {
        self.cluster.wire.drain(..).map(|envelope| envelope.message).collect()
    }

    fn last(&self) -> Position {
        self.cluster.nodes[&n(1)].algorithm().last()
    }

    fn decided(&self) -> Slot {
        self.cluster.nodes[&n(1)].status().decided
    }

    fn restart(&mut self) {
        self.cluster.crash(n(1));
        self.cluster.start(n(1));
    }

    /// Makes it the leader of a term, by the vote of node 2.
    fn lead(&mut self) -> Epoch {
        while self.cluster.nodes[&n(1)].status().role != Role::Candidate {
            self.cluster.run_for_ms(10);
        }
        self.cluster.sync(n(1));
        let term = self.cluster.nodes[&n(1)].status().epoch;
        self.hear(2, Message::VoteReply(BallotReply { term, granted: true }));
        assert_eq!(self.cluster.leaders(), [n(1)]);
        term
    }

    fn acknowledge(&mut self, from: u64, term: Epoch, matched: u64, probe: u64) -> Vec<Message> {
        let outcome = Outcome::Accepted { matched: Slot(matched) };
        self.hear(from, Message::AppendReply(AppendReply { term, probe, outcome }))
    }
}

fn granted(replies: &[Message]) -> Option<bool> {
    match replies {
        [Message::VoteReply(reply) | Message::PreVoteReply(reply)] => Some(reply.granted),
        _ => None,
    }
}

fn matched(replies: &[Message]) -> Option<u64> {
    match replies {
        [.., Message::AppendReply(AppendReply { outcome: Outcome::Accepted { matched }, .. })] => {
            Some(matched.0)
        }
        _ => None,
    }
}

fn hint(replies: &[Message]) -> Option<Position> {
    match replies {
        [Message::AppendReply(AppendReply { outcome: Outcome::Rejected { hint, .. }, .. })] => Some(*hint),
        _ => None,
    }
}

// tests [R1]
#[test]
fn one_vote_per_term_durable_before_the_answer() {
    let mut alone = Alone::new(true);
    assert_eq!(alone.hear(2, vote(5, at(0, 0))), [], "the vote is not on disk yet");
    alone.cluster.sync(n(1));
    assert_eq!(granted(&alone.said()), Some(true));
    assert_eq!(granted(&alone.hear(3, vote(5, at(0, 0)))), Some(false));
    assert_eq!(granted(&alone.hear(2, vote(5, at(0, 0)))), Some(true), "the same vote may be told again");
    alone.restart();
    assert_eq!(granted(&alone.hear(3, vote(5, at(0, 0)))), Some(false), "a crash does not free the vote");
}

// tests [R1]
#[test]
fn the_own_vote_counts_when_it_is_durable() {
    let mut alone = Alone::new(true);
    alone.cluster.run_for_ms(600);
    assert!(alone.cluster.leaders().is_empty());
    assert_eq!(alone.said(), [], "nobody is asked before the own vote is on disk");
    alone.cluster.sync(n(1));
    assert!(alone.said().iter().all(|message| matches!(message, Message::Vote(_))));
    let term = alone.cluster.nodes[&n(1)].status().epoch;
    // The same voter twice is one vote, and so is a refusal none.
    let mut five = Cluster::with(5, Config { stable_leadership: false, ..Config::default() }, false, 1);
    (2..=5).for_each(|id| five.crash(n(id)));
    five.run_for_ms(600);
    let epoch = five.nodes[&n(1)].status().epoch;
    for (from, granted) in [(2, true), (2, true), (3, false)] {
        let message = Message::VoteReply(BallotReply { term: epoch, granted });
        five.deliver(Envelope { from: n(from), to: n(1), message });
    }
    assert!(five.leaders().is_empty());
    alone.hear(2, Message::VoteReply(BallotReply { term, granted: true }));
    assert_eq!(alone.cluster.leaders(), [n(1)]);
}

// tests [R2]
#[test]
fn a_vote_goes_to_a_log_that_is_at_least_as_up_to_date() {
    let mut alone = Alone::new(false);
    alone.hear(2, append(2, at(0, 0), 0, &[1, 2, 2]));
    assert_eq!(granted(&alone.hear(3, vote(3, at(2, 2)))), Some(false), "shorter");
    assert_eq!(granted(&alone.hear(3, vote(4, at(1, 9)))), Some(false), "longer, but of an older term");
    assert_eq!(granted(&alone.hear(3, vote(5, at(3, 1)))), Some(true), "of a later term, though shorter");
    assert_eq!(granted(&alone.hear(2, vote(6, at(2, 3)))), Some(true), "equal");
}

// tests [R3]
#[test]
fn a_higher_term_is_followed_and_a_lower_one_is_told_so() {
    let mut alone = Alone::new(false);
    let term = alone.lead();
    let outcome = Outcome::Rejected { prev: Slot(0), hint: at(0, 0) };
    alone.hear(2, Message::AppendReply(AppendReply { term: Epoch(term.0 + 5), probe: 0, outcome }));
    assert_eq!(alone.cluster.nodes[&n(1)].status().role, Role::Follower);
    assert_eq!(alone.cluster.nodes[&n(1)].status().epoch, Epoch(term.0 + 5));
    let replies = alone.hear(2, append(1, at(0, 0), 0, &[1]));
    let [Message::AppendReply(reply)] = replies[..] else { panic!("{replies:?}") };
    assert_eq!(reply.term, Epoch(term.0 + 5));
    assert_eq!(alone.last(), at(term.0, 1), "an old leader's entries are not taken");
}

// tests [R4]
#[test]
fn hearing_the_leader_does_not_clear_the_vote() {
    let mut alone = Alone::new(false);
    alone.hear(2, vote(5, at(0, 0)));
    alone.hear(2, append(5, at(0, 0), 0, &[]));
    assert_eq!(
        granted(&alone.hear(3, vote(5, at(9, 9)))),
        None,
        "the ballot is not even sound: its log is of term 9"
    );
    assert_eq!(granted(&alone.hear(3, vote(5, at(4, 9)))), Some(false));
    alone.restart();
    assert_eq!(granted(&alone.hear(3, vote(5, at(4, 9)))), Some(false));
}

// tests [R5]
#[test]
fn timeouts_differ_and_service_resumes_within_two_of_them() {
    for seed in 0..40 {
        let mut cluster = Cluster::with(3, Config::default(), false, seed);
        cluster.run_for_ms(800);
        let [leader] = cluster.leaders()[..] else {
            panic!("seed {seed}: no leader after the first timeouts")
        };
        cluster.run_for_ms(1_000);
        cluster.crash(leader);
        let deadlines: Vec<_> = cluster.nodes.values().filter_map(|node| node.deadline()).collect();
        assert_ne!(deadlines[0], deadlines[1]);
        cluster.run_for_ms(2_000);
        let [new] = cluster.leaders()[..] else { panic!("seed {seed}: no new leader within 2 T") };
        cluster.propose(new, 1, b"x");
        cluster.settle();
        assert_eq!(cluster.diary(new).len(), 1, "seed {seed}");
    }
}

// tests [R6]
#[test]
fn a_node_that_returns_does_not_disturb() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let term = cluster.nodes[&leader].status().epoch;
    let away = cluster.others(leader)[0];
    cluster.isolate(away);
    cluster.run_for_ms(10_000);
    assert_eq!(cluster.nodes[&away].status().epoch, term, "a pre-candidate does not raise its term");
    cluster.heal();
    cluster.run_for_ms(3_000);
    assert_eq!(cluster.leaders(), [leader]);
    assert_eq!(cluster.nodes[&leader].status().epoch, term);
}

// tests [R6]
#[test]
fn votes_are_refused_while_a_leader_is_heard_and_pre_votes_change_nothing() {
    let mut alone = Alone::with(Config::default(), false);
    alone.hear(2, append(3, at(0, 0), 0, &[3]));
    assert_eq!(alone.hear(3, vote(9, at(8, 8))), [], "a leader was just heard");
    assert_eq!(alone.cluster.nodes[&n(1)].status().epoch, Epoch(3));
    let pre_vote = Message::PreVote(Ballot { term: Epoch(9), last: at(8, 8) });
    assert_eq!(granted(&alone.hear(3, pre_vote.clone())), Some(false));
    alone.cluster.now += Duration::from_millis(1_001);
    assert_eq!(granted(&alone.hear(3, pre_vote.clone())), Some(true));
    assert_eq!(granted(&alone.hear(2, pre_vote)), Some(true), "a pre-vote is not a vote");
    assert_eq!(alone.cluster.nodes[&n(1)].status().epoch, Epoch(3));
    // An answer to a question of another term is not counted.
    alone.cluster.run_for_ms(600);
    assert_eq!(alone.cluster.nodes[&n(1)].status().role, Role::Candidate);
    alone.hear(2, Message::PreVoteReply(BallotReply { term: Epoch(2), granted: true }));
    assert_eq!(alone.cluster.nodes[&n(1)].status().epoch, Epoch(3));
    alone.hear(2, Message::PreVoteReply(BallotReply { term: Epoch(4), granted: true }));
    assert_eq!(alone.cluster.nodes[&n(1)].status().epoch, Epoch(4));
}

// tests [R31]
#[test]
fn a_leader_whose_connections_broke_is_replaced_at_once() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.crash(leader);
    for follower in cluster.others(leader) {
        cluster.handle(follower, Event::Suspect { peer: leader, suspected: true });
    }
    cluster.run_for_ms(200);
    let successors = cluster.leaders();
    assert!(successors.len() == 1 && successors != [leader], "{successors:?}");
}

// tests [R31]
#[test]
fn a_wrong_suspicion_changes_nothing() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let term = cluster.nodes[&leader].status().epoch;
    let follower = cluster.others(leader)[0];
    for _ in 0..20 {
        cluster.handle(follower, Event::Suspect { peer: leader, suspected: true });
        cluster.run_for_ms(150);
        assert_eq!(cluster.leaders(), [leader]);
    }
    cluster.handle(leader, Event::Suspect { peer: follower, suspected: true });
    cluster.handle(follower, Event::Suspect { peer: leader, suspected: false });
    cluster.run_for_ms(3_000);
    assert_eq!(cluster.leaders(), [leader]);
    assert!(cluster.nodes.values().all(|node| node.status().epoch == term), "no term was raised");
}

// tests [R7]
#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut cluster = Cluster::new(5);
    let leader = cluster.elect();
    let others = cluster.others(leader);
    cluster.crash(others[0]);
    cluster.crash(others[1]);
    cluster.run_for_ms(5_000);
    assert_eq!(cluster.leaders(), [leader], "it still hears two of four");
    cluster.crash(others[2]);
    cluster.run_for_ms(2_100);
    assert!(cluster.leaders().is_empty());
}

// tests [R8] [R17]
#[test]
fn a_new_leader_begins_with_a_no_op_and_slots_are_decided_in_order() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    assert_eq!(cluster.nodes[&leader].status().decided, Slot(1), "the no-op");
    for number in 1..=5 {
        cluster.propose(leader, number, b"x");
    }
    cluster.settle();
    for node in [1, 2, 3] {
        let slots: Vec<u64> = cluster.diary(n(node)).iter().map(|(slot, _)| *slot).collect();
        assert_eq!(slots, [2, 3, 4, 5, 6]);
    }
}

// tests [R9]
#[test]
fn an_append_needs_its_predecessor_and_a_refusal_skips_terms() {
    let mut alone = Alone::new(false);
    assert_eq!(hint(&alone.hear(2, append(4, at(4, 7), 7, &[4]))), Some(at(0, 0)), "a gap");
    assert_eq!(alone.decided(), Slot(0));
    assert_eq!(matched(&alone.hear(2, append(4, at(0, 0), 0, &[1, 2, 2, 2, 3]))), Some(5));
    let refused = alone.hear(3, append(6, at(5, 5), 0, &[6]));
    assert_eq!(
        hint(&refused),
        Some(at(2, 4)),
        "the last entry that is not younger than the one asked for, below it"
    );
    let refused = alone.hear(3, append(6, at(1, 4), 0, &[6]));
    assert_eq!(hint(&refused), Some(at(1, 1)), "all of term 2 is skipped");
    assert_eq!(alone.last(), at(3, 5));
}

// tests [R10]
#[test]
fn only_a_conflict_cuts_the_log() {
    let mut alone = Alone::new(false);
    alone.hear(2, append(4, at(0, 0), 0, &[1, 2, 2, 4]));
    assert_eq!(
        matched(&alone.hear(2, append(4, at(0, 0), 0, &[1, 2]))),
        Some(4),
        "a late append changes nothing"
    );
    assert_eq!(alone.last(), at(4, 4));
    assert_eq!(matched(&alone.hear(3, append(5, at(1, 1), 0, &[2, 5]))), Some(3));
    assert_eq!(alone.last(), at(5, 3));
    alone.hear(3, append(5, at(5, 3), 3, &[]));
    alone.hear(2, append(6, at(1, 1), 0, &[6, 6]));
    assert_eq!(alone.last(), at(5, 3), "what is committed is never cut");
    assert!(matches!(alone.cluster.accusations[..], [(_, _, Offence::Impossible(_))]));
    alone.restart();
    assert_eq!(alone.last(), at(5, 3), "the disk says the same");
}

// tests [R11]
#[test]
fn an_older_term_is_not_committed_by_counting() {
    // Figure 8: entries of term 1 are at a quorum, but only one of our own term may carry them.
    let mut alone = Alone::new(false);
    alone.hear(2, append(1, at(0, 0), 0, &[1, 1]));
    let term = alone.lead();
    alone.acknowledge(2, term, 2, 1);
    assert_eq!(alone.decided(), Slot(0));
    alone.acknowledge(2, term, 3, 1);
    assert_eq!(alone.decided(), Slot(3));
}

// tests [R12]
#[test]
fn nobody_counts_for_what_is_not_on_its_disk() {
    let mut alone = Alone::new(true);
    alone.hear(2, append(1, at(0, 0), 0, &[1, 1]));
    alone.cluster.sync(n(1));
    assert_eq!(matched(&alone.said()), Some(2));
    let term = alone.lead();
    assert!(alone.said().is_empty());
    // The append left before the own write was durable; the follower was faster.
    alone.acknowledge(2, term, 3, 1);
    assert_eq!(alone.decided(), Slot(0), "only one of three holds the no-op durably");
    alone.cluster.sync(n(1));
    assert_eq!(alone.decided(), Slot(3));
}

// tests [R13]
#[test]
fn a_follower_commits_only_what_it_has_verified() {
    let mut alone = Alone::new(false);
    alone.hear(2, append(1, at(0, 0), 0, &[1, 1, 1, 1]));
    // A new leader whose log agrees with ours up to slot 2, and that has committed four.
    alone.hear(3, append(2, at(1, 2), 4, &[]));
    assert_eq!(alone.decided(), Slot(2));
    alone.hear(3, append(2, at(1, 2), 4, &[2, 2]));
    assert_eq!(alone.decided(), Slot(4));
}

// tests [R14]
#[test]
fn stale_answers_change_nothing() {
    let mut alone = Alone::new(false);
    let term = alone.lead();
    alone.acknowledge(2, term, 1, 1);
    let before: Vec<_> = alone.cluster.nodes[&n(1)].algorithm().peers().collect();
    alone.acknowledge(2, term, 0, 1);
    let outcome = Outcome::Rejected { prev: Slot(0), hint: at(0, 0) };
    alone.hear(2, Message::AppendReply(AppendReply { term, probe: 1, outcome }));
    alone.acknowledge(2, Epoch(term.0 - 1), 1, 1);
    let after: Vec<_> = alone.cluster.nodes[&n(1)].algorithm().peers().collect();
    assert_eq!(before, after);
    assert_eq!((after[0].matched, after[0].next, after[0].mode), (Slot(1), Slot(2), Mode::Replicate));
}

// tests [R15]
#[test]
fn the_window_is_bounded_by_count_and_by_bytes() {
    for (appends, bytes, expected) in [(3, 1 << 20, 3), (100, 2 * 42, 2)] {
        let config = Config {
            stable_leadership: false,
            max_in_flight_appends: appends,
            max_in_flight_bytes: bytes,
            ..Config::default()
        };
        let mut alone = Alone::with(config, false);
        let term = alone.lead();
        alone.acknowledge(2, term, 1, 1);
        for number in 0..10 {
            alone.cluster.propose(n(1), number, b"0123456789");
        }
        let [peer, silent] = alone.cluster.nodes[&n(1)].algorithm().peers().collect::<Vec<_>>()[..] else {
            panic!()
        };
        assert_eq!((peer.in_flight, peer.in_flight_bytes), (expected, expected * 42));
        assert_eq!((silent.mode, silent.in_flight), (Mode::Probe, 0));
        // What is acknowledged makes room; the rest then leaves in one append.
        alone.acknowledge(2, term, 11, 1);
        let peer = alone.cluster.nodes[&n(1)].algorithm().peers().next().unwrap();
        assert_eq!((peer.in_flight, peer.in_flight_bytes), (0, 0), "the counters return to zero");
    }
}

// tests [R16]
#[test]
fn what_is_lost_is_sent_again() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let others = cluster.others(leader);
    cluster.cut.insert((leader, others[0]));
    cluster.propose(leader, 1, b"lost");
    cluster.settle();
    assert_eq!(cluster.diary(others[0]).len(), 0);
    cluster.heal();
    cluster.run_for_ms(201);
    assert_eq!(cluster.diary(others[0]).len(), 1);
    // One dead peer changes nothing for the others.
    cluster.crash(others[1]);
    cluster.propose(leader, 2, b"x");
    cluster.settle();
    assert_eq!(cluster.diary(leader).len(), 2);
}

// tests [R18]
#[test]
fn proposals_are_refused_by_name() {
    let config = Config {
        max_payload_bytes: 4,
        max_uncommitted_entries: 3,
        stable_leadership: false,
        ..Config::default()
    };
    let mut alone = Alone::with(config, false);
    alone.cluster.propose(n(1), 1, b"x");
    let term = alone.lead();
    alone.cluster.propose(n(1), 2, b"xxxxx");
    for number in 3..=5 {
        alone.cluster.propose(n(1), number, b"x");
    }
    alone.hear(2, append(term.0 + 1, at(0, 0), 0, &[]));
    alone.cluster.propose(n(1), 6, b"x");
    let expected = [
        (1, Refusal::NotLeader { hint: None }),
        (2, Refusal::TooLarge),
        (5, Refusal::Busy),
        (3, Refusal::Interrupted),
        (4, Refusal::Interrupted),
        (6, Refusal::NotLeader { hint: Some(n(2)) }),
    ];
    assert_eq!(alone.cluster.refusals(n(1)), expected);
}

// tests [R19]
#[test]
fn a_read_waits_for_the_own_term_and_for_a_probe_sent_after_it() {
    let mut alone = Alone::new(false);
    let term = alone.lead();
    alone.cluster.read(n(1), 1);
    alone.acknowledge(2, term, 0, 1);
    assert_eq!(alone.cluster.reads_ready(n(1)), [], "nothing of our own term is committed");
    let sent = alone.acknowledge(2, term, 1, 1);
    let probe = |message: &Message| if let Message::Append(append) = message { append.probe } else { 0 };
    let newest = sent.iter().map(probe).max().unwrap();
    alone.acknowledge(2, term, 1, newest - 1);
    assert_eq!(alone.cluster.reads_ready(n(1)), [], "that echo may be older than the read");
    alone.acknowledge(2, term, 1, newest);
    assert_eq!(alone.cluster.reads_ready(n(1)), [(1, Slot(1))]);
}

// tests [R20] [R21]
#[test]
fn any_node_serves_reads_while_it_knows_a_leader() {
    let mut cluster = Cluster::new(3);
    cluster.read(n(2), 1);
    assert_eq!(cluster.reads_refused(n(2)), [(1, Refusal::NotLeader { hint: None })]);
    let leader = cluster.elect();
    let [asker, other] = cluster.others(leader)[..] else { panic!() };
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    cluster.read(asker, 2);
    cluster.settle();
    assert_eq!(cluster.reads_ready(asker), [(2, Slot(2))]);
    assert_eq!(cluster.diary(asker).len(), 1);
    // A question that is lost is asked again.
    cluster.cut.insert((asker, leader));
    cluster.read(asker, 3);
    cluster.settle();
    cluster.heal();
    cluster.run_for_ms(101);
    assert_eq!(cluster.reads_ready(asker).len(), 2);
    // An answer to what an earlier boot asked answers nothing.
    cluster.read(asker, 4);
    let question = cluster.wire.pop_back().unwrap();
    cluster.crash(asker);
    cluster.start(asker);
    cluster.settle();
    cluster.run_for_ms(101);
    cluster.cut.insert((asker, leader));
    cluster.read(asker, 5);
    cluster.deliver(question);
    cluster.settle();
    assert_eq!(cluster.reads_ready(asker).len(), 2);
    // Leadership changes: who waits is told.
    cluster.heal();
    cluster.isolate(leader);
    cluster.read(leader, 6);
    cluster.run_for_ms(3_000);
    assert!(cluster.reads_refused(leader).contains(&(6, Refusal::NotLeader { hint: None })));
    assert!(cluster.reads_refused(asker).iter().any(|(read, _)| *read == 5));
    assert_eq!(cluster.reads_ready(other), []);
}

fn small_logs() -> Config {
    Config { retained_entries: 2, snapshot_chunk_bytes: 64, ..Config::default() }
}

// tests [R22] [R23] [R24]
#[test]
fn a_follower_behind_the_log_gets_the_snapshot_in_pieces() {
    let mut cluster = Cluster::with(3, small_logs(), false, 1);
    cluster.compact_after_bytes = 500;
    for id in 1..=3 {
        cluster.crash(n(id));
        cluster.start(n(id));
    }
    let leader = cluster.elect();
    let away = cluster.others(leader)[0];
    cluster.crash(away);
    for number in 1..=60 {
        cluster.propose(leader, number, b"0123456789");
        cluster.settle();
    }
    assert_eq!(cluster.nodes[&leader].algorithm().term_at(Slot(2)), None, "the log was cut");
    cluster.start(away);
    // Every third piece is lost on the way.
    let mut pieces = 0;
    for _ in 0..200 {
        cluster.now += Duration::from_millis(20);
        for id in 1..=3 {
            cluster.handle(n(id), Event::Tick);
        }
        while let Some(envelope) = cluster.wire.pop_front() {
            if let Message::Snapshot(chunk) = &envelope.message {
                assert!(chunk.data.len() <= 64);
                pieces += 1;
                if pieces % 3 == 0 {
                    continue;
                }
            }
            cluster.deliver(envelope);
        }
    }
    assert!(pieces > 5, "{pieces}");
    assert_eq!(cluster.diary(away), cluster.diary(leader));
    cluster.crash(away);
    cluster.start(away);
    assert!(cluster.nodes[&away].applied() > Slot(30), "the snapshot is on its disk");
}

// tests [R24]
#[test]
fn a_snapshot_keeps_a_log_that_agrees_with_it() {
    let mut alone = Alone::new(false);
    let chunk = |term: u64, through: Position, offset, data: &'static [u8], total| {
        let members = Members::of([n(1), n(2), n(3)]);
        Message::Snapshot(Box::new(Chunk {
            term: Epoch(term),
            through,
            digest: Digest::of(through, &members, data),
            members,
            total,
            offset,
            data: Bytes::from_static(data),
        }))
    };
    alone.hear(2, append(1, at(0, 0), 0, &[1, 1, 1]));
    assert_eq!(matched(&alone.hear(2, chunk(1, at(1, 2), 0, b"ab", 9))), Some(3));
    assert_eq!((alone.decided(), alone.last()), (Slot(2), at(1, 3)));
    // One that is at the committed index and conflicts is old news at best.
    assert_eq!(matched(&alone.hear(2, chunk(1, at(1, 1), 0, b"ab", 9))), Some(3));
    // [R23] Out of order, over the limit, longer than told: nothing is kept of it.
    let replies = alone.hear(2, chunk(1, at(1, 9), 4, b"ab", 9));
    assert!(matches!(replies[..], [Message::SnapshotReply(reply)] if reply.arrival == Arrival::Received(0)));
    alone.hear(2, chunk(1, at(1, 9), 0, b"ab", 1 << 40));
    alone.hear(2, chunk(1, at(1, 9), 0, b"ab", 1));
    assert_eq!(alone.cluster.accusations.len(), 2);
    assert_eq!(alone.last(), at(1, 3));
}

// tests [R25]
#[test]
fn a_restart_brings_everything_durable_back() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    for number in 1..=10 {
        cluster.propose(leader, number, b"x");
    }
    cluster.settle();
    let last = cluster.nodes[&leader].algorithm().last();
    for id in 1..=3 {
        cluster.crash(n(id));
    }
    for id in 1..=3 {
        cluster.start(n(id));
        assert_eq!(cluster.nodes[&n(id)].algorithm().last(), last);
        assert_eq!(cluster.diary(n(id)), [], "nothing is decided before a leader says so");
    }
    let leader = cluster.elect();
    assert_eq!(cluster.diary(leader).len(), 10);
}

// tests [R26]
#[test]
fn impostors_and_liars_are_accused_and_ignored() {
    let mut alone = Alone::new(false);
    alone.hear(2, append(3, at(0, 0), 0, &[3]));
    alone.hear(1, append(4, at(0, 0), 0, &[4]));
    alone.hear(3, append(3, at(0, 0), 0, &[3, 3]));
    alone.hear(2, append(u64::MAX, at(0, 0), 0, &[]));
    alone.hear(2, append(3, at(3, 1), 0, &[4]));
    alone.hear(2, append(3, at(0, 0), 0, &[3, 2]));
    let accused: Vec<NodeId> = alone.cluster.accusations.iter().map(|(_, peer, _)| *peer).collect();
    assert_eq!(accused, [n(1), n(3), n(2), n(2), n(2)]);
    assert_eq!(alone.last(), at(3, 1));
    // A leader is told of what it never sent.
    let term = alone.lead();
    alone.acknowledge(2, term, 77, 1);
    alone.acknowledge(2, term, 1, 77);
    assert_eq!(alone.cluster.accusations.len(), 7);
    assert_eq!(alone.decided(), Slot(0));
}

// tests [R27]
#[test]
fn idle_followers_learn_of_a_commit_at_once_if_so_configured() {
    for eager_commit in [true, false] {
        let mut cluster = Cluster::with(3, Config { eager_commit, ..Config::default() }, false, 1);
        let leader = cluster.elect();
        cluster.propose(leader, 1, b"x");
        cluster.settle();
        let follower = cluster.others(leader)[0];
        assert_eq!(cluster.diary(follower).len(), usize::from(eager_commit));
        cluster.run_for_ms(100);
        assert_eq!(cluster.diary(follower).len(), 1, "the next heartbeat tells");
    }
}

// tests [R29]
#[test]
fn a_single_node_serves_alone() {
    let mut cluster = Cluster::with(1, Config::default(), true, 1);
    cluster.run_for_ms(600);
    assert!(cluster.leaders().is_empty(), "its vote is not on disk");
    cluster.sync(n(1));
    assert_eq!(cluster.leaders(), [n(1)]);
    cluster.propose(n(1), 1, b"x");
    cluster.read(n(1), 1);
    assert_eq!(cluster.diary(n(1)).len(), 0);
    cluster.sync(n(1));
    assert_eq!(cluster.diary(n(1)).len(), 1);
    assert_eq!(cluster.reads_ready(n(1)).len(), 1);
}

// tests [R25]
#[test]
fn records_that_contradict_each_other_keep_a_node_from_starting() {
    let vote = |term| Record::Vote { term: Epoch(term), vote: None };
    let gap = Record::Entries { first: Slot(7), entries: entries(&[1]) };
    for records in [vec![vote(2), vote(1)], vec![vote(2), gap]] {
        let mut storage = MemoryStorage::default();
        for (seq, record) in (1..).map(WriteSeq).zip(records) {
            storage.append(seq, record);
        }
        let config = NodeConfig::<Raft>::new(n(1), Members::of([n(1)]), 1);
        let opened = Node::open(config, Time::ZERO, Outbox::default(), storage.crash(), Diary::default());
        assert!(matches!(opened.map(|_| ()), Err(NodeError::Restore(_))));
    }
}
