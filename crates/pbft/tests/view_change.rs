//! View changes, clause by clause: B18 to B24.

use crate::common::lone::{Lone, changes, commits, prepares, wanted};
use crate::common::signing::{
    batch, begins, commit, new_view, null, pre_prepare, prepare, prepared, says, stable, view_change, wish,
    wishes,
};
use crate::common::{config, gateway, n, payload, request};
use consensus_core::{Event, Role};
use pbft::{Config, Digest, Message, NewView, Record, Sequence, Stable, View, ViewChange};

// tests [B18]
#[test]
fn a_backup_waits_for_something_to_be_executed_if_anything_is_proposed_or_ready() {
    // Nothing to wait for.
    let mut lone = Lone::new(4, 4, config());
    assert_eq!(wanted(&lone.wait(10_000)), []);
    // A request that too few vouch for is nothing, for however long.
    lone.ask(1);
    assert_eq!(wanted(&lone.wait(10_000)), []);
    // With 2f+1 vouchers the primary is to order it: a timeout later, and no earlier.
    for from in [2, 3] {
        lone.hear(from, Message::Requests(vec![request(1)]));
    }
    assert_eq!(wanted(&lone.wait(999)), []);
    assert_eq!(wanted(&lone.wait(2)), [1]);
    // What is proposed; and what is held back, since it may be made up.
    for number in [1, 2] {
        let mut lone = Lone::new(4, 4, config());
        lone.ask(1);
        lone.hear(1, pre_prepare(1, 0, 1, batch([request(number)])));
        assert_eq!(wanted(&lone.wait(999)), []);
        assert_eq!(wanted(&lone.wait(2)), [1]);
    }
    // A primary does not doubt itself.
    let mut primary = Lone::new(1, 4, gateway());
    primary.ask(1);
    assert_eq!(wanted(&primary.wait(10_000)), []);
}

fn suspect(lone: &mut Lone, peer: u64, suspected: bool) {
    lone.cluster.handle(n(4), Event::Suspect { peer: n(peer), suspected });
}

// tests [B18]
#[test]
fn a_primary_that_is_suspected_is_not_waited_for_but_not_for_ever() {
    let mut lone = Lone::new(4, 4, gateway());
    (1..=3).for_each(|peer| suspect(&mut lone, peer, false));
    suspect(&mut lone, 2, true);
    suspect(&mut lone, 1, true);
    assert_eq!(wanted(&lone.wait(500)), [], "there is nothing to wait for");
    suspect(&mut lone, 1, false);
    lone.ask(1);
    assert_eq!(wanted(&lone.wait(500)), [], "the suspicion was wrong, and the other one is no primary");
    suspect(&mut lone, 1, true);
    assert_eq!(wanted(&lone.wait(1)), [1]);
    // The next one is suspected too; and then it is enough.
    lone.hear(2, begins(new_view(2, 1, wishes(&[1, 2, 3], 1), &[])));
    assert_eq!((lone.view(), wanted(&lone.wait(1))), (1, vec![2]));
    suspect(&mut lone, 3, true);
    lone.hear(3, begins(new_view(3, 2, wishes(&[1, 2, 3], 2), &[])));
    assert_eq!((lone.view(), wanted(&lone.wait(3_900))), (2, vec![]));
    assert_eq!(wanted(&lone.wait(120)), [3], "after four timeouts");
}

// tests [B18]
#[test]
fn a_primary_that_was_never_there_is_waited_for() {
    // Whoever has just started suspects everybody, and has a client before it has a connection.
    let mut lone = Lone::new(4, 4, gateway());
    (1..=3).for_each(|peer| suspect(&mut lone, peer, true));
    lone.ask(1);
    assert_eq!(wanted(&lone.wait(999)), []);
    assert_eq!(wanted(&lone.wait(2)), [1]);
}

// tests [B18]
#[test]
fn whatever_is_executed_begins_the_wait_anew() {
    let mut lone = Lone::new(4, 4, gateway());
    lone.ask(10);
    for place in 1..=5 {
        assert_eq!(wanted(&lone.wait(900)), []);
        lone.come_to_commit(1, 0, place, place, &[2, 3]);
    }
    assert_eq!(wanted(&lone.wait(999)), []);
    assert_eq!(wanted(&lone.wait(2)), [1]);
}

// tests [B18]
#[test]
fn whoever_wants_a_view_waits_only_from_when_a_quorum_wants_it_and_twice_as_long() {
    let mut lone = Lone::new(4, 4, gateway());
    lone.ask(1);
    lone.wait(1_001);
    assert_eq!(lone.view(), 1);
    // Alone, and with one more, it goes no further.
    lone.hear(1, says(wish(1, 1)));
    lone.wait(60_000);
    assert_eq!(lone.view(), 1);
    let mut timeout = 2_000;
    for view in 1..=6 {
        for from in [1, 2] {
            lone.hear(from, says(wish(from, view)));
        }
        if lone.view() == view && view % 4 != 3 {
            lone.wait(timeout - 1);
            assert_eq!(lone.view(), view, "not yet");
            lone.wait(2);
            assert_eq!(lone.view(), view + 1, "after {timeout}");
            timeout = (2 * timeout).min(16_000);
        } else {
            // Our own view: it began, and we are its primary.
            assert_eq!(lone.cluster.nodes[&n(4)].status().role, Role::Leader);
            break;
        }
    }
}

// tests [B18]
#[test]
fn the_timeout_doubles_up_to_its_bound_and_falls_back_when_something_is_executed() {
    // Replica 4 of seven, whose view is the fourth: before that others are to begin.
    let mut lone = Lone::new(7, 7, Config { max_view_timeout_ms: 3_000, ..gateway() });
    lone.ask(1);
    lone.wait(1_001);
    for (view, timeout) in [(1, 2_000), (2, 3_000), (3, 3_000)] {
        for from in [1, 2, 3, 4] {
            lone.hear(from, says(wish(from, view)));
        }
        lone.wait(timeout - 1);
        assert_eq!(lone.view(), view);
        lone.wait(2);
        assert_eq!(lone.view(), view + 1);
    }
    lone.hear(5, begins(new_view(5, 4, wishes(&[1, 2, 3, 4, 5], 4), &[])));
    lone.come_to_commit(5, 4, 1, 2, &[1, 2, 3]);
    assert_eq!(lone.executed(), 1);
    lone.wait(999);
    assert_eq!(lone.view(), 4);
    lone.wait(2);
    assert_eq!(lone.view(), 5);
}

// tests [B19]
#[test]
fn who_wants_a_view_tells_what_it_prepared_and_takes_part_in_no_lower_one() {
    let mut lone = Lone::new(4, 4, gateway());
    let first = lone.come_to_prepare(1, 0, 1, 1, &[2]);
    let third = lone.come_to_prepare(1, 0, 3, 3, &[3]);
    lone.come_to_prepare(1, 0, 2, 2, &[]);
    let said = lone.wait(1_001);
    let change = changes(&said).remove(0);
    let told: Vec<_> = change.prepared.iter().map(|one| (one.sequence.0, one.digest)).collect();
    assert_eq!(
        (change.view, told, change.stable),
        (View(1), vec![(1, first), (3, third)], Stable::default())
    );
    assert!(lone.cluster.records(4).contains(&Record::ViewChange(Box::new(changes(&said).remove(0)))));
    // In the old view it prepares nothing more, nor commits.
    let second = batch([request(2)]).digest();
    assert_eq!(commits(&lone.hear(3, prepare(3, 0, 2, second))), []);
    assert_eq!(lone.hear(1, pre_prepare(1, 0, 4, batch([request(4)]))), []);
    // But it learns what others commit.
    for from in [1, 2, 3] {
        lone.hear(from, commit(from, 0, 1, first));
    }
    assert_eq!(lone.executed(), 1);
}

/// What a VIEW-CHANGE must not claim, with the reason.
fn bad_changes(from: u64) -> Vec<(&'static str, ViewChange)> {
    let digest = batch([request(1)]).digest();
    let with = |prepared| view_change(from, 2, Stable::default(), prepared);
    let sound = || prepared(1, 0, 1, digest, &[2, 3]);
    let at = |state: Stable, place| view_change(from, 2, state, vec![prepared(1, 0, place, digest, &[2, 3])]);
    let mut swapped = sound();
    swapped.digest = Digest([1; 32]);
    vec![
        ("the first view", wish(from, 0)),
        ("q-2 PREPAREs", with(vec![prepared(1, 0, 1, digest, &[2])])),
        ("the primary's own PREPARE", with(vec![prepared(1, 0, 1, digest, &[1, 2])])),
        ("one of them twice", with(vec![prepared(1, 0, 1, digest, &[2, 2])])),
        ("a stranger among them", with(vec![prepared(1, 0, 1, digest, &[2, 3, 9])])),
        ("a PRE-PREPARE of somebody else", with(vec![prepared(2, 0, 1, digest, &[2, 3])])),
        ("another digest", with(vec![swapped])),
        ("the view that is wanted", with(vec![prepared(3, 2, 1, digest, &[1, 4])])),
        ("a later view", with(vec![prepared(4, 3, 1, digest, &[1, 2])])),
        ("one place twice", with(vec![sound(), sound()])),
        ("places in disorder", with(vec![prepared(1, 0, 2, digest, &[2, 3]), sound()])),
        ("place zero", at(Stable::default(), 0)),
        ("above the watermark", at(Stable::default(), 513)),
        ("below the checkpoint", at(stable(128, digest, &[1, 2, 3]), 128)),
        ("a checkpoint of f+1", view_change(from, 2, stable(128, digest, &[1, 2]), Vec::new())),
        ("a beginning with a digest", view_change(from, 2, stable(0, digest, &[1, 2, 3]), Vec::new())),
    ]
}

// tests [B19] [B4] [B7]
#[test]
fn a_view_change_that_claims_what_it_does_not_prove_is_refused() {
    for (what, lie) in bad_changes(3) {
        let mut lone = Lone::new(4, 4, gateway());
        assert_eq!(lone.hear(3, says(lie.clone())), [], "{what}");
        assert_eq!(lone.accused(3), 1, "{what}");
        // Neither does it count towards f+1, nor in a NEW-VIEW.
        lone.hear(2, says(wish(2, 2)));
        assert_eq!(lone.view(), 0, "{what}");
        if lie.view == View(2) {
            let begun = new_view(3, 2, vec![wish(1, 2), wish(2, 2), lie], &[]);
            lone.hear(3, begins(begun));
            assert_eq!((lone.view(), lone.accused(3)), (0, 2), "{what}");
        }
    }
    // At the edges it is sound.
    let digest = batch([request(1)]).digest();
    let state = stable(128, digest, &[1, 2, 3]);
    let at = |view, place| vec![prepared(view + 1, view, place, digest, &[3, 4])];
    let sound = [
        view_change(3, 2, Stable::default(), at(1, 1)),
        view_change(3, 2, Stable::default(), at(0, 512)),
        view_change(3, 2, state.clone(), at(0, 129)),
        view_change(3, 2, state, at(0, 640)),
    ];
    for change in sound {
        let mut lone = Lone::new(4, 4, gateway());
        lone.hear(3, says(change));
        lone.hear(2, says(wish(2, 2)));
        assert_eq!((lone.view(), lone.accused(3)), (2, 0));
    }
    // Nobody wants a view in another's name.
    let mut lone = Lone::new(4, 4, gateway());
    lone.hear(2, says(wish(3, 2)));
    assert_eq!((lone.accused(2), lone.view()), (1, 0));
}

// tests [B20]
#[test]
fn who_sees_a_correct_replica_want_more_wants_the_smallest_of_it() {
    for size in [4, 7, 10] {
        let faults = (size - 1) / 3;
        let mut lone = Lone::new(size, size, gateway());
        for from in 1..=faults {
            assert_eq!(wanted(&lone.hear(from, says(wish(from, 9 - from)))), []);
            assert_eq!(wanted(&lone.hear(from, says(wish(from, 9 - from)))), [], "once each");
        }
        assert_eq!(wanted(&lone.hear(faults + 1, says(wish(faults + 1, 9)))), [9 - faults]);
        assert_eq!(lone.view(), 9 - faults);
    }
    // Of f liars one may want the last view that there is, and nobody goes there.
    let mut lone = Lone::new(4, 4, gateway());
    lone.hear(1, says(wish(1, u64::MAX)));
    lone.hear(2, says(wish(2, 1)));
    assert_eq!(lone.view(), 1);
}

/// Replica 3 is the primary of view 2, and has these wishes.
fn begun(changes: Vec<ViewChange>) -> NewView {
    let mut lone = Lone::new(3, 4, gateway());
    let mut said = Vec::new();
    for change in changes {
        said.extend(lone.hear(change.node.0, says(change)));
    }
    let of = |message: Message| if let Message::NewView(new_view) = message { Some(*new_view) } else { None };
    said.into_iter().find_map(of).expect("it begins")
}

fn follows(new_view: &NewView) -> Vec<(u64, Digest)> {
    new_view.proposals.iter().map(|proposal| (proposal.sequence.0, proposal.digest)).collect()
}

// tests [B21]
#[test]
fn a_view_begins_with_what_its_wishes_prove() {
    let [a, b, c] = [1, 2, 3].map(|number| batch([request(number)]).digest());
    // The certificate of the highest view at each place, and null requests between.
    let one = view_change(
        1,
        2,
        Stable::default(),
        vec![prepared(1, 0, 1, a, &[2, 3]), prepared(1, 0, 4, c, &[2, 3])],
    );
    let two = view_change(2, 2, Stable::default(), vec![prepared(2, 1, 1, b, &[1, 4])]);
    let new_view = begun(vec![one.clone(), two]);
    assert_eq!(follows(&new_view), [(1, b), (2, null()), (3, null()), (4, c)]);
    assert_eq!((new_view.changes.len(), new_view.view), (3, View(2)));
    // From the highest stable checkpoint on.
    let state = stable(128, Digest([9; 32]), &[1, 2, 4]);
    let two = view_change(2, 2, state.clone(), vec![prepared(2, 1, 130, b, &[1, 4])]);
    assert_eq!(follows(&begun(vec![one.clone(), two])), [(129, null()), (130, b)]);
    let two = view_change(2, 2, state, Vec::new());
    assert_eq!(follows(&begun(vec![one, two])), []);
    // Fewer than a quorum begin nothing.
    let mut lone = Lone::new(3, 4, gateway());
    lone.ask(1);
    lone.wait(1_001);
    assert_eq!(lone.view(), 1);
    lone.hear(1, says(wish(1, 2)));
    lone.hear(4, says(wish(4, 1)));
    assert_eq!(lone.view(), 1, "one wants 2, one wants 1");
}

// tests [B22]
#[test]
fn backups_refuse_a_new_view_that_does_not_follow_and_say_prepare_to_one_that_does() {
    let [a, b] = [1, 2].map(|number| batch([request(number)]).digest());
    let proof = || {
        let one = view_change(
            1,
            2,
            Stable::default(),
            vec![prepared(1, 0, 1, a, &[2, 3]), prepared(1, 0, 3, a, &[2, 3])],
        );
        vec![one, view_change(2, 2, Stable::default(), vec![prepared(2, 1, 1, b, &[1, 4])]), wish(3, 2)]
    };
    let right = [(1, b), (2, null()), (3, a)];
    let mut lone = Lone::new(4, 4, gateway());
    let wrong: [&[(u64, Digest)]; 8] = [
        &[],
        &[(1, b), (2, null())],
        &[(1, b), (3, a)],
        &[(1, a), (2, null()), (3, a)],
        &[(1, null()), (2, null()), (3, a)],
        &[(1, b), (2, a), (3, a)],
        &[(1, b), (2, null()), (3, a), (4, null())],
        &[(2, null()), (1, b), (3, a)],
    ];
    for (number, proposals) in wrong.into_iter().enumerate() {
        assert_eq!(lone.hear(3, begins(new_view(3, 2, proof(), proposals))), [], "{proposals:?}");
        assert_eq!((lone.view(), lone.accused(3)), (0, number + 1));
    }
    // q-1 wishes, one twice, in disorder, one of another view; another's view; a proposal that somebody else signed.
    let mut stolen = new_view(3, 2, proof(), &right);
    stolen.proposals[1].signature = stolen.proposals[0].signature;
    stolen.signature = crate::common::signing::sign_for(7, 3, stolen.statement());
    let twice = vec![wish(1, 2), wish(2, 2), wish(2, 2)];
    let others = vec![wish(1, 2), wish(2, 2), wish(3, 3)];
    for (number, lie) in [
        new_view(3, 2, wishes(&[1, 2], 2), &[]),
        new_view(3, 2, twice, &[]),
        new_view(3, 2, wishes(&[2, 1, 3], 2), &[]),
        new_view(3, 2, others, &[]),
        new_view(3, 1, wishes(&[1, 2, 3], 1), &[]),
        new_view(3, 0, wishes(&[1, 2, 3], 0), &[]),
        stolen,
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(lone.hear(3, begins(lie)), []);
        assert_eq!((lone.view(), lone.accused(3)), (0, number + 9));
    }
    let said = lone.hear(3, begins(new_view(3, 2, proof(), &right)));
    assert_eq!(prepares(&said), right.map(|(place, digest)| (2, place, digest)));
    assert_eq!((lone.view(), lone.cluster.nodes[&n(4)].status().leader), (2, Some(n(3))));
}

// tests [B22] [B26]
#[test]
fn the_bodies_of_what_a_view_begins_with_are_had_from_anybody() {
    let body = batch([request(1)]);
    let a = body.digest();
    let one = view_change(1, 2, Stable::default(), vec![prepared(1, 0, 1, a, &[2, 3])]);
    let mut lone = Lone::new(4, 4, gateway());
    lone.hear(3, begins(new_view(3, 2, vec![one, wish(2, 2), wish(3, 2)], &[(1, a)])));
    lone.hear(1, prepare(1, 2, 1, a));
    assert_eq!(commits(&lone.hear(2, prepare(2, 2, 1, a))), [], "nobody commits what it does not have");
    lone.cluster.wire.clear();
    lone.cluster.now = lone.cluster.next_deadline().unwrap().0;
    lone.cluster.handle(n(4), consensus_core::Event::Tick);
    let asks = |message: &Message| *message == Message::FetchBatch { sequence: Sequence(1), digest: a };
    assert_eq!(lone.cluster.wire.iter().filter(|envelope| asks(&envelope.message)).count(), 1);
    lone.said();
    // Another body is not what was asked for.
    lone.hear(2, Message::BatchIs { sequence: Sequence(1), batch: batch([request(2)]) });
    let said = lone.hear(2, Message::BatchIs { sequence: Sequence(1), batch: body });
    assert_eq!(commits(&said), [(2, 1, a)]);
    for from in [1, 2] {
        lone.hear(from, commit(from, 2, 1, a));
    }
    assert_eq!(lone.cluster.diary(4), [payload(1)]);
}

// tests [B23]
#[test]
fn views_never_go_back() {
    let mut lone = Lone::new(4, 4, gateway());
    let first = begins(new_view(2, 1, wishes(&[1, 2, 3], 1), &[]));
    lone.hear(2, first.clone());
    lone.hear(3, begins(new_view(3, 2, wishes(&[1, 2, 3], 2), &[])));
    assert_eq!(lone.view(), 2);
    let old = [
        (2, first),
        (1, says(wish(1, 1))),
        (2, says(wish(2, 1))),
        (3, says(wish(3, 1))),
        (3, begins(new_view(3, 2, wishes(&[1, 2, 3], 2), &[]))),
        (1, says(wish(1, 2))),
        (2, says(wish(2, 2))),
    ];
    for (from, message) in old {
        lone.hear(from, message);
        assert_eq!((lone.view(), lone.cluster.nodes[&n(4)].status().role), (2, Role::Follower));
    }
    assert_eq!(lone.cluster.accusations, [], "they may have come late");
    // Whoever wants an old view is told of ours.
    lone.cluster.tell(1, 4, says(wish(1, 2)));
    assert!(matches!(lone.cluster.said(4, 1)[..], [Message::NewView(_)]));
}

// tests [B24]
#[test]
fn a_request_that_is_overtaken_for_eight_timeouts_changes_the_view() {
    let mut lone = Lone::new(4, 4, gateway());
    // The resend timer has run out once in this view.
    lone.wait(100);
    lone.ask(99);
    let (mut place, mut waited, mut said) = (0, 0, Vec::new());
    while wanted(&said).is_empty() {
        place += 1;
        lone.come_to_commit(1, 0, place, place, &[2, 3]);
        said = lone.wait(450);
        waited += 450;
    }
    assert_eq!(waited, 8_100);
    assert_eq!((lone.view(), lone.executed()), (1, place));
}
