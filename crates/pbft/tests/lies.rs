//! Attacks on a running group, one at a time: f of its members do what no correct one does, and nothing comes of it. What one message
//! can be is in `paper.rs` and `view_change.rs`; all at once are in `hostile.rs`.

use crate::common::lone::{Lone, commits};
use crate::common::signing::{
    batch, begins, checkpoint, commit, committed, new_view, null, pre_prepare, prepare, prepared, says,
    stable, view_change, wish, wishes,
};
use crate::common::{Cluster, Envelope, config, gateway, n, payload, request};
use consensus_core::Offence;
use pbft::{Batch, Config, Digest, Message, Proven, Request, Sequence, Stable, View, ViewChange};
use std::cell::RefCell;

/// Four replicas that have served requests 1 to 3; one of them is played by the test from now on.
fn group(liar: u64) -> Cluster {
    group_with(liar, config())
}

fn group_with(liar: u64, config: Config) -> Cluster {
    let mut cluster = Cluster::with(4, config);
    cluster.serve(1..=3);
    cluster.crash(liar);
    cluster
}

/// Whether the correct ones execute what a client asks them for, all alike.
fn serves(cluster: &mut Cluster) {
    cluster.propose_everywhere(1_000);
    cluster.run_for_ms(20_000);
    assert!(cluster.agreed().contains(&payload(1_000)));
}

fn is_equivocation(what: &Offence) -> bool {
    matches!(what, Offence::Equivocation(_))
}

// tests [B5] [B9] [B25]
#[test]
fn a_primary_that_tells_two_halves_two_things_splits_nobody() {
    for with_votes in [false, true] {
        let mut cluster = group(1);
        let (one, other) = (batch([request(10)]), batch([request(11)]));
        let (a, b) = (one.digest(), other.digest());
        [10, 11].into_iter().for_each(|number| cluster.propose_everywhere(number));
        cluster.settle();
        cluster.tell(1, 2, pre_prepare(1, 0, 4, one.clone()));
        cluster.tell(1, 3, pre_prepare(1, 0, 4, other.clone()));
        cluster.tell(1, 4, pre_prepare(1, 0, 4, other));
        if with_votes {
            // And commits what suits each.
            cluster.tell(1, 2, commit(1, 0, 4, a));
            cluster.tell(1, 3, commit(1, 0, 4, b));
        }
        cluster.settle();
        assert_eq!(cluster.executed(2), 3);
        // Whoever hears both has the proof.
        cluster.tell(1, 4, pre_prepare(1, 0, 4, one));
        assert!(is_equivocation(&cluster.offences(1)[0]));
        let evidence: Vec<_> = cluster.replica(4).evidence().copied().collect();
        assert!(
            evidence[0].is_proven(&Config { keys: crate::common::signing::keyring(n(2), 4), ..config() })
        );
        cluster.run_for_ms(10_000);
        serves(&mut cluster);
        let agreed = cluster.agreed();
        // Who lacks the body of what a view begins with may order the same again: sessions see to that.
        assert!([10, 11].iter().all(|&number| agreed.contains(&payload(number))));
    }
}

// tests [B9] [B1]
#[test]
fn two_liars_of_seven_who_say_everything_to_everybody_split_nobody() {
    let mut cluster = Cluster::new(7);
    [10, 11].into_iter().for_each(|number| cluster.propose_everywhere(number));
    cluster.settle_but(|envelope| !matches!(envelope.message, Message::Requests(_)));
    (1..=2).for_each(|liar| cluster.crash(liar));
    let batches = [10, 11].map(|number| batch([request(number)]));
    for to in 3..=7 {
        let (suits, does_not) = if to < 5 { (0, 1) } else { (1, 0) };
        for which in [suits, does_not] {
            let digest = batches[which].digest();
            cluster.tell(1, to, pre_prepare(1, 0, 1, batches[which].clone()));
            cluster.tell(2, to, prepare(2, 0, 1, digest));
            cluster.tell(1, to, commit(1, 0, 1, digest));
            cluster.tell(2, to, commit(2, 0, 1, digest));
        }
    }
    cluster.settle();
    for to in 3..=7 {
        assert_eq!(cluster.queue(to, "proven liars"), 2);
    }
    serves(&mut cluster);
    assert_eq!(cluster.agreed().len(), 3);
}

// tests [B13] [B18]
#[test]
fn a_request_that_no_client_made_is_held_back_and_the_primary_replaced() {
    let mut cluster = group(1);
    cluster.tell_all(1, &pre_prepare(1, 0, 4, batch([request(66)])));
    // Its own word, and its PREPARE, which a primary does not say, are not enough.
    cluster.tell_all(1, &Message::Requests(vec![request(66)]));
    cluster.run_for_ms(900);
    assert_eq!((cluster.executed(2), cluster.view(2)), (3, 0));
    cluster.run_for_ms(5_000);
    assert!(cluster.view(2) > 0);
    serves(&mut cluster);
    assert!(!cluster.agreed().contains(&payload(66)));
    // Where the primary is trusted as a gateway it may make requests up, and nothing else: all execute it alike.
    let mut cluster = group_with(1, gateway());
    cluster.tell_all(1, &pre_prepare(1, 0, 4, batch([request(66)])));
    cluster.settle();
    assert_eq!(cluster.agreed().last(), Some(&payload(66)));
}

// tests [B24]
#[test]
fn a_primary_that_ignores_one_client_is_replaced() {
    let mut cluster = group(1);
    cluster.propose_everywhere(500);
    for place in 4..=40 {
        cluster.propose_everywhere(place);
        cluster.settle();
        let batch = batch([request(place)]);
        let digest = batch.digest();
        cluster.tell_all(1, &pre_prepare(1, 0, place, batch));
        cluster.settle();
        cluster.tell_all(1, &commit(1, 0, place, digest));
        cluster.run_for_ms(450);
        assert!(cluster.view(2) > 0 || cluster.executed(2) == place, "everything else is executed at once");
    }
    assert_eq!((cluster.view(2) > 0, cluster.agreed().contains(&payload(500))), (true, true));
}

// tests [B12]
#[test]
fn a_null_request_in_a_view_is_refused_by_all() {
    let mut cluster = group(1);
    cluster.tell_all(1, &pre_prepare(1, 0, 4, Batch::default()));
    cluster.settle();
    assert_eq!((cluster.offences(1).len(), cluster.executed(2)), (3, 3));
    serves(&mut cluster);
}

/// Request 4 is prepared at replicas 1, 3 and 4 and committed nowhere, as far as they know; they want view 1, whose primary is the
/// liar. What they tell it.
fn at_the_mercy_of_the_second() -> (Cluster, Vec<ViewChange>) {
    let mut cluster = group_with(2, Config { checkpoint_interval: 3, window: 6, ..config() });
    cluster.propose_everywhere(4);
    cluster.settle_but(|envelope| matches!(envelope.message, Message::Commit(_)));
    let told = RefCell::new(Vec::new());
    cluster.run_but(1_050, |envelope| {
        if let Message::ViewChange(change) = &envelope.message
            && envelope.to == n(2)
        {
            told.borrow_mut().push((**change).clone());
        }
        matches!(envelope.message, Message::Commit(_) | Message::Prepare(_))
    });
    let mut told = told.into_inner();
    told.sort_by_key(|change| change.node);
    told.dedup_by_key(|change| change.node);
    assert!(told.iter().all(|change| change.view == View(1) && change.prepared.len() == 1), "{told:?}");
    assert_eq!(told.len(), 3);
    (cluster, told)
}

// tests [B21] [B22]
#[test]
fn a_new_view_that_drops_swaps_or_invents_begins_nowhere() {
    let digest = batch([request(4)]).digest();
    let lies: [&[(u64, Digest)]; 5] = [
        &[],
        &[(4, null())],
        &[(4, batch([request(5)]).digest())],
        &[(4, digest), (5, null())],
        &[(4, digest), (5, batch([request(5)]).digest())],
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let (mut cluster, told) = at_the_mercy_of_the_second();
        cluster.tell_all(2, &begins(new_view(2, 1, told, lie)));
        assert_eq!(cluster.offences(2).len(), 3, "{number}");
        assert!(cluster.nodes.values().all(|node| node.status().leader.is_none()));
        serves(&mut cluster);
        assert!(cluster.view(1) > 1);
    }
    // With q-1 wishes, or one of them twice.
    let (mut cluster, told) = at_the_mercy_of_the_second();
    let own = wish(2, 1);
    for changes in [told[..2].to_vec(), vec![told[0].clone(), own.clone(), own]] {
        cluster.tell_all(2, &begins(new_view(2, 1, changes, &[(4, digest)])));
    }
    assert_eq!(cluster.offences(2).len(), 6);
    serves(&mut cluster);
}

/// It may leave a correct one's wish out, and its own may tell of nothing: a quorum without both still knows.
// tests [B21] [B8]
#[test]
fn a_liar_that_tells_of_nothing_in_a_quorum_of_its_choice_undoes_nothing() {
    let (mut cluster, told) = at_the_mercy_of_the_second();
    let digest = batch([request(4)]).digest();
    // One of them had it committed and executed.
    let proven = Proven { certificate: committed(0, 4, digest, &[1, 3, 4]), batch: batch([request(4)]) };
    cluster.tell(1, 3, Message::Committed(Box::new(proven)));
    assert_eq!(cluster.executed(3), 4);
    for other in [1, 2] {
        let changes = vec![told[0].clone(), wish(2, 1), told[other].clone()];
        let mut changes = changes;
        changes.sort_by_key(|change| change.node);
        cluster.tell_all(2, &begins(new_view(2, 1, changes.clone(), &[(4, null())])));
        assert_eq!(cluster.offences(2).len(), 3 * other);
    }
    let changes = vec![told[0].clone(), wish(2, 1), told[2].clone()];
    cluster.tell_all(2, &begins(new_view(2, 1, changes, &[(4, digest)])));
    serves(&mut cluster);
    assert_eq!(cluster.agreed()[3], payload(4));
}

// tests [B7] [B9] [B2]
#[test]
fn votes_of_one_view_count_in_no_other() {
    let mut lone = Lone::new(4, 4, gateway());
    let batch = batch([request(1)]);
    let digest = batch.digest();
    // A quorum wanted view 4, whose primary is replica 1 again.
    for from in [2, 3] {
        lone.hear(from, prepare(from, 0, 1, digest));
        lone.hear(from, commit(from, 0, 1, digest));
    }
    lone.hear(1, begins(new_view(1, 4, wishes(&[1, 2, 3], 4), &[])));
    let said = lone.hear(1, pre_prepare(1, 4, 1, batch));
    assert_eq!(commits(&said), []);
    lone.hear(1, commit(1, 4, 1, digest));
    assert_eq!(lone.executed(), 0);
    for from in [2, 3] {
        // Said again as if it were of this view, with the signature of the other.
        let mut vote = crate::common::signing::vote(from, pbft::Kind::Prepare, 0, 1, digest);
        vote.view = View(4);
        lone.hear(from, Message::Prepare(vote));
        assert_eq!(lone.cluster.offences(from), [Offence::Forged]);
    }
    assert_eq!(commits(&lone.hear(2, prepare(2, 4, 1, digest))), [(4, 1, digest)]);
}

// tests [B5] [B6] [B14] [B15]
#[test]
fn whoever_votes_in_every_view_and_place_takes_no_more_room_than_others() {
    let small = Config { checkpoint_interval: 4, window: 16, max_open_requests: 64, ..config() };
    let mut cluster = group_with(4, small);
    for round in 1..=400_u64 {
        let digest = Digest::of(b"lie", &round.to_le_bytes());
        let (view, place) = (round * 4 * 1_000, round % 40 + if round % 7 == 0 { u64::MAX - 50 } else { 0 });
        cluster.tell(4, 1, prepare(4, view, place, digest));
        cluster.tell(4, 1, commit(4, view, place, digest));
        cluster.tell(4, 1, checkpoint(4, 4 * round, digest));
        cluster.tell(4, 1, says(wish(4, view)));
        cluster.tell(4, 1, pre_prepare(4, 4 * round + 3, place, batch([request(round)])));
        cluster.tell(4, 1, Message::Requests(vec![request(10_000 + round)]));
        cluster.tell(4, 1, Message::FetchBatch { sequence: Sequence(place), digest });
        cluster.tell(4, 1, Message::BatchIs { sequence: Sequence(place), batch: batch([request(round)]) });
        cluster.tell(4, 1, Message::FetchChunk { sequence: Sequence(place), index: 7 });
    }
    assert!(cluster.queue(1, "places in flight") <= 16);
    assert!(cluster.queue(1, "requests") <= 64);
    assert_eq!((cluster.view(1), cluster.records(1).len()), (0, 6), "nothing of it is written");
    serves(&mut cluster);
    assert_eq!(cluster.view(1), 0);
}

// tests [B15] [B4]
#[test]
fn a_checkpoint_with_the_word_of_f_plus_one_is_none() {
    let mut cluster = group(4);
    let lie = |ids: &[u64]| Message::Stable(Box::new(stable(128, Digest([6; 32]), ids)));
    for ids in [&[2, 4][..], &[4], &[2, 4, 4], &[4, 9, 10]] {
        cluster.tell_all(4, &lie(ids));
    }
    cluster.tell_all(4, &Message::Stable(Box::new(Stable { digest: Digest([6; 32]), ..Stable::default() })));
    assert_eq!(cluster.offences(4).len(), 15);
    // Votes of its own do nothing to the correct ones.
    cluster.tell_all(4, &checkpoint(4, 128, Digest([6; 32])));
    serves(&mut cluster);
    assert_eq!(cluster.view(1), 0);
}

// tests [B17]
#[test]
fn a_liar_among_those_who_are_asked_for_a_state_only_costs_time() {
    let small = Config { checkpoint_interval: 2, window: 4, chunk_bytes: 16, ..config() };
    let mut cluster = Cluster::with(4, small);
    cluster.isolate(4);
    cluster.serve(1..=11);
    cluster.heal();
    cluster.crash(1);
    // Whatever it is asked it answers with nonsense, and it tells that without being asked, too.
    let asked = RefCell::new(0_u64);
    for _ in 0..40 {
        let questions = RefCell::new(Vec::new());
        cluster.run_but(100, |envelope| {
            if envelope.to == n(1) && envelope.from == n(4) {
                questions.borrow_mut().push(envelope.message.clone());
            }
            false
        });
        for question in questions.into_inner() {
            if let Message::FetchChunk { sequence, index } = question {
                *asked.borrow_mut() += 1;
                cluster.tell(1, 4, Message::Chunk { sequence, index, bytes: vec![6; 16].into() });
            }
        }
        cluster.tell(1, 4, Message::Chunk { sequence: Sequence(10), index: 0, bytes: vec![6; 16].into() });
    }
    assert_eq!((cluster.executed(4), cluster.agreed().len()), (11, 11));
    assert!(cluster.offences(1).len() as u64 >= *asked.borrow());
}

// tests [B13]
#[test]
fn a_flood_of_one_replica_starves_nobody() {
    let small = Config { max_open_requests: 32, max_batch_requests: 4, max_in_flight_batches: 1, ..config() };
    let mut cluster = group_with(4, small);
    let flood = |round: u64| -> Vec<Request> { (0..50).map(|i| request(10_000 + 50 * round + i)).collect() };
    for round in 0..20 {
        cluster.tell_all(4, &Message::Requests(flood(round)));
        cluster.serve(10 + round..=10 + round);
        assert_eq!(cluster.agreed().last(), Some(&payload(10 + round)));
    }
    assert_eq!((cluster.agreed().len(), cluster.view(1)), (23, 0));
    // What it alone vouches for is forgotten after a while.
    cluster.run_for_ms(40_000);
    assert_eq!((cluster.queue(1, "requests"), cluster.view(1)), (0, 0));
}

/// Requests wait in memory: whoever crashes forgets them, and their clients may have given up.
// tests [B13] [B18]
#[test]
fn what_others_forgot_in_a_crash_does_not_hold_a_replica_up() {
    let mut cluster = group_with(3, Config { max_open_requests: 4, ..config() });
    (10..14).for_each(|number| cluster.propose_everywhere(number));
    cluster.settle_but(|envelope| envelope.to != n(4) || !matches!(envelope.message, Message::Requests(_)));
    assert_eq!(cluster.queue(4, "requests"), 4);
    for id in [1, 2] {
        cluster.crash(id);
        cluster.start(id);
    }
    // Alone it finds that nothing is executed, and can vouch for nothing more.
    cluster.run_for_ms(5_000);
    assert_eq!([1, 2, 4].map(|id| cluster.view(id)), [0, 0, 1]);
    cluster.run_for_ms(60_000);
    serves(&mut cluster);
}

/// A client that tells some at once and others much later is no reason to doubt a primary.
// tests [B24] [B13]
#[test]
fn a_client_that_takes_its_time_changes_no_view() {
    let mut cluster = group(4);
    for number in 10..=20 {
        cluster.propose(1, number);
        cluster.run_for_ms(9_000);
        cluster.propose(2, number);
        // The primary orders it, but that takes longer than it takes all to tell where they stand.
        cluster.run_but(150, |envelope| !matches!(envelope.message, Message::Requests(_)));
        cluster.run_for_ms(1_500);
    }
    assert_eq!((cluster.view(1), cluster.agreed().len()), (0, 14));
}

// tests [B19] [B20]
#[test]
fn a_liar_that_wants_views_moves_nobody() {
    let mut cluster = group(4);
    for view in 1..=200 {
        cluster.tell_all(4, &says(wish(4, view)));
        let digest = batch([request(1)]).digest();
        let lie = view_change(4, view, Stable::default(), vec![prepared(1, 0, 4, digest, &[4])]);
        cluster.tell_all(4, &says(lie));
    }
    cluster.tell_all(4, &says(wish(4, 1)));
    cluster.run_for_ms(5_000);
    assert_eq!((cluster.view(1), cluster.view(2), cluster.view(3)), (0, 0, 0));
    serves(&mut cluster);
    assert_eq!(cluster.view(1), 0);
}

/// Whatever is heard a second time, however old, changes nothing.
// tests [B23] [B11]
#[test]
fn everything_that_was_ever_said_said_again_does_no_harm() {
    let mut cluster = Cluster::with(4, Config { checkpoint_interval: 4, window: 8, ..config() });
    let said: RefCell<Vec<Envelope>> = RefCell::new(Vec::new());
    let listen = |envelope: &Envelope| {
        said.borrow_mut().push(envelope.clone());
        false
    };
    cluster.propose_everywhere(1);
    cluster.run_but(50, listen);
    cluster.cut.extend([(n(1), n(2)), (n(1), n(3)), (n(1), n(4))]);
    for number in 2..=12 {
        cluster.propose_everywhere(number);
        cluster.run_but(2_000, listen);
    }
    cluster.heal();
    cluster.run_but(2_000, listen);
    let (views, executed) = (cluster.view(2), cluster.executed(2));
    let before = cluster.agreed();
    assert!(views > 0 && before.len() == 12);
    for envelope in said.into_inner() {
        cluster.deliver(envelope);
    }
    cluster.settle();
    // Requests may be ordered again: that they are carried out once is a matter of their sessions.
    assert_eq!((cluster.view(2), cluster.executed(2) >= executed), (views, true));
    assert_eq!(cluster.agreed()[..12], before);
    assert_eq!(cluster.accusations, []);
}
