//! Who says what, clause by clause: B2 to B4, and which signatures are looked at: B28.

use crate::common::lone::Lone;
use crate::common::signing::{
    GROUP, batch, begins, commit, committed, keyring, new_view, pre_prepare, prepare, prepared, says, secret,
    sign, sign_for, signatures, view_change, vote, wishes,
};
use crate::common::{config, gateway, n, request};
use consensus_core::Offence;
use pbft::{
    Batch, Committed, Digest, Ed25519, KeyError, Kind, Message, Proven, STATEMENT_BYTES, Scheme, Sequence,
    Signature, Stable, Statement, View,
};

fn proven(certificate: Committed, batch: &Batch) -> Message {
    Message::Committed(Box::new(Proven { certificate, batch: batch.clone() }))
}

// tests [B2]
#[test]
fn what_is_signed_has_one_form_and_no_two_statements_share_it() {
    let digest = Digest([9; 32]);
    let statement = Statement { kind: Kind::Commit, view: View(0x0201), sequence: Sequence(3), digest };
    let mut expected = b"pbft/1\0\0".to_vec();
    expected.extend([7, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([9; 32]);
    assert_eq!((statement.to_bytes(7).to_vec(), STATEMENT_BYTES), (expected, 65));
    let mut all = std::collections::BTreeSet::new();
    let kinds =
        [Kind::PrePrepare, Kind::Prepare, Kind::Commit, Kind::Checkpoint, Kind::ViewChange, Kind::NewView];
    for kind in kinds {
        for (view, sequence, group) in
            [(1, 0, 0), (0, 1, 0), (0, 0, 1), (256, 0, 0), (0, 256, 0), (0, 0, 256)]
        {
            for digest in [Digest([0; 32]), digest] {
                let statement = Statement { kind, view: View(view), sequence: Sequence(sequence), digest };
                all.insert(statement.to_bytes(group));
            }
        }
    }
    assert_eq!(all.len(), 6 * 6 * 2);
}

/// Everything that is signed, with a signature that was made for something else.
fn misused(signature: Signature, digest: Digest) -> Vec<Message> {
    let vote = pbft::Vote { view: View(0), sequence: Sequence(128), digest, signature };
    let mut proposal = pre_prepare(1, 0, 128, batch([request(1)]));
    if let Message::PrePrepare(proposal) = &mut proposal {
        proposal.signature = signature;
    }
    let mut change = wishes(&[1], 1).remove(0);
    let mut begun = new_view(2, 1, wishes(&[1, 3, 4], 1), &[]);
    (change.signature, begun.signature) = (signature, signature);
    vec![
        proposal,
        Message::Prepare(vote),
        Message::Commit(vote),
        Message::Checkpoint(vote),
        Message::ViewChange(Box::new(change)),
        begins(begun),
    ]
}

// tests [B2] [B14]
#[test]
fn a_signature_counts_for_the_very_thing_that_was_signed() {
    let digest = batch([request(1)]).digest();
    let of =
        |kind, view, sequence| Statement { kind, view: View(view), sequence: Sequence(sequence), digest };
    let forged = [
        Signature { r: [0; 32], s: [0; 32] },
        // Of another kind that nobody says in a message of its own kind, another view, place or group; of somebody else.
        sign(1, Kind::NewView, 0, 128, digest),
        sign(1, Kind::Prepare, 4, 128, digest),
        sign(1, Kind::Commit, 0, 127, digest),
        sign(1, Kind::Commit, 0, 128, Digest([1; 32])),
        sign_for(GROUP + 1, 1, of(Kind::Commit, 0, 128)),
        sign(2, Kind::Commit, 0, 128, digest),
    ];
    for signature in forged {
        for (place, message) in misused(signature, digest).into_iter().enumerate() {
            // The primary says no PREPARE; and begins no view that is another's.
            let from = [1, 2, 1, 1, 1, 2][place];
            let mut lone = Lone::new(4, 4, gateway());
            assert_eq!(lone.hear(from, message.clone()), [], "{message:?}");
            assert!(lone.cluster.offences(from) == [Offence::Forged], "{message:?}");
            assert_eq!((lone.view(), lone.cluster.queue(4, "places in flight")), (0, 0));
        }
    }
}

/// Another number of the same kind.
fn number<T: From<u16>>(_kind: &T, number: u16) -> T {
    number.into()
}

/// R is the neutral element, and s = k·a: s·B − k·A = R, so that a verifier which looks at nothing else is content.
fn torsioned(id: u64, message: &[u8]) -> Signature {
    use sha2::Digest as _;
    let key = ed25519_dalek::SigningKey::from_bytes(&secret(n(id)));
    let r: [u8; 32] = core::array::from_fn(|place| u8::from(place == 0));
    let hash = sha2::Sha512::new().chain_update(r).chain_update(key.verifying_key()).chain_update(message);
    let secret = key.to_scalar();
    let mut challenge = number(&secret, 0);
    for &byte in hash.finalize().iter().rev() {
        challenge = challenge * number(&secret, 256) + number(&secret, byte.into());
    }
    Signature { r, s: (challenge * secret).to_bytes() }
}

// tests [B3]
#[test]
fn a_signature_with_a_part_of_small_order_is_refused_though_lax_verifiers_take_it() {
    use ed25519_dalek::Verifier;
    let digest = batch([request(1)]).digest();
    let statement = Statement { kind: Kind::Commit, view: View(0), sequence: Sequence(1), digest };
    let signature = torsioned(2, &statement.to_bytes(GROUP));
    let key = ed25519_dalek::SigningKey::from_bytes(&secret(n(2))).verifying_key();
    let lax = ed25519_dalek::Signature::from_components(signature.r, signature.s);
    assert!(key.verify(&statement.to_bytes(GROUP), &lax).is_ok(), "another library's default accepts it");
    let mut lone = Lone::new(4, 4, gateway());
    let vote = pbft::Vote { signature, ..vote(2, Kind::Commit, 0, 1, digest) };
    lone.hear(2, Message::Commit(vote));
    assert_eq!(lone.cluster.offences(2), [Offence::Forged]);
    assert_eq!(lone.cluster.queue(4, "places in flight"), 0);
    // With L added to S it is another signature of the same: refused too.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut sound = sign(2, Kind::Commit, 0, 1, digest);
    let keys = keyring(n(4), 4);
    assert!(keys.verify(n(2), &statement.to_bytes(GROUP), &sound));
    let mut carry = 0;
    for (byte, order) in sound.s.iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert!(!keys.verify(n(2), &statement.to_bytes(GROUP), &sound));
}

// tests [B3] [B16]
#[test]
fn keys_that_prove_nothing_are_refused_at_the_boot() {
    let public = |id: u64| Ed25519::public_of(&secret(n(id)));
    let three = || [(n(1), public(1)), (n(2), public(2)), (n(3), public(3))];
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut of_order_two = [0xff; 32];
    (of_order_two[0], of_order_two[31]) = (0xec, 0x7f);
    for weak in [neutral, of_order_two, [0; 32]] {
        let keys = three().into_iter().chain([(n(4), weak)]);
        assert_eq!(Ed25519::new(n(1), &secret(n(1)), keys).err(), Some(KeyError::Unusable(n(4))));
    }
    let twins = three().into_iter().chain([(n(4), public(2))]);
    assert_eq!(Ed25519::new(n(1), &secret(n(1)), twins).err(), Some(KeyError::Shared(n(2), n(4))));
    assert_eq!(Ed25519::new(n(1), &secret(n(2)), three()).err(), Some(KeyError::Mismatch(n(1))));
    assert_eq!(Ed25519::new(n(9), &secret(n(9)), three()).err(), Some(KeyError::Mismatch(n(9))));
    let keys = Ed25519::new(n(1), &secret(n(1)), three()).unwrap();
    assert!(keys.signs_as(n(1)) && !keys.signs_as(n(2)) && keys.sign(n(2), b"x").is_none());
    assert!(!format!("{keys:?}").contains(&format!("{:?}", secret(n(1))[0])), "no secret is printed");
}

// tests [B4]
#[test]
fn a_certificate_names_distinct_members_in_order_who_all_signed_it() {
    let batch = batch([request(1)]);
    let digest = batch.digest();
    let sound = || committed(0, 1, digest, &[1, 2, 3]);
    let with = |ids: &[u64]| committed(0, 1, digest, ids);
    let mut lies = vec![
        with(&[1, 2]),
        with(&[1, 2, 2]),
        with(&[1, 3, 2]),
        // A stranger, who may well sign.
        with(&[1, 2, 9]),
        with(&[1, 2, 3, 9]),
    ];
    let mut padded = with(&[1, 2, 3, 4]);
    padded.commits.0[3].1 = padded.commits.0[2].1;
    let (mut other_view, mut other_place, mut other_kind) = (sound(), sound(), sound());
    (other_view.view, other_place.sequence) = (View(1), Sequence(2));
    other_kind.commits.0[2].1 = sign(3, Kind::Prepare, 0, 1, digest);
    lies.extend([padded, other_view, other_place, other_kind]);
    let mut lone = Lone::new(4, 4, config());
    for (number, lie) in lies.into_iter().enumerate() {
        lone.hear(3, proven(lie, &batch));
        assert_eq!((lone.executed(), lone.accused(3)), (0, number + 1));
    }
    lone.hear(3, proven(sound(), &Batch::default()));
    assert_eq!((lone.executed(), lone.accused(3)), (0, 10), "the proof of another batch");
    // More than a quorum proves as much.
    lone.hear(3, proven(with(&[1, 2, 3, 4]), &batch));
    assert_eq!((lone.executed(), lone.accused(3)), (1, 10));
}

/// What replica 4 hears while place 1 is executed, place 2 prepared, and both are ordered once more in view 1. Replica 3 says nothing.
fn story() -> Vec<(u64, Message)> {
    let batches = [1, 2].map(|number| batch([request(number)]));
    let digests = [1, 2].map(|place| (place, batches[place as usize - 1].digest()));
    let (place, digest) = digests[0];
    let mut story = vec![
        (1, pre_prepare(1, 0, place, batches[0].clone())),
        (2, prepare(2, 0, place, digest)),
        (1, commit(1, 0, place, digest)),
        (2, commit(2, 0, place, digest)),
        (1, pre_prepare(1, 0, 2, batches[1].clone())),
        (2, prepare(2, 0, 2, digests[1].1)),
    ];
    let told = |id| {
        let certificates = digests.map(|(place, digest)| prepared(1, 0, place, digest, &[2, 4]));
        view_change(id, 1, Stable::default(), certificates.into())
    };
    story.extend([1, 2].map(|id| (id, says(told(id)))));
    story.push((2, begins(new_view(2, 1, [1, 2, 4].map(told).into(), &digests))));
    for (place, digest) in digests {
        story.push((1, prepare(1, 1, place, digest)));
        story.extend([1, 2].map(|id| (id, commit(id, 1, place, digest))));
    }
    story
}

/// Votes of replica 3 that it did not sign, of one kind and view: on each place, for what is ordered there, and for something else.
fn forged(kind: Kind, view: u64) -> impl Iterator<Item = Message> {
    let digests = [batch([request(1)]).digest(), batch([request(2)]).digest(), Digest([5; 32])];
    let votes = (1..=3).flat_map(move |place| digests.map(|digest| (place, digest)));
    votes.map(move |(place, digest)| {
        let signature = sign(3, Kind::NewView, view, place, digest);
        let forged = pbft::Vote { signature, ..vote(3, kind, view, place, digest) };
        if kind == Kind::Prepare { Message::Prepare(forged) } else { Message::Commit(forged) }
    })
}

/// All that replica 4 says, with these lies, and perhaps a crash, before this part of the story.
fn told(at: usize, crashes: bool, lies: impl Iterator<Item = Message>) -> (Vec<Message>, Lone) {
    let mut lone = Lone::new(4, 4, gateway());
    let mut said = Vec::new();
    let mut lies = Some(lies);
    for (number, (from, message)) in story().into_iter().enumerate() {
        if number == at {
            if crashes {
                lone.restart();
            }
            for lie in lies.take().into_iter().flatten() {
                said.extend(lone.hear(3, lie));
            }
        }
        said.extend(lone.hear(from, message));
    }
    (said, lone)
}

// tests [B28]
#[test]
fn a_forged_vote_changes_nothing_wherever_it_comes() {
    for at in 0..story().len() {
        for crashes in [false, true] {
            let (truth, lone) = told(at, crashes, std::iter::empty());
            let executed = lone.executed();
            assert_eq!(lone.view(), 1);
            // Who crashes forgets COMMITs of others.
            assert!(executed == 2 || (crashes && executed < 2), "at {at}");
            for (kind, view) in
                [Kind::Prepare, Kind::Commit].into_iter().flat_map(|kind| [0, 1, 2].map(|view| (kind, view)))
            {
                let (said, lone) = told(at, crashes, forged(kind, view));
                assert_eq!(said, truth, "{kind:?} of view {view} at {at}");
                assert_eq!((lone.executed(), lone.cluster.queue(4, "proven liars")), (executed, 0));
                assert!(
                    lone.cluster
                        .offences(3)
                        .iter()
                        .all(|what| matches!(what, Offence::Forged | Offence::Impossible(_)))
                );
            }
        }
    }
}

// tests [B28]
#[test]
fn what_a_certificate_stands_for_is_not_looked_at() {
    let mut lone = Lone::new(4, 4, gateway());
    let digest = lone.come_to_commit(1, 0, 1, 1, &[2]);
    assert_eq!(lone.executed(), 1);
    keys_are_idle(&mut lone, [prepare(3, 0, 1, digest), commit(3, 0, 1, digest), commit(3, 9, 1, digest)]);
    // A vote for something else is looked at: it may be the first half of a proof, or the second.
    lone.hear(3, commit(3, 0, 1, Digest([1; 32])));
    lone.hear(3, commit(3, 0, 1, Digest([2; 32])));
    assert_eq!(lone.cluster.queue(4, "proven liars"), 1);
}

fn keys_are_idle(lone: &mut Lone, votes: [Message; 3]) {
    signatures();
    for vote in votes {
        assert_eq!(lone.hear(3, vote), []);
    }
    assert_eq!(signatures(), (0, 0));
}

// tests [B28] [B14]
#[test]
fn who_has_checks_come_to_nothing_is_not_listened_to_for_a_turn() {
    let mut lone = Lone::new(4, 4, gateway());
    let digest = lone.come_to_prepare(1, 0, 1, 1, &[]);
    for kind in [Kind::Prepare, Kind::Commit] {
        (0..3).flat_map(|_| forged(kind, 0)).for_each(|lie| drop(lone.hear(3, lie)));
    }
    assert_eq!(lone.accused(3), 16);
    keys_are_idle(&mut lone, [prepare(3, 0, 1, digest), commit(3, 0, 1, digest), commit(3, 0, 2, digest)]);
    lone.wait(101);
    assert_ne!(lone.hear(3, prepare(3, 0, 1, digest)), [], "and is again in the next");
}
