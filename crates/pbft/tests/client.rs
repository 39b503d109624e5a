//! The client as a state machine: B32.

use crate::common::asking::{client, keys_of, name, signed};
use crate::common::signing::GROUP;
use crate::common::{Cluster, config, gateway, n, proposal};
use consensus_core::{
    ClientId, MAX_REPLIES, Members, Outcome, ProposalId, ReadId, Refusal, Reply, Slot, Time,
};
use pbft::{Answer, Client, ClientConfig, ClientError, Config, Identity, Vouching};

fn says(id: ProposalId, what: &'static str) -> Reply {
    Reply::Done { id, slot: Slot(3), outcome: Outcome::Applied(what.into()) }
}

fn refuses(id: ProposalId, reason: Refusal) -> Reply {
    Reply::Refused { id, reason }
}

// tests [B32]
#[test]
fn a_client_believes_what_f_plus_one_say_alike_and_one_word_of_each() {
    let mut client = client(1, 7);
    let id = client.ask(Time::ZERO, b"x").unwrap().id();
    let applied = Outcome::Applied("x".into());
    let unheard = [
        // Of seven, two lie as they like: twice, in one voice, of other requests, in the name of nobody.
        (1, says(id, "lie")),
        (1, says(id, "lie")),
        (2, says(id, "lie")),
        (1, says(id, "x")),
        (8, says(id, "lie")),
        (0, says(id, "lie")),
        (3, says(name(2, 1), "lie")),
        (3, says(name(1, 2), "lie")),
        (3, says(proposal(1), "lie")),
        (3, Reply::ReadReady { id: ReadId(1), at: Slot(1) }),
        (3, says(id, "x")),
        (3, says(id, "lie")),
        (4, refuses(id, Refusal::Unsupported)),
        (4, says(id, "x")),
    ];
    for (from, reply) in unheard {
        assert_eq!(client.hear(n(from), &reply), None, "{from} {reply:?}");
    }
    assert_eq!(client.hear(n(5), &says(id, "x")), Some(Answer { id, outcome: Ok(applied) }));
    assert_eq!((client.hear(n(6), &says(id, "x")), client.open(), client.deadline()), (None, 0, None));
}

// tests [B32]
#[test]
fn a_refusal_is_believed_as_an_answer_is_and_being_busy_is_none() {
    let mut client = client(1, 4);
    let id = client.ask(Time::ZERO, b"x").unwrap().id();
    for reason in [Refusal::Busy, Refusal::Interrupted] {
        (1..=4).for_each(|from| assert_eq!(client.hear(n(from), &refuses(id, reason.clone())), None));
    }
    assert_eq!(client.hear(n(1), &refuses(id, Refusal::TooLarge)), None);
    let answer = client.hear(n(2), &refuses(id, Refusal::TooLarge));
    assert_eq!(answer, Some(Answer { id, outcome: Err(Refusal::TooLarge) }));
}

// tests [B32]
#[test]
fn a_client_asks_again_and_waits_twice_as_long_each_time_up_to_a_bound() {
    let config = ClientConfig {
        retry_ms: 100,
        max_retry_ms: 350,
        ..ClientConfig::new(Members::of((1..=4).map(n)), Identity::Plain(ClientId::anonymous(1)), 7)
    };
    let mut client = Client::new(config).unwrap();
    let request = client.ask(Time::ZERO, b"x").unwrap();
    assert_eq!((request.id(), request.payload()), (ProposalId::new(ClientId::anonymous(1), 7), &"x".into()));
    for ms in [100, 300, 650, 1_000] {
        assert_eq!(client.deadline(), Some(Time::from_millis(ms)));
        assert_eq!(client.ask_again(Time::from_millis(ms - 1)), []);
        assert_eq!(client.ask_again(Time::from_millis(ms)), std::slice::from_ref(&request));
    }
    assert!(client.give_up(request.id()) && !client.give_up(request.id()));
    assert_eq!(client.deadline(), None);
}

// tests [B32]
#[test]
fn what_a_client_has_open_is_bounded_and_numbers_rise() {
    let members = || Members::of((1..=4).map(n));
    let plain = |first, max_open| ClientConfig {
        max_open,
        ..ClientConfig::new(members(), Identity::Plain(ClientId::anonymous(1)), first)
    };
    let mut client = Client::new(plain(5, 2)).unwrap();
    let ids: Vec<_> = (0..2).map(|_| client.ask(Time::ZERO, b"x").unwrap().id()).collect();
    assert_eq!(ids.iter().map(|id| id.sequence).collect::<Vec<_>>(), [5, 6]);
    assert_eq!(client.ask(Time::ZERO, b"x").err(), Some(ClientError::Busy));
    // While the oldest is open, no more follow than replies are remembered.
    for more in 1..MAX_REPLIES as u64 {
        assert!(client.give_up(ProposalId { sequence: 5 + more, ..ids[0] }));
        let asked = client.ask(Time::ZERO, b"x").map(|request| request.id().sequence);
        let is_last = more == MAX_REPLIES as u64 - 1;
        assert_eq!(asked, if is_last { Err(ClientError::Busy) } else { Ok(6 + more) });
    }
    let mut client = Client::new(plain(u64::MAX, 9)).unwrap();
    assert!(client.ask(Time::ZERO, b"x").is_ok());
    assert_eq!(client.ask(Time::ZERO, b"x").err(), Some(ClientError::Exhausted));
    // What cannot work is refused at once.
    let field = |config: ClientConfig| Client::new(config).err().map(|error| error.field);
    assert_eq!(field(plain(0, 9)), Some("first_number"));
    assert_eq!([0, MAX_REPLIES + 1].map(|most| field(plain(1, most))), [Some("max_open"); 2]);
    assert_eq!(field(ClientConfig { retry_ms: 0, ..plain(1, 9) }), Some("retry_ms"));
    assert_eq!(field(ClientConfig { members: Members::default(), ..plain(1, 9) }), Some("members"));
    let keyless = Identity::Signed { client: ClientId::known(2), keys: keys_of(1), group: GROUP };
    assert_eq!(field(ClientConfig::new(members(), keyless, 1)), Some("identity"));
}

/// A client drives a group, of which replica 2 tells it lies, until it is told what came of this.
fn drive(cluster: &mut Cluster, client: &mut Client, command: &[u8]) -> Outcome {
    let asked = client.ask(cluster.now, command).unwrap();
    let mut due = vec![asked.clone()];
    for _ in 0..1_000 {
        due.drain(..).for_each(|request| cluster.ask_all(&request));
        cluster.settle();
        for (from, reply) in std::mem::take(&mut cluster.replies) {
            let reply = match reply {
                Reply::Done { id, .. } if from == n(2) => says(id, "lie"),
                Reply::Done { .. }
                | Reply::Refused { .. }
                | Reply::ReadReady { .. }
                | Reply::ReadRefused { .. } => reply,
            };
            if let Some(answer) = client.hear(from, &reply).filter(|answer| answer.id == asked.id()) {
                return answer.outcome.unwrap();
            }
        }
        cluster.run_for_ms(100);
        due = client.ask_again(cluster.now);
    }
    panic!("it is never answered");
}

// tests [B32]
#[test]
fn a_client_is_served_once_whatever_is_lost_and_whoever_lies_or_is_down() {
    let members = || Members::of((1..=4).map(n));
    let plain = Identity::Plain(ClientId::anonymous(1));
    let of = |identity| Client::new(ClientConfig::new(members(), identity, 1 << 40)).unwrap();
    let kinds = [
        (signed(), client(1, 4)),
        (Config { vouching: Vouching::Named, ..config() }, of(Identity::Named)),
        (config(), of(plain.clone())),
        (gateway(), of(plain)),
    ];
    for (config, mut client) in kinds {
        let mut cluster = Cluster::with(4, config);
        assert_eq!(drive(&mut cluster, &mut client, b"one"), Outcome::Applied("one".into()));
        // The primary ends; three go on, of whom one lies to the client.
        cluster.crash(1);
        assert_eq!(drive(&mut cluster, &mut client, b"two"), Outcome::Applied("two".into()));
        // All forget what was asked for in a crash.
        cluster.ask_all(&client.ask(cluster.now, b"three").unwrap());
        for id in 2..=4 {
            cluster.crash(id);
            cluster.start(id);
        }
        cluster.wire.clear();
        assert_eq!(drive(&mut cluster, &mut client, b"four"), Outcome::Applied("four".into()));
        cluster.run_for_ms(5_000);
        client.ask_again(cluster.now).iter().for_each(|request| cluster.ask_all(request));
        cluster.run_for_ms(5_000);
        let agreed = cluster.agreed();
        for command in ["one", "two", "three", "four"] {
            assert_eq!(agreed.iter().filter(|line| **line == command).count(), 1, "{command}");
        }
    }
}
