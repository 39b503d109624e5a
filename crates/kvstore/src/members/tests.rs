use super::*;
use proptest::prelude::*;

fn n(id: u64) -> NodeId {
    NodeId(id)
}

fn at(host: &str) -> PeerAddress {
    format!("{host}:1").parse().unwrap()
}

fn founder(id: u64) -> Founder {
    Founder { id: n(id), name: format!("n{id}"), peer: at(&format!("h{id}")) }
}

fn reserve(host: &str, wants_vote: bool) -> MemberCommand {
    MemberCommand::Reserve { peers: vec![at(host)], wants_vote }
}

fn publish(id: u64, incarnation: u64) -> MemberCommand {
    let (name, client_urls) = (format!("name {id}"), vec![format!("http://c{id}:2")]);
    MemberCommand::Publish { id: n(id), name, client_urls, incarnation }
}

fn claim(id: Option<u64>, host: &str, incarnation: u64) -> MemberCommand {
    MemberCommand::Claim { id: id.map(n), peer: at(host), incarnation }
}

/// Three founders.
fn table() -> MemberTable {
    let mut table = MemberTable::default();
    assert_eq!(table.apply(&MemberCommand::Found([1, 2, 3].map(founder).into())), Ok(MemberReply::Done));
    table
}

fn voters(ids: &[u64]) -> Members {
    Members::of(ids.iter().copied().map(n))
}

/// The members as the protocol has them, after a newcomer was added.
fn with_learner(ids: &[u64], learner: u64) -> Members {
    voters(ids).with_learners([n(learner)])
}

fn ids(table: &MemberTable) -> Vec<(u64, bool)> {
    table.rows().map(|(id, row)| (id.0, row.is_learner)).collect()
}

#[test]
fn the_first_word_about_the_founders_counts() {
    let mut table = MemberTable::default();
    assert_eq!(table.apply(&reserve("x", true)), Err(MemberRefusal::NotFounded));
    table.follow(&voters(&[1]));
    let bad = [
        vec![],
        vec![founder(1), founder(1)],
        vec![founder(1), Founder { peer: at("h1"), ..founder(2) }],
        vec![founder(0)],
        vec![founder(u64::MAX)],
        vec![Founder { name: "x".repeat(256), ..founder(1) }],
    ];
    for founders in bad {
        assert_eq!(table.apply(&MemberCommand::Found(founders)), Err(MemberRefusal::TooMuch));
    }
    assert_eq!(table, MemberTable::default());
    for founders in [[1, 2, 7], [1, 2, 9]] {
        assert_eq!(table.apply(&MemberCommand::Found(founders.map(founder).into())), Ok(MemberReply::Done));
        assert_eq!(ids(&table), [(1, false), (2, false), (7, false)]);
    }
    assert_eq!((table.revision(), table.peers().unused_from), (1, n(8)));
}

#[test]
fn ids_are_given_once_and_for_ever() {
    let mut table = table();
    assert_eq!(table.apply(&reserve("a", true)), Ok(MemberReply::Id(n(4))));
    assert_eq!(table.apply(&reserve("a", true)), Ok(MemberReply::Id(n(4))), "asked again");
    assert!(table.row(n(4)).is_none() && !table.has_removed(n(4)), "it is no member yet");
    assert!(table.peers().addresses.contains_key(&n(4)), "but it may come");
    table.apply(&MemberCommand::Release(n(4))).unwrap();
    assert!(table.has_removed(n(4)));
    assert_eq!(table.apply(&reserve("a", true)), Ok(MemberReply::Id(n(5))));
    table.follow(&with_learner(&[1, 2, 3], 5));
    assert_eq!(ids(&table), [(1, false), (2, false), (3, false), (5, true)]);
    table.follow(&voters(&[1, 2, 3, 5]));
    table.follow(&voters(&[2, 3, 5]));
    assert_eq!(ids(&table), [(2, false), (3, false), (5, false)]);
    assert!(table.has_removed(n(1)) && table.peers().has_removed(n(1)));
    assert_eq!(
        table.apply(&reserve("h1", true)),
        Ok(MemberReply::Id(n(6))),
        "the address is free, the id is not"
    );
    assert_eq!(
        table.apply(&MemberCommand::Move { id: n(1), peers: vec![at("z")] }),
        Err(MemberRefusal::Removed)
    );
    assert_eq!(
        table.apply(&MemberCommand::Move { id: n(9), peers: vec![at("z")] }),
        Err(MemberRefusal::NotFound)
    );
}

#[test]
fn one_newcomer_settles_before_the_next_one_comes() {
    let mut table = table();
    assert_eq!(table.apply(&reserve("h2", true)), Err(MemberRefusal::AddressTaken));
    table.apply(&reserve("a", true)).unwrap();
    table.follow(&with_learner(&[1, 2, 3], 4));
    assert_eq!(table.aspirants().collect::<Vec<_>>(), [n(4)]);
    for wants_vote in [true, false] {
        assert_eq!(table.apply(&reserve("b", wants_vote)), Err(MemberRefusal::Unsettled));
    }
    table.follow(&voters(&[1, 2, 3, 4]));
    assert_eq!(table.aspirants().count(), 0);
    table.apply(&reserve("b", false)).unwrap();
    table.follow(&with_learner(&[1, 2, 3, 4], 5));
    assert_eq!(table.apply(&reserve("c", false)), Err(MemberRefusal::TooManyLearners));
    assert_eq!(table.apply(&reserve("c", true)), Ok(MemberReply::Id(n(6))), "a learner by wish is settled");
    for peers in [vec![], vec![at("x"); 2], (0..=MAX_ADDRESSES).map(|host| at(&format!("x{host}"))).collect()]
    {
        assert_eq!(
            table.apply(&MemberCommand::Reserve { peers, wants_vote: true }),
            Err(MemberRefusal::TooMuch)
        );
    }
}

#[test]
fn newcomers_that_never_come_are_forgotten_and_leave_nobody_unknown() {
    let mut table = table();
    for number in 0..20 {
        assert_eq!(table.apply(&reserve(&format!("x{number}"), true)), Ok(MemberReply::Id(n(4 + number))));
    }
    assert_eq!(table.reserved.len(), MAX_RESERVED);
    // The protocol lets in somebody whose reservation is forgotten: it is known as such, and can be removed.
    table.follow(&with_learner(&[1, 2, 3], 4));
    assert_eq!((table.orphans().collect::<Vec<_>>(), table.aspirants().count()), (vec![n(4)], 0));
    assert!(!table.has_removed(n(4)));
    table.follow(&voters(&[1, 2, 3]));
    assert_eq!(table.orphans().count(), 0);
    // Somebody whom nobody has reserved an id for takes it all the same.
    table.follow(&with_learner(&[1, 2, 3], 100));
    assert_eq!(table.peers().unused_from, n(101));
}

#[test]
fn an_id_belongs_to_the_first_directory_that_claims_it() {
    let mut table = table();
    table.apply(&reserve("a", true)).unwrap();
    assert_eq!(table.apply(&claim(None, "a", 7)), Err(MemberRefusal::NotFound), "it is no member yet");
    table.follow(&with_learner(&[1, 2, 3], 4));
    assert_eq!(table.apply(&claim(Some(4), "b", 7)), Err(MemberRefusal::NotFound), "somewhere else");
    assert_eq!(table.apply(&claim(None, "a", 7)), Ok(MemberReply::Id(n(4))));
    assert_eq!(table.apply(&claim(Some(4), "a", 7)), Ok(MemberReply::Id(n(4))), "asked again");
    assert_eq!(table.apply(&claim(Some(4), "a", 8)), Err(MemberRefusal::Claimed));
    assert_eq!(table.apply(&publish(4, 8)), Err(MemberRefusal::Claimed));
    table.apply(&publish(4, 7)).unwrap();
    assert_eq!(table.row(n(4)).unwrap().name, "name 4");
    // Founders do not join, whether they have started or not.
    assert_eq!(table.apply(&claim(None, "h1", 1)), Err(MemberRefusal::Claimed));
    table.apply(&publish(1, 1)).unwrap();
    assert_eq!(table.apply(&publish(1, 2)), Err(MemberRefusal::Claimed));
    table.follow(&voters(&[1, 2, 4]));
    assert_eq!(table.apply(&claim(Some(3), "h3", 9)), Err(MemberRefusal::Removed));
}

#[test]
fn a_member_may_move_where_nobody_else_is() {
    let mut table = table();
    table.apply(&reserve("a", false)).unwrap();
    let relocate = |id: u64, hosts: &[&str]| MemberCommand::Move {
        id: n(id),
        peers: hosts.iter().map(|host| at(host)).collect(),
    };
    for taken in ["h2", "a"] {
        assert_eq!(table.apply(&relocate(1, &["new", taken])), Err(MemberRefusal::AddressTaken));
    }
    let revision = table.revision();
    table.apply(&relocate(1, &["h1"])).unwrap();
    assert_eq!(table.revision(), revision, "nothing has changed");
    table.apply(&relocate(1, &["new", "h1"])).unwrap();
    assert_eq!(table.peers().addresses[&n(1)], [at("new"), at("h1")]);
    assert_eq!(table.revision(), revision + 1);
    assert_eq!(table.list()[0].peer_ur_ls, ["http://new:1", "http://h1:1"]);
}

#[test]
fn urls_are_plain_and_few() {
    let urls = |list: &[&str]| addresses_of(&list.iter().map(|&url| url.to_owned()).collect::<Vec<_>>());
    assert_eq!(urls(&["http://h:1", "http://[::1]:2"]).unwrap().len(), 2);
    for bad in [
        "",
        "h:1",
        "https://h:1",
        "http://h",
        "http://h:0",
        "http://h:1/",
        "http://h:1/p",
        "http://u@h:1",
        "unix://h:1",
    ] {
        assert_eq!(urls(&[bad]), None, "{bad}");
        assert_eq!(urls(&["http://h:1", bad]), None, "{bad}");
    }
    assert_eq!(urls(&[]), None);
    assert_eq!(urls(&["http://h:1", "http://h:1"]), None);
    let many: Vec<String> = (1..=MAX_ADDRESSES as u64 + 1).map(|port| format!("http://h:{port}")).collect();
    assert_eq!(
        (addresses_of(&many), addresses_of(&many[1..]).map(|list| list.len())),
        (None, Some(MAX_ADDRESSES))
    );
}

#[derive(Clone, Debug)]
enum Step {
    Command(MemberCommand),
    Follow(Members),
}

prop_compose! {
    fn addresses()(hosts in prop::collection::vec(1_u8..7, 0..3)) -> Vec<PeerAddress> {
        hosts.into_iter().map(|host| at(&format!("h{host}"))).collect()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let id = || (0_u64..9).prop_map(NodeId);
    let command = prop_oneof![
        prop::collection::vec(0_u64..5, 0..4)
            .prop_map(|ids| MemberCommand::Found(ids.into_iter().map(founder).collect())),
        (addresses(), any::<bool>())
            .prop_map(|(peers, wants_vote)| MemberCommand::Reserve { peers, wants_vote }),
        id().prop_map(MemberCommand::Release),
        (id(), addresses()).prop_map(|(id, peers)| MemberCommand::Move { id, peers }),
        (0_u64..9, 0_u64..3).prop_map(|(id, incarnation)| publish(id, incarnation)),
        (prop::option::of(0_u64..9), 1_u8..7, 0_u64..3).prop_map(|(id, host, incarnation)| claim(
            id,
            &format!("h{host}"),
            incarnation
        )),
    ];
    let members = (prop::collection::vec(1_u64..9, 1..4), prop::collection::vec(1_u64..9, 0..2));
    prop_oneof![
        command.prop_map(Step::Command),
        members.prop_map(|(voters, learners)| {
            Step::Follow(Members::of(voters.into_iter().map(n)).with_learners(learners.into_iter().map(n)))
        }),
    ]
}

proptest! {
    /// Whatever is said in whatever order: what the module promises holds, and a snapshot brings back the same table.
    #[test]
    fn the_invariants_hold_whatever_is_said(steps in prop::collection::vec(step(), 0..40)) {
        let mut table = MemberTable::default();
        let mut removed = std::collections::BTreeSet::new();
        for step in steps {
            let before = table.clone();
            match &step {
                Step::Command(command) => if table.apply(command).is_err() {
                    prop_assert_eq!(&table, &before, "a refusal changes nothing");
                },
                Step::Follow(members) => table.follow(members),
            }
            prop_assert_eq!(table.revision() > before.revision(), table != before);
            prop_assert!(table.next >= before.next);
            removed.extend((1..10).map(n).filter(|&id| before.has_removed(id)));
            // Only the protocol itself could bring back whom it has removed.
            if matches!(step, Step::Command(_)) {
                prop_assert!(removed.iter().all(|&id| table.row(id).is_none() || before.row(id).is_some()));
            }
            let mut seen = Vec::new();
            for address in table.rows.values().chain(table.reserved.values()).flat_map(|row| &row.peers) {
                prop_assert!(!seen.contains(address), "{address} is there twice");
                seen.push(address.clone());
            }
            for (id, row) in before.rows() {
                let now = table.row(id).map_or(row.incarnation, |row| row.incarnation);
                prop_assert!(row.incarnation == 0 || now == row.incarnation, "the id of {id} went to another directory");
            }
            let bytes = table.encode();
            prop_assert_eq!(MemberTable::decode(&bytes), Ok(table.clone()));
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
        if let Ok(table) = MemberTable::decode(&bytes) {
            prop_assert_eq!(MemberTable::decode(&table.encode()), Ok(table));
        }
    }
}
