//! A bank over three nodes of a hundred accounts each: transfers between them, among messages that are lost, repeated and reordered, and
//! nodes that crash. No money is made or lost, and what is committed is serializable, by the history on the disks.

use crate::group::{BALANCE, Group, account, config, n, name};
use consensus_core::{ProposalId, wire};
use std::collections::{BTreeMap, BTreeSet};
use twophase::accounts::{Account, Transfer};
use twophase::{Classic, Config, Presumption, Protocol, Record, Replicated};

const NODES: u64 = 3;
const ACCOUNTS: u32 = 100;
const TRANSFERS: u64 = 400;

/// A small generator of its own: the same seed gives the same run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn account(&mut self, accounts: u64) -> Account {
        account(1 + self.below(NODES), u32::try_from(self.below(accounts)).unwrap())
    }
}

/// What happened at one node: committed transfers in their order.
fn history<P: Protocol>(group: &mut Group<P>, node: u64) -> Vec<(ProposalId, Transfer)> {
    let mut promised = BTreeMap::new();
    let mut committed = Vec::new();
    let decode = |payload: &[u8]| wire::decode::<Transfer>(payload, payload.len()).unwrap();
    for record in group.records(node) {
        match record {
            Record::Prepared(promise) => drop(promised.insert(promise.header.id, promise.payload)),
            Record::Settled { id, commit } => {
                let payload = promised.remove(&id).unwrap();
                committed.extend(commit.then(|| (id, decode(&payload))));
            }
            Record::Committed { header, payload } => {
                committed.extend(payload.map(|payload| (header.id, decode(&payload))));
            }
            Record::Begun(_)
            | Record::Aborted { .. }
            | Record::Ended { .. }
            | Record::Registered { .. }
            | Record::Closed { .. }
            | Record::Carried { .. }
            | Record::Past(_) => {}
        }
    }
    committed
}

/// One order in which all of it could have happened: whoever comes first at an account comes first.
fn serial_order(histories: &BTreeMap<u64, Vec<(ProposalId, Transfer)>>) -> Vec<Transfer> {
    let mut transfers = BTreeMap::new();
    let mut last: BTreeMap<Account, ProposalId> = BTreeMap::new();
    let mut before: BTreeMap<ProposalId, BTreeSet<ProposalId>> = BTreeMap::new();
    for (&node, history) in histories {
        for (id, transfer) in history {
            let before = before.entry(*id).or_default();
            for (account, _) in transfer.changes.iter().filter(|(account, _)| account.node == n(node)) {
                before.extend(last.insert(*account, *id).filter(|other| other != id));
            }
            transfers.insert(*id, transfer.clone());
        }
    }
    let mut order = Vec::new();
    while let Some(next) = before.iter().find(|(_, before)| before.is_empty()).map(|(&id, _)| id) {
        before.remove(&next);
        before.values_mut().for_each(|before| before.retain(|&other| other != next));
        order.extend(transfers.remove(&next));
    }
    assert!(before.is_empty(), "these come before each other: {before:?}");
    order
}

fn bank<P: Protocol>(seed: u64, config: Config) -> usize {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut group = Group::<P>::with_accounts(NODES, config, true, ACCOUNTS);
    group.settle();
    // In half of the runs ten accounts are fought for.
    let accounts = if seed.is_multiple_of(2) { 10 } else { u64::from(ACCOUNTS) };
    let mut begun = 0;
    while begun < TRANSFERS {
        match dice.below(40) {
            0..4 => {
                begun += 1;
                let (from, to) = (dice.account(accounts), dice.account(accounts));
                let amount = i64::try_from(dice.below(60)).unwrap();
                group.propose(n(1 + dice.below(NODES)), name(begun), &Transfer::between(from, to, amount));
            }
            4 if dice.below(4) == 0 => group.crash(n(1 + dice.below(NODES))),
            5..8 => group.start(n(1 + dice.below(NODES))),
            8 => group.wire.truncate(group.wire.len().saturating_sub(1)),
            9 => group.wire.extend(group.wire.front().cloned()),
            10..20 => {
                let many = u64::try_from(group.wire.len()).unwrap();
                let place = usize::try_from(dice.below(many.max(1))).unwrap();
                if let Some(letter) = group.wire.remove(place) {
                    group.say(letter.from, letter.to, letter.message);
                }
            }
            20 => {
                group.wake(group.now + std::time::Duration::from_secs(1));
            }
            _ => {
                group.act();
            }
        }
    }
    (1..=NODES).for_each(|id| group.start(n(id)));
    group.run_for_ms(20_000);
    assert_eq!(group.locks(), BTreeSet::new(), "seed {seed}");
    assert!(group.accused.is_empty(), "seed {seed}: {:?}", group.accused);
    let total = BALANCE * i64::from(ACCOUNTS) * i64::try_from(NODES).unwrap();
    assert_eq!(group.total(), total, "seed {seed}: money was made or lost");
    let histories: BTreeMap<u64, _> = (1..=NODES).map(|node| (node, history(&mut group, node))).collect();
    let order = serial_order(&histories);
    // Done one after the other, it comes to what the accounts hold.
    let mut balances: BTreeMap<Account, i64> = BTreeMap::new();
    for (account, change) in order.iter().flat_map(|transfer| &transfer.changes) {
        let balance = balances.entry(*account).or_insert(BALANCE);
        *balance += change;
    }
    for (account, balance) in balances {
        assert_eq!(group.balance(account.node.0, account.number), balance, "seed {seed}: {account:?}");
    }
    for id in group.told.iter().map(|(_, id, _)| *id).collect::<BTreeSet<_>>() {
        let committed = histories.values().flatten().any(|(other, _)| *other == id);
        assert_eq!(group.verdicts(id), BTreeSet::from([committed]), "seed {seed}: {id:?}");
    }
    order.len()
}

// tests [T2] [T4]
#[test]
fn no_money_is_made_or_lost() {
    let presuming = |presumption| Config { presumption, ..config() };
    let mut committed = 0;
    for seed in 1..=20 {
        committed += bank::<Classic>(seed, presuming(Presumption::Abort));
        committed += bank::<Classic>(seed, presuming(Presumption::Commit));
        committed += bank::<Replicated>(seed, config());
    }
    assert!(committed > 1_000, "{committed} of {}", 60 * TRANSFERS);
}
