//! Evidence, and saying again what was lost, clause by clause: B25 and B26.

use crate::common::lone::{Lone, proposals};
use crate::common::signing::{
    batch, checkpoint, commit, keyring, pre_prepare, prepare, prepared, says, view_change, wish,
};
use crate::common::{Cluster, config, gateway, n, payload, request};
use consensus_core::Offence;
use pbft::{Config, Message, Sequence, Stable, View};

// tests [B25]
#[test]
fn contradicting_statements_are_evidence_that_a_third_party_can_check() {
    let (one, other) = (batch([request(1)]), batch([request(2)]));
    let (a, b) = (one.digest(), other.digest());
    let pairs = [
        (1, pre_prepare(1, 0, 1, one), pre_prepare(1, 0, 1, other)),
        (2, prepare(2, 0, 1, a), prepare(2, 0, 1, b)),
        (2, commit(2, 0, 1, a), commit(2, 0, 1, b)),
        (2, checkpoint(2, 128, a), checkpoint(2, 128, b)),
        (
            2,
            says(wish(2, 9)),
            says(view_change(2, 9, Stable::default(), vec![prepared(1, 0, 1, a, &[2, 3])])),
        ),
    ];
    let third_party = |group| Config { keys: keyring(n(3), 4), group, ..config() };
    for (liar, first, second) in pairs {
        let mut lone = Lone::new(4, 4, gateway());
        lone.hear(liar, first.clone());
        lone.hear(liar, first);
        assert_eq!(lone.accused(liar), 0);
        lone.hear(liar, second.clone());
        lone.hear(liar, second);
        assert!(lone.cluster.offences(liar).iter().all(|what| matches!(what, Offence::Equivocation(_))));
        assert_eq!(
            (lone.accused(liar), lone.cluster.queue(4, "proven liars")),
            (2, 1),
            "one for each member"
        );
        lone.restart();
        let evidence: Vec<_> = lone.cluster.replica(4).evidence().copied().collect();
        assert_eq!((evidence.len(), evidence[0].node), (1, n(liar)));
        assert!(evidence[0].is_proven(&third_party(7)) && !evidence[0].is_proven(&third_party(8)));
        // Nobody is convicted by what it did not sign, or by saying one thing twice.
        let mut slander = evidence[0];
        slander.node = n(3);
        assert!(!slander.is_proven(&third_party(7)));
        let mut harmless = evidence[0];
        harmless.second = harmless.first;
        assert!(!harmless.is_proven(&third_party(7)));
    }
    // What was said in two views contradicts nothing.
    let mut lone = Lone::new(4, 4, gateway());
    lone.hear(2, commit(2, 0, 1, a));
    lone.hear(2, commit(2, 4, 1, b));
    assert_eq!(lone.accused(2), 0);
}

// tests [B26]
#[test]
fn whatever_is_lost_is_said_again() {
    for lost in 0..60 {
        let mut cluster = Cluster::new(4);
        cluster.propose_everywhere(1);
        let mut delivered = 0;
        // Each message in turn, and everything that is on the wire then, too.
        while let Some(envelope) = cluster.wire.pop_front() {
            if delivered != lost {
                cluster.deliver(envelope);
            } else {
                cluster.wire.clear();
            }
            delivered += 1;
        }
        cluster.run_for_ms(900);
        assert_eq!(cluster.agreed(), [payload(1)], "{lost}");
        assert_eq!(cluster.view(1), 0);
    }
}

// tests [B26] [B18]
#[test]
fn a_view_change_of_which_each_message_may_be_lost_comes_to_an_end() {
    for lost in 0..20 {
        let mut cluster = Cluster::new(4);
        cluster.crash(1);
        cluster.propose_everywhere(1);
        let counted = std::cell::Cell::new(0);
        let is_change = |message: &Message| matches!(message, Message::ViewChange(_) | Message::NewView(_));
        cluster.run_but(8_000, |envelope| {
            let counts = is_change(&envelope.message);
            counted.set(counted.get() + u32::from(counts));
            counts && counted.get() == lost + 1
        });
        assert_eq!(cluster.agreed(), [payload(1)], "{lost}");
        assert!(cluster.view(2) >= 1);
    }
}

// tests [B26]
#[test]
fn who_asks_without_end_is_answered_a_bounded_number_of_times() {
    let mut cluster = Cluster::new(4);
    cluster.serve(1..=3);
    let status =
        pbft::Status { view: View(0), is_changing: true, stable: Sequence(0), executed: Sequence(0) };
    let mut answers = Vec::new();
    for _ in 0..100 {
        cluster.tell(4, 1, Message::Status(status));
        answers.extend(cluster.said(1, 4));
    }
    assert_eq!(answers.len(), 16 * 3, "three places, sixteen times");
    let (sequence, digest) = (Sequence(1), batch([request(1)]).digest());
    for _ in 0..200 {
        cluster.tell(4, 1, Message::FetchBatch { sequence, digest });
    }
    assert_eq!(cluster.said(1, 4).len(), 128, "bodies");
    // Another is answered, and so is this one after a while.
    cluster.tell(3, 1, Message::Status(status));
    assert_eq!(cluster.said(1, 3).len(), 3);
    cluster.run_for_ms(101);
    cluster.tell(4, 1, Message::Status(status));
    assert_eq!(cluster.said(1, 4).len(), 3);
    assert_eq!(proposals(&answers), []);
}

/// Replica 1 tells replica 4 alone of its last checkpoint, and is gone for good: of the others, who have that state, none can prove
/// that it is stable. Found by a simulated run in which a replica asked for such a state for ever.
// tests [B26] [B17]
#[test]
fn who_alone_can_prove_a_checkpoint_tells_those_who_have_its_state() {
    let mut cluster = Cluster::with(4, Config { checkpoint_interval: 2, window: 4, ..gateway() });
    for number in 1..=4 {
        cluster.propose(1, number);
        cluster.settle_but(|envelope| {
            let is_vote = matches!(envelope.message, Message::Checkpoint(_));
            let is_last =
                matches!(&envelope.message, Message::Checkpoint(vote) if vote.sequence == Sequence(4));
            if envelope.to == n(4) { !is_vote } else { is_last }
        });
    }
    assert_eq!(
        [1, 2, 3, 4].map(|id| (cluster.stable(id), cluster.executed(id))),
        [(2, 4), (2, 4), (2, 4), (0, 0)]
    );
    cluster.crash(1);
    cluster.run_for_ms(1_000);
    assert_eq!([2, 3, 4].map(|id| (cluster.stable(id), cluster.executed(id))), [(4, 4); 3]);
}
