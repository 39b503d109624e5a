//! The normal case, clause by clause: B1, and B5 to B14. Signatures are in `signed.rs`, checkpoints in `checkpoint.rs`, lies that
//! take more than a message in `lies.rs`.

use crate::common::lone::{Lone, changes, checkpoints, commits, prepares, proposals, vouches, wanted};
use crate::common::signing::{
    batch, begins, checkpoint, commit, committed, new_view, null, pre_prepare, prepare, vote, wishes,
};
use crate::common::{Cluster, Disk, config, gateway, n, payload, proposal, request};
use consensus_core::{Bytes, ClientId, Event, Offence, Outcome, ProposalId, Refusal, Reply, wire};
use pbft::{Batch, Committed, Config, Digest, Kind, Message, Proven, Request, Sequence, View};

fn proven(certificate: Committed, batch: &Batch) -> Message {
    Message::Committed(Box::new(Proven { certificate, batch: batch.clone() }))
}

fn asked(numbers: &[u64]) -> Message {
    Message::Requests(numbers.iter().map(|&number| request(number)).collect())
}

// tests [B1] [B9]
#[test]
fn any_two_quorums_share_a_correct_replica_however_many_there_are() {
    let batch = batch([request(1)]);
    let digest = batch.digest();
    for (size, quorum) in [(2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (8, 6), (9, 6), (10, 7), (13, 9)] {
        let (all, faults): (Vec<u64>, _) = ((1..=size).collect(), (size - 1) / 3);
        assert!(2 * quorum as u64 - size > faults, "two of {quorum} share a correct one");
        let mut lone = Lone::new(size, size, config());
        lone.hear(1, proven(committed(0, 1, digest, &all[..quorum - 1]), &batch));
        assert_eq!((lone.executed(), lone.accused(1)), (0, 1), "{size}");
        lone.hear(1, proven(committed(0, 1, digest, &all[..quorum]), &batch));
        assert_eq!((lone.executed(), lone.accused(1)), (1, 1), "{size}");
    }
}

// tests [B5] [B16]
#[test]
fn a_backup_takes_one_proposal_over_writes_it_down_and_says_prepare() {
    let mut lone = Lone::on(4, 4, gateway(), Disk::held);
    let (one, other) = (batch([request(1)]), batch([request(2)]));
    let digest = one.digest();
    assert_eq!(lone.hear(1, pre_prepare(1, 0, 1, one.clone())), [], "it is not on disk");
    lone.cluster.sync(4);
    assert_eq!(prepares(&lone.said()), [(0, 1, digest)]);
    // Once more it says nothing new; and takes no other, not even after a crash.
    assert_eq!(lone.hear(1, pre_prepare(1, 0, 1, one)), []);
    for round in 1..=2 {
        assert_eq!(lone.hear(1, pre_prepare(1, 0, 1, other.clone())), []);
        assert_eq!(lone.accused(1), round);
        lone.cluster.sync(4);
        lone.restart();
    }
    assert!(lone.cluster.offences(1).iter().all(|what| matches!(what, Offence::Equivocation(_))));
}

// tests [B5] [B14]
#[test]
fn proposals_of_others_views_and_digests_are_not_taken_over() {
    let batch = batch([request(1)]);
    let mut lone = Lone::new(4, 4, gateway());
    // Of whoever is not the primary, without a place, with another digest: accused.
    let Message::PrePrepare(sound) = pre_prepare(1, 0, 1, batch.clone()) else { panic!() };
    let mut swapped = sound.clone();
    swapped.batch = Batch::default();
    for (from, lie) in [
        (2, pre_prepare(2, 0, 1, batch.clone())),
        (2, Message::PrePrepare(sound.clone())),
        (1, pre_prepare(1, 0, 0, batch.clone())),
        (1, Message::PrePrepare(swapped)),
    ] {
        let before = lone.accused(from);
        assert_eq!(lone.hear(from, lie), []);
        assert_eq!(lone.accused(from), before + 1);
    }
    // Of a view that has not begun: ignored.
    assert_eq!(lone.hear(2, pre_prepare(2, 1, 1, batch)), []);
    assert_eq!(lone.accused(2), 2);
    assert_eq!(prepares(&lone.hear(1, Message::PrePrepare(sound))).len(), 1);
}

// tests [B6]
#[test]
fn places_up_to_the_high_watermark_are_looked_at_and_none_above() {
    let config = Config { checkpoint_interval: 2, window: 4, ..gateway() };
    let mut lone = Lone::new(4, 4, config);
    let batch = batch([request(1)]);
    let digest = batch.digest();
    for (place, seen) in [(5, 0), (u64::MAX, 0), (4, 1)] {
        let said = lone.hear(1, pre_prepare(1, 0, place, batch.clone()));
        lone.hear(2, prepare(2, 0, place, digest));
        lone.hear(3, commit(3, 0, place, digest));
        lone.hear(3, proven(committed(0, place, digest, &[1, 2, 3]), &batch));
        assert_eq!((prepares(&said).len(), lone.cluster.queue(4, "places in flight")), (seen, seen));
    }
    assert_eq!(
        (lone.executed(), lone.accused(1) + lone.accused(3)),
        (0, 0),
        "it may be behind, and they right"
    );
}

// tests [B7] [B1]
#[test]
fn a_place_is_prepared_with_the_prepares_of_a_quorum_less_the_primary() {
    for (size, others) in [(4, 1), (5, 2), (6, 2), (7, 3), (10, 5)] {
        let mut lone = Lone::new(size, size, gateway());
        // Its own PREPARE is the first; the primary's would be none.
        let digest = lone.come_to_prepare(1, 0, 1, 1, &[]);
        lone.hear(1, prepare(1, 0, 1, digest));
        assert_eq!(lone.accused(1), 1);
        for backup in 2..=others {
            assert_eq!(commits(&lone.hear(backup, prepare(backup, 0, 1, digest))), []);
            // Again, or for something else, or in another view: it does not count.
            assert_eq!(commits(&lone.hear(backup, prepare(backup, 0, 1, digest))), []);
        }
        let last = others + 1;
        assert_eq!(commits(&lone.hear(last + 1, prepare(last + 1, 0, 1, Digest([1; 32])))), []);
        assert_eq!(commits(&lone.hear(last, prepare(last, 0, 1, digest))), [(0, 1, digest)], "{size}");
    }
}

// tests [B7]
#[test]
fn prepares_without_the_proposal_prepare_nothing() {
    let mut lone = Lone::new(4, 4, gateway());
    let batch = batch([request(1)]);
    let digest = batch.digest();
    for backup in [2, 3] {
        assert_eq!(lone.hear(backup, prepare(backup, 0, 1, digest)), []);
    }
    let said = lone.hear(1, pre_prepare(1, 0, 1, batch));
    assert_eq!((prepares(&said).len(), commits(&said).len()), (1, 1));
}

// tests [B8] [B16]
#[test]
fn a_certificate_is_on_disk_before_commit_is_said() {
    let mut lone = Lone::on(4, 4, gateway(), Disk::held);
    let digest = lone.come_to_prepare(1, 0, 1, 1, &[]);
    lone.cluster.sync(4);
    lone.said();
    assert_eq!(lone.hear(2, prepare(2, 0, 1, digest)), []);
    lone.cluster.sync(4);
    assert_eq!(commits(&lone.said()), [(0, 1, digest)]);
    lone.restart();
    let certificates = lone.cluster.records(4);
    assert!(certificates.iter().any(|record| matches!(record, pbft::Record::Prepared(_))));
}

// tests [B8] [B19]
#[test]
fn entering_a_view_does_not_clear_what_was_prepared() {
    let mut lone = Lone::new(4, 4, gateway());
    let digest = lone.come_to_prepare(1, 0, 1, 1, &[2]);
    // The view begins without its wish, and puts a null request there.
    lone.hear(2, begins(new_view(2, 1, wishes(&[1, 2, 3], 1), &[])));
    assert_eq!(lone.view(), 1);
    for restart in [false, true] {
        if restart {
            lone.restart();
        }
        let other = batch([request(9)]);
        lone.hear(2, pre_prepare(2, 1, 1, other));
        let said = lone.wait(1_200);
        let [change, ..] = &changes(&said)[..] else { panic!("{said:?}") };
        let told: Vec<_> =
            change.prepared.iter().map(|prepared| (prepared.view.0, prepared.digest)).collect();
        assert_eq!((change.view, told), (View(2), vec![(0, digest)]), "restart: {restart}");
    }
    // One of a later view takes its place.
    let mut lone = Lone::new(4, 4, gateway());
    lone.come_to_prepare(1, 0, 1, 1, &[2]);
    lone.hear(2, begins(new_view(2, 1, wishes(&[1, 2, 3], 1), &[])));
    let later = lone.come_to_prepare(2, 1, 1, 2, &[3]);
    let said = lone.wait(1_200);
    let [change, ..] = &changes(&said)[..] else { panic!("{said:?}") };
    assert_eq!(change.prepared.iter().map(|prepared| prepared.digest).collect::<Vec<_>>(), [later]);
}

// tests [B9]
#[test]
fn a_place_is_committed_with_commits_of_a_quorum_on_one_view_and_digest() {
    let mut lone = Lone::new(4, 4, gateway());
    let digest = lone.come_to_prepare(1, 0, 1, 1, &[]);
    // Whatever else is known: it has prepared nothing itself.
    for (from, message) in [
        (1, commit(1, 0, 1, digest)),
        (1, commit(1, 0, 1, digest)),
        (2, commit(2, 1, 1, digest)),
        (3, commit(3, 0, 1, Digest([1; 32]))),
        (3, commit(3, 0, 1, digest)),
    ] {
        lone.hear(from, message);
        assert_eq!(lone.executed(), 0);
    }
    assert_eq!(lone.accused(3), 1, "it said two things");
    let mut lone = Lone::new(4, 4, gateway());
    lone.come_to_prepare(1, 0, 1, 1, &[]);
    for from in [1, 2, 3] {
        assert_eq!(lone.executed(), 0);
        lone.hear(from, commit(from, 0, 1, digest));
    }
    assert_eq!(lone.executed(), 1);
}

// tests [B10]
#[test]
fn places_are_executed_in_order_each_once_and_null_requests_do_nothing() {
    let mut lone = Lone::new(4, 4, gateway());
    lone.come_to_commit(1, 0, 2, 2, &[2, 3]);
    assert_eq!(lone.executed(), 0, "what comes first is missing");
    lone.come_to_commit(1, 0, 1, 1, &[2, 3]);
    assert_eq!((lone.executed(), lone.cluster.diary(4)), (2, vec![payload(1), payload(2)]));
    let batch = batch([request(1)]);
    lone.hear(1, proven(committed(0, 1, batch.digest(), &[1, 2, 3]), &batch));
    for from in [1, 2, 3] {
        lone.hear(from, commit(from, 0, 3, null()));
    }
    lone.hear(1, proven(committed(1, 3, null(), &[1, 2, 3]), &Batch::default()));
    assert_eq!((lone.executed(), lone.cluster.diary(4).len()), (3, 2));
    assert_eq!(lone.cluster.replica(4).slot().0, 3, "a slot of its own, which is told to nobody");
    // A boot executes what it finds once more, from where the snapshot ends.
    lone.restart();
    lone.hear(1, proven(committed(0, 1, batch.digest(), &[1, 2, 3]), &batch));
    assert_eq!(lone.cluster.diary(4), [payload(1)]);
}

// tests [B11]
#[test]
fn a_command_of_a_session_is_carried_out_once_alike_at_all() {
    let mut cluster = Cluster::new(4);
    let everywhere = |cluster: &mut Cluster, id: ProposalId| {
        for to in 1..=4 {
            cluster.handle(n(to), Event::Propose { id, payload: Bytes::from_static(b"once") });
        }
        cluster.settle();
    };
    everywhere(&mut cluster, ProposalId::open_session(5));
    let opened = |reply: &(_, Reply)| match &reply.1 {
        Reply::Done { outcome: Outcome::Opened(client), .. } => Some(*client),
        Reply::Done { .. } | Reply::Refused { .. } | Reply::ReadReady { .. } | Reply::ReadRefused { .. } => {
            None
        }
    };
    let clients: Vec<ClientId> = cluster.replies.iter().filter_map(opened).collect();
    assert_eq!(clients, [clients[0]; 4], "a client believes what f+1 tell it, and four do");
    for _ in 0..3 {
        cluster.run_for_ms(2_000);
        everywhere(&mut cluster, ProposalId::new(clients[0], 1));
    }
    assert_eq!(cluster.agreed(), ["once"]);
    assert_eq!(cluster.executed(1), 4, "it was ordered three times");
    let applied = Outcome::Applied(Bytes::from_static(b"once"));
    let is_reply =
        |reply: &&(_, Reply)| matches!(&reply.1, Reply::Done { outcome, .. } if *outcome == applied);
    assert_eq!(cluster.replies.iter().filter(is_reply).count(), 12, "each time with the first reply");
}

// tests [B12]
#[test]
fn a_primary_bounds_what_is_on_its_way() {
    let config = Config {
        max_batch_requests: 2,
        max_in_flight_batches: 2,
        checkpoint_interval: 2,
        window: 4,
        ..gateway()
    };
    let mut lone = Lone::new(1, 4, config);
    let said: Vec<_> = (1..=9).flat_map(|number| proposals(&lone.ask(number))).collect();
    let sizes = |said: &[pbft::PrePrepare]| -> Vec<_> {
        said.iter().map(|message| (message.sequence.0, message.batch.requests().len())).collect()
    };
    assert_eq!(sizes(&said), [(1, 1), (2, 1)], "two at once");
    let executes = |lone: &mut Lone, place: u64, digest: Digest| {
        let mut said = Vec::new();
        for from in [2, 3] {
            said.extend(lone.hear(from, prepare(from, 0, place, digest)));
        }
        for from in [2, 3] {
            said.extend(lone.hear(from, commit(from, 0, place, digest)));
        }
        said
    };
    let third = proposals(&executes(&mut lone, 1, said[0].digest));
    assert_eq!(sizes(&third), [(3, 2)], "what waited, two in a batch");
    let second = executes(&mut lone, 2, said[1].digest);
    let fourth = proposals(&second);
    assert_eq!(sizes(&fourth), [(4, 2)]);
    // None above the high watermark, nor where backups may not have come to it.
    assert_eq!(proposals(&executes(&mut lone, 3, third[0].digest)), []);
    let last = executes(&mut lone, 4, fourth[0].digest);
    assert_eq!(proposals(&last), []);
    for (place, said, then) in [(2, second, vec![]), (4, last, vec![(5, 2), (6, 1)])] {
        let state = checkpoints(&said)[0].1;
        assert_eq!(proposals(&lone.hear(2, checkpoint(2, place, state))), []);
        assert_eq!(sizes(&proposals(&lone.hear(3, checkpoint(3, place, state)))), then);
    }
}

// tests [B12] [B13]
#[test]
fn a_request_is_ordered_once_though_vouchers_go_on_coming() {
    for size in [4, 7, 10] {
        let mut cluster = Cluster::new(size);
        cluster.serve(1..=5);
        assert_eq!((cluster.executed(1), cluster.agreed().len()), (5, 5));
    }
}

// tests [B12]
#[test]
fn a_batch_is_bounded_in_bytes_but_a_long_request_travels_alone() {
    let size = 3 * (payload(10).len() + 24);
    let config = Config { max_batch_bytes: size, max_in_flight_batches: 1, ..gateway() };
    let mut lone = Lone::new(1, 4, config);
    let first = proposals(&lone.ask(1)).remove(0);
    let long = Event::Propose { id: proposal(20), payload: Bytes::from(vec![0; 2 * size]) };
    (10..=13).for_each(|number| drop(lone.ask(number)));
    lone.cluster.handle(n(1), long);
    let mut sizes = Vec::new();
    let mut next = Some(first);
    while let Some(message) = next {
        let (place, digest) = (message.sequence.0, message.digest);
        sizes.push(message.batch.requests().len());
        let mut said = Vec::new();
        for from in [2, 3] {
            said.extend(lone.hear(from, prepare(from, 0, place, digest)));
            said.extend(lone.hear(from, commit(from, 0, place, digest)));
        }
        next = proposals(&said).pop();
    }
    assert_eq!(sizes, [1, 3, 1, 1]);
}

// tests [B12]
#[test]
fn nobody_orders_a_null_request_but_a_new_view() {
    let mut lone = Lone::new(4, 4, gateway());
    assert_eq!(lone.hear(1, pre_prepare(1, 0, 1, Batch::default())), []);
    assert!(matches!(lone.cluster.offences(1)[..], [Offence::Impossible(_)]));
    let mut primary = Lone::new(1, 4, gateway());
    assert_eq!(proposals(&primary.wait(5_000)), [], "who has nothing to order says nothing");
}

// tests [B13]
#[test]
fn a_backup_takes_over_what_somebody_correct_was_asked_for() {
    let batch = batch([request(1)]);
    let proposal = pre_prepare(1, 0, 1, batch.clone());
    // The primary's word alone is none; with one more there is a correct one among them.
    let mut lone = Lone::new(4, 4, config());
    assert_eq!(lone.hear(1, proposal.clone()), []);
    assert_eq!(prepares(&lone.hear(3, asked(&[1]))).len(), 1);
    // What the primary passed on is its word, too.
    let mut lone = Lone::new(4, 4, config());
    lone.hear(1, asked(&[1]));
    assert_eq!(prepares(&lone.hear(1, proposal.clone())), []);
    // Whoever prepares it has looked at it.
    assert_eq!(prepares(&lone.hear(3, prepare(3, 0, 1, batch.digest()))).len(), 1);
    // All of a batch must be genuine.
    let mut lone = Lone::new(4, 4, config());
    lone.ask(1);
    let both = crate::common::signing::batch([request(1), request(2)]);
    assert_eq!(prepares(&lone.hear(1, pre_prepare(1, 0, 1, both))), []);
    assert_eq!(prepares(&lone.ask(2)).len(), 1);
    // The same name with other contents is another request.
    let mut lone = Lone::new(4, 4, config());
    lone.hear(3, Message::Requests(vec![Request::new(request(1).id(), payload(2))]));
    assert_eq!(prepares(&lone.hear(1, proposal.clone())), []);
    // Where one voucher is enough the primary is one.
    let mut lone = Lone::new(4, 4, gateway());
    assert_eq!(prepares(&lone.hear(1, proposal)).len(), 1);
}

// tests [B13]
#[test]
fn who_sees_enough_vouchers_vouches_and_the_primary_orders_what_all_will_see() {
    for size in [4, 7] {
        let faults = (size - 1) / 3;
        let mut lone = Lone::new(size, size, config());
        for from in 1..=faults {
            assert!(!vouches(&lone.hear(from, asked(&[1]))));
        }
        assert!(vouches(&lone.hear(faults + 1, asked(&[1]))), "f+1");
        let mut primary = Lone::new(1, size, config());
        for from in 2..=2 * faults {
            assert_eq!(proposals(&primary.hear(from, asked(&[1]))), [], "{from}");
        }
        // It has vouched itself, when it had seen f+1.
        assert_eq!(proposals(&primary.hear(2 * faults + 1, asked(&[1]))).len(), 1, "2f+1");
    }
}

// tests [B13] [B14]
#[test]
fn each_replica_vouches_for_a_bounded_number_at_once() {
    let config = Config { max_open_requests: 3, ..config() };
    let mut lone = Lone::new(4, 4, config.clone());
    lone.hear(3, asked(&[1, 2, 3, 4, 5]));
    assert_eq!(lone.cluster.queue(4, "requests"), 3);
    // A flood of one takes nothing from the others, nor from our own clients.
    lone.hear(2, asked(&[6, 7, 8]));
    (9..=11).for_each(|number| drop(lone.ask(number)));
    assert_eq!((lone.cluster.queue(4, "requests"), lone.cluster.replies.len()), (9, 0));
    lone.ask(12);
    let busy = Reply::Refused { id: proposal(12), reason: Refusal::Busy };
    assert_eq!(lone.cluster.replies, [(n(4), busy)]);
    let mut few = Lone::new(4, 4, Config { max_open_bytes: 100, max_open_requests: 100, ..config });
    few.hear(3, asked(&[1, 2, 3, 4, 5]));
    assert_eq!(few.cluster.queue(4, "requests"), 100 / (payload(1).len() + 24));
}

// tests [B14]
#[test]
fn what_is_too_long_or_out_of_shape_is_refused_at_the_door() {
    let config = Config { max_payload_bytes: 16, chunk_bytes: 8, ..gateway() };
    let mut lone = Lone::new(4, 4, config);
    let long = Request::new(proposal(1), Bytes::from(vec![0; 17]));
    let manifest = |length, chunks: usize| {
        let (sequence, slot) = (Sequence(128), consensus_core::Slot(128));
        Message::State(Box::new(pbft::Manifest {
            sequence,
            slot,
            length,
            chunks: vec![Digest::default(); chunks],
            batches: Vec::new(),
        }))
    };
    let lies = [
        Message::Requests(vec![long.clone()]),
        pre_prepare(1, 0, 1, batch([long])),
        Message::Chunk { sequence: Sequence(128), index: 0, bytes: Bytes::from(vec![0; 9]) },
        manifest(8, 2),
        manifest(9, 1),
        manifest(u64::MAX, 0),
        checkpoint(1, 127, Digest::default()),
        checkpoint(1, 0, Digest::default()),
        Message::Checkpoint(vote(1, Kind::Checkpoint, 1, 128, Digest::default())),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        assert_eq!(lone.hear(1, lie.clone()), [], "{lie:?}");
        assert_eq!(lone.accused(1), number + 1, "{lie:?}");
    }
    // Our own clients are told so.
    lone.cluster.handle(n(4), Event::Propose { id: proposal(1), payload: Bytes::from(vec![0; 17]) });
    let refused = Reply::Refused { id: proposal(1), reason: Refusal::TooLarge };
    assert_eq!(lone.cluster.replies, [(n(4), refused)]);
    // Who is no member, or claims to be us, is heard by nobody.
    for from in [9, 4] {
        assert_eq!(lone.hear(from, asked(&[1])), []);
        assert_eq!(lone.cluster.offences(from), [Offence::Stranger]);
    }
    let many =
        Message::Requests((0..8_193).map(|number| Request::new(proposal(number), Bytes::new())).collect());
    assert!(wire::decode::<Message>(&wire::encode(&many), usize::MAX).is_err());
    assert_eq!(wanted(&lone.said()), []);
}
