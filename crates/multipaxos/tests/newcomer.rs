//! Nodes that come late: the clauses P14 to P16 of `spec.md`.

use crate::common::{self, Envelope};
use consensus_core::{NodeId, Slot};
use multipaxos::{Config, Message, MultiPaxos, Tell};

type Cluster = common::Cluster<MultiPaxos>;

fn restart(cluster: &mut Cluster, nodes: &[NodeId], compact_after_bytes: u64) {
    cluster.compact_after_bytes = compact_after_bytes;
    for &id in nodes {
        cluster.crash(id);
        cluster.start(id);
    }
}

fn propose(cluster: &mut Cluster, leader: NodeId, numbers: core::ops::RangeInclusive<u64>) {
    for number in numbers {
        cluster.propose(leader, number, b"a line of some length");
    }
    cluster.settle();
}

/// Two of three have chosen 60 slots, of which the leader alone knows the last 20, and their snapshots hold less than 20. The third
/// knows nothing.
fn ahead() -> (Cluster, [NodeId; 3]) {
    let config = Config { retained_values: 0, max_accept_values: 20, ..Config::default() };
    let mut cluster = Cluster::with(3, config, false, 1);
    let all: Vec<_> = cluster.members.iter().collect();
    restart(&mut cluster, &all, 500);
    let leader = cluster.elect();
    let [late, heir] = cluster.others(leader)[..] else { panic!() };
    cluster.crash(late);
    propose(&mut cluster, leader, 1..=15);
    restart(&mut cluster, &[leader, heir], 64 << 20);
    let leader = cluster.elect();
    let heir = cluster.others(leader).into_iter().find(|&id| id != late).unwrap();
    propose(&mut cluster, leader, 16..=40);
    cluster.run_for_ms(200);
    for number in 41..=60 {
        cluster.propose(leader, number, b"a line of some length");
    }
    // What is on its way arrives, and nothing more.
    cluster.cut.insert((leader, heir));
    cluster.settle();
    for (id, decided) in [(leader, 60), (heir, 40)] {
        let node = &cluster.nodes[&id];
        assert_eq!(node.status().decided, Slot(decided));
        let is_cut_off = node.algorithm().accepted_in(Slot(1)).is_none();
        assert!(is_cut_off && node.algorithm().accepted_in(Slot(20)).is_some(), "a part is in a snapshot");
    }
    (cluster, [leader, heir, late])
}

// tests [P14] [P16]
#[test]
fn what_lies_behind_a_snapshot_is_asked_for_though_another_question_stays_unanswered() {
    let (mut cluster, [leader, heir, late]) = ahead();
    cluster.isolate(heir);
    cluster.start(late);
    let ballot = cluster.nodes[&leader].algorithm().promised();
    let tell = Tell { round: 0, configuration: 1, ballot, leader: None, happy: true, chosen: Slot(60) };
    cluster.wire.clear();
    cluster.deliver(Envelope { from: leader, to: late, message: Message::Tell(tell) });
    let questions: Vec<_> = cluster.wire.drain(..).collect();
    assert_eq!(questions.len(), 3, "{questions:?}");
    // The last question is lost, and whoever could answer it is gone.
    for question in questions.into_iter().take(2) {
        cluster.deliver(question);
    }
    let answers: Vec<_> = cluster.wire.drain(..).filter(|envelope| envelope.to == late).collect();
    assert!(matches!(answers[0].message, Message::Piece(_)) && answers.len() == 2, "{answers:?}");
    for answer in answers {
        cluster.deliver(answer);
    }
    cluster.crash(leader);
    cluster.heal();
    cluster.run_for_ms(5_000);
    assert_eq!(cluster.nodes[&late].status().decided, Slot(60));
    assert_eq!(cluster.diary(late), cluster.diary(heir));
}
