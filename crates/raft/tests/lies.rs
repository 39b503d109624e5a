//! What no correct node says, one lie at a time: the clauses R26, R40, R54 and R55 of `spec.md`. All at once they are in
//! `hostile.rs`.

use crate::common::{Cluster, Diary, Disk, Envelope, RaftNode, n};
use consensus_core::memory::Outbox;
use consensus_core::{
    ConsensusAlgorithm, Epoch, Event, MAX_MEMBERS, Members, Node, NodeConfig, NodeId, Offence, Role, Slot,
};
use raft::{
    Append, AppendReply, Ballot, BallotReply, Config, Content, Entries, Entry, Message, Outcome, Position,
    Raft, ReadAnswer, ReadToken,
};

const LAST_TERM: u64 = 1 << 62;

fn at(term: u64, slot: u64) -> Position {
    Position { term: Epoch(term), slot: Slot(slot) }
}

fn heartbeat(term: u64) -> Message {
    append(term, Position::ZERO, &[])
}

fn append(term: u64, prev: Position, terms: &[u64]) -> Message {
    let entry = |&term: &u64| Entry { term: Epoch(term), content: Content::Noop };
    let entries: Entries = terms.iter().map(entry).collect();
    Message::Append(Append { term: Epoch(term), prev, commit: Slot(0), probe: 1, entries })
}

fn tell(cluster: &mut Cluster, from: NodeId, to: NodeId, message: Message) {
    cluster.deliver(Envelope { from, to, message });
}

fn epoch(cluster: &Cluster, id: NodeId) -> u64 {
    cluster.nodes[&id].status().epoch.0
}

/// A group of three that has decided something, its leader, and the others.
fn group() -> (Cluster, NodeId, NodeId, NodeId) {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.propose(leader, 1, b"x");
    cluster.run_for_ms(200);
    let [first, second] = cluster.others(leader)[..] else { panic!() };
    (cluster, leader, first, second)
}

fn serves(cluster: &mut Cluster) -> bool {
    cluster.run_for_ms(5_000);
    let [leader] = cluster.leaders()[..] else { return false };
    cluster.propose(leader, 1_000, b"after");
    cluster.settle();
    cluster.diary(leader).last().is_some_and(|(_, payload)| payload == "after")
}

fn answers(term: u64) -> [Message; 3] {
    let reply = BallotReply { term: Epoch(term), granted: false };
    let outcome = Outcome::Rejected { prev: Slot(1), hint: Position::ZERO };
    [
        Message::VoteReply(reply),
        Message::PreVoteReply(reply),
        Message::AppendReply(AppendReply { term: Epoch(term), probe: 0, outcome }),
    ]
}

fn commands(term: u64) -> [Message; 4] {
    let ballot = Ballot { term: Epoch(term), last: at(term - 1, 9) };
    [heartbeat(term), Message::Vote(ballot), Message::CalledVote(ballot), Message::PreVote(ballot)]
}

// tests [R54]
#[test]
fn a_term_from_the_far_future_draws_nobody_in() {
    let far_future = Offence::Impossible("its term is far in the future");
    let far = [(1 << 32) + 2, 1 << 40, LAST_TERM];
    let lies = far.map(|term| (commands(term).to_vec(), answers(term).to_vec()));
    for number in 0..commands(1).len() + answers(1).len() {
        let (mut cluster, leader, liar, other) = group();
        let is_answer = number >= commands(1).len();
        for (commands, answers) in &lies {
            let lie = commands.iter().chain(answers).nth(number).unwrap();
            tell(&mut cluster, liar, other, lie.clone());
            tell(&mut cluster, liar, leader, lie.clone());
        }
        // Towards the term of an answer they took one step for each.
        let bound = if is_answer { (far.len() as u64) << 32 } else { 0 } + 10;
        assert!(cluster.nodes.values().all(|node| node.status().epoch < Epoch(bound)), "{number}");
        let told = |&(_, peer, ref what): &(_, _, _)| peer == liar && *what == far_future;
        assert!(cluster.accusations.len() == 6 && cluster.accusations.iter().all(told), "{number}");
        assert!(serves(&mut cluster), "{number}");
    }
}

// tests [R54]
#[test]
fn members_who_were_told_different_lies_meet_again() {
    let (mut cluster, leader, liar, other) = group();
    cluster.crash(liar);
    // Each is believed, and one more makes a step that nobody else would believe at once.
    for steps in 1..=3 {
        tell(&mut cluster, liar, other, heartbeat(steps << 32));
    }
    assert_eq!(epoch(&cluster, other), 3 << 32);
    assert!(serves(&mut cluster));
    assert!(epoch(&cluster, leader) > 3 << 32);
}

// tests [R54]
#[test]
fn a_term_within_reach_is_believed_and_the_group_goes_on_in_it() {
    // A bit that flips in a message, below what is refused.
    let (mut cluster, leader, liar, other) = group();
    for node in [leader, other] {
        tell(&mut cluster, liar, node, Message::CalledVote(Ballot { term: Epoch(1 << 32), last: at(1, 1) }));
    }
    assert!(serves(&mut cluster));
    assert!(cluster.nodes.values().all(|node| node.status().epoch > Epoch(1 << 32)));
    assert_eq!(cluster.accusations, []);
}

// tests [R54]
#[test]
fn who_knows_no_term_believes_one_that_leaves_room_for_more() {
    let mut cluster = Cluster::new(3);
    tell(&mut cluster, n(1), n(3), heartbeat(LAST_TERM / 2 + 1));
    assert_eq!((epoch(&cluster, n(3)), cluster.accusations.len()), (0, 1));
    // An old group takes newcomers in.
    tell(&mut cluster, n(1), n(3), heartbeat(LAST_TERM / 2));
    tell(&mut cluster, n(1), n(2), heartbeat(LAST_TERM / 2));
    assert_eq!((epoch(&cluster, n(3)), cluster.accusations.len()), (LAST_TERM / 2, 1));
    // Its messages reach who is no newcomer no more, and the two go on without the third.
    tell(&mut cluster, n(2), n(1), Message::VoteReply(BallotReply { term: Epoch(1), granted: false }));
    assert!(serves(&mut cluster));
    assert!(epoch(&cluster, n(2)) > LAST_TERM / 2);
}

// tests [R54]
#[test]
fn nobody_campaigns_beyond_the_last_term() {
    let config = NodeConfig::<Raft>::new(n(1), Members::of([n(1)]), 1);
    let mut disk = Disk::default();
    let vote = raft::Record::Vote { term: Epoch(LAST_TERM), vote: None };
    consensus_core::Storage::append(&mut disk, consensus_core::WriteSeq(1), vote);
    let now = consensus_core::Time::ZERO;
    let mut node = Node::open(config, now, Outbox::default(), disk.crash(), Diary::default()).unwrap();
    for _ in 0..100 {
        let at = node.deadline().unwrap();
        node.handle(at, Event::Tick).unwrap();
    }
    assert_eq!((node.status().epoch, node.status().role), (Epoch(LAST_TERM), Role::Follower));
}

/// Two processes with the id of node 3: whatever is sent to it reaches both, and both answer.
struct Twins {
    cluster: Cluster,
    twin: RaftNode,
}

impl Twins {
    fn deliver_all(&mut self) {
        while let Some(envelope) = self.cluster.wire.pop_front() {
            if envelope.to == n(3) {
                let Envelope { from, message, .. } = envelope.clone();
                self.twin.handle(self.cluster.now, Event::Message { from, message }).unwrap();
                self.collect();
            }
            self.cluster.deliver(envelope);
        }
    }

    fn collect(&mut self) {
        for (to, message) in self.twin.network().sent.drain(..) {
            self.cluster.wire.push_back(Envelope { from: n(3), to, message });
        }
    }

    fn run_for_ms(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.cluster.now += std::time::Duration::from_millis(10);
            for id in (1..=3).map(n) {
                self.cluster.handle(id, Event::Tick);
            }
            self.twin.handle(self.cluster.now, Event::Tick).unwrap();
            self.collect();
            self.deliver_all();
        }
    }
}

// tests [R55]
#[test]
fn an_id_that_two_processes_share_is_seen_and_named() {
    let mut cluster = Cluster::new(3);
    cluster.handle(n(1), Event::Priority(consensus_core::Priority::High));
    let leader = cluster.elect();
    assert_ne!(leader, n(3));
    for number in 1..=3 {
        cluster.propose(leader, number, b"x");
        cluster.run_for_ms(100);
    }
    let config = NodeConfig::<Raft>::new(n(3), cluster.members.clone(), 77);
    let twin = Node::open(config, cluster.now, Outbox::default(), Disk::default(), Diary::default()).unwrap();
    let mut twins = Twins { cluster, twin };
    twins.run_for_ms(500);
    let denial = Offence::Impossible("it denies what it acknowledged");
    assert!(twins.cluster.accusations.contains(&(leader, n(3), denial.clone())));
    // It costs no more than an accusation or two for each heartbeat, and the group serves on.
    twins.run_for_ms(2_000);
    let accusations = twins.cluster.accusations.len();
    assert!(accusations < 100, "{accusations}");
    twins.cluster.propose(leader, 9, b"y");
    twins.deliver_all();
    assert_eq!(twins.cluster.diary(leader).len(), 4);
}

// tests [R55]
#[test]
fn a_member_that_lost_its_disk_is_named() {
    let (mut cluster, leader, lost, other) = group();
    cluster.crash(lost);
    cluster.disks.insert(lost, Disk::default());
    cluster.start(lost);
    cluster.run_for_ms(500);
    let denial = Offence::Impossible("it denies what it acknowledged");
    assert!(cluster.accusations.contains(&(leader, lost, denial)), "{:?}", cluster.accusations);
    assert!(cluster.accusations.iter().all(|(by, peer, _)| (*by, *peer) == (leader, lost)));
    cluster.propose(leader, 2, b"y");
    cluster.settle();
    assert_eq!(cluster.diary(other).len(), 2);
}

// tests [R55] [R14]
#[test]
fn a_refusal_from_before_the_acknowledgement_is_no_denial() {
    let (mut cluster, leader, follower, _) = group();
    let (term, probe) = (cluster.nodes[&leader].status().epoch, 1);
    let hint = Position::ZERO;
    let late = AppendReply { term, probe, outcome: Outcome::Rejected { prev: Slot(1), hint } };
    for _ in 0..10 {
        tell(&mut cluster, follower, leader, Message::AppendReply(late));
        cluster.run_for_ms(150);
        // It is not sent again and again what it refuses.
        assert!(cluster.wire.len() < 5);
    }
    assert_eq!(cluster.accusations, []);
}

// tests [R26] [R40]
#[test]
fn strangers_command_and_answer_nobody() {
    let (mut cluster, leader, follower, _) = group();
    let term = cluster.nodes[&leader].status().epoch;
    let before = cluster.nodes[&follower].status();
    let stranger = n(77);
    let outcome = Outcome::Accepted { matched: Slot(2) };
    let replies = [
        Message::TimeoutNow { term },
        Message::TransferDeclined { term },
        Message::VoteReply(BallotReply { term: Epoch(term.0 + 1), granted: true }),
        Message::PreVoteReply(BallotReply { term: Epoch(term.0 + 1), granted: false }),
        Message::AppendReply(AppendReply { term: Epoch(term.0 + 1), probe: 1, outcome }),
    ];
    for message in replies {
        for to in [leader, follower] {
            tell(&mut cluster, stranger, to, message.clone());
        }
    }
    cluster.settle();
    assert_eq!((cluster.leaders(), cluster.nodes[&follower].status()), (vec![leader], before));
    // Nor does a member command who does not lead.
    tell(&mut cluster, follower, leader, Message::TimeoutNow { term });
    cluster.settle();
    assert_eq!((cluster.leaders(), epoch(&cluster, leader)), (vec![leader], term.0));
}

// tests [R20]
#[test]
fn a_forged_answer_serves_no_read() {
    let (mut cluster, leader, asker, other) = group();
    cluster.isolate(leader);
    cluster.read(asker, 1);
    let answer = ReadAnswer::At(Slot(1));
    // It is neither known who asked, nor in which boot, nor how often.
    for (from, boot, round) in
        [(other, 0, 1), (leader, 0, 1), (leader, 1, 1), (leader, u64::MAX, u64::MAX), (n(77), 0, 0)]
    {
        let token = ReadToken { boot, round };
        tell(&mut cluster, from, asker, Message::ReadIndexReply { token, answer });
    }
    assert_eq!(cluster.reads_ready(asker), []);
    // A question of a stranger is not answered with an index.
    cluster.heal();
    cluster.wire.clear();
    tell(&mut cluster, n(77), leader, Message::ReadIndex(ReadToken { boot: 0, round: u64::MAX }));
    let is_refusal = |envelope: &Envelope| {
        matches!(envelope.message, Message::ReadIndexReply { answer: ReadAnswer::NotLeader, .. })
    };
    assert!(cluster.wire.iter().filter(|envelope| envelope.to == n(77)).all(is_refusal));
}

// tests [R26]
#[test]
fn appends_with_gaps_falling_terms_or_other_entries_below_the_commit_index_change_nothing() {
    let (mut cluster, leader, follower, _) = group();
    let (term, last) = (epoch(&cluster, leader), cluster.nodes[&follower].algorithm().last());
    let lies = [
        append(term, at(term, 9), &[term]),
        append(term + 1, at(term, 2), &[term + 1, term]),
        append(term, at(term + 1, 2), &[]),
        append(term, at(0, 0), &[0]),
        append(term + 1, at(0, 0), &[term + 1, term + 1, term + 1]),
        append(term + 1, at(term + 1, 1), &[]),
        append(term + 1, at(term + 1, 2), &[term + 1]),
        append(term, at(term, u64::MAX), &[]),
    ];
    for lie in lies {
        tell(&mut cluster, leader, follower, lie.clone());
        let node = &cluster.nodes[&follower];
        assert_eq!((node.algorithm().last(), node.status().decided), (last, Slot(2)), "{lie:?}");
    }
    assert!(serves(&mut cluster));
}

// tests [R26] [R36]
#[test]
fn a_group_is_born_with_members_that_can_elect() {
    // Nobody at all is not a birth, and zero is nobody: that node joins. [R56]
    let refused = [
        Members::of([]).with_learners([n(1)]),
        Members::of([n(1)]).with_witnesses([n(1)]),
        Members::of((1..=MAX_MEMBERS as u64 + 1).map(n)),
        Members::of((1..=MAX_MEMBERS as u64 - 1).map(n)).with_witnesses([n(1), n(2)]),
        Members::of([n(1)]).with_outgoing([n(2)]),
    ];
    for members in refused {
        assert!(Raft::validate(&Config::default(), &members).is_err(), "{members:?}");
    }
    // Named twice, a node is one; a learner that votes is a voter.
    let members = Members::of([n(2), n(1), n(2)]).with_learners([n(1), n(3), n(3)]);
    assert_eq!((members.voters(), members.learners()), (&[n(1), n(2)][..], &[n(3)][..]));
    assert!(Raft::validate(&Config::default(), &members).is_ok());
}

// tests [R26]
#[test]
fn members_that_make_no_sense_do_not_even_decode() {
    #[derive(serde::Serialize)]
    struct Lists([Vec<u64>; 4]);
    let lists: [[&[u64]; 4]; 7] = [
        [&[2, 1], &[], &[], &[]],
        [&[1, 1], &[], &[], &[]],
        [&[0, 1], &[], &[], &[]],
        [&[1], &[], &[1], &[]],
        [&[1], &[2], &[2], &[]],
        [&[1], &[], &[], &[2]],
        [&[1], &[], &[2], &[2]],
    ];
    for lists in lists {
        let bytes = consensus_core::wire::encode(&Lists(lists.map(<[u64]>::to_vec)));
        assert!(consensus_core::wire::decode::<Members>(&bytes, 1_000).is_err(), "{lists:?}");
    }
    let sound = consensus_core::wire::encode(&Lists([vec![1, 2], vec![], vec![3], vec![2]]));
    assert!(consensus_core::wire::decode::<Members>(&sound, 1_000).is_ok());
}
