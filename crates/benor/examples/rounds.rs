//! How many rounds Ben-Or takes, for groups of 3 to 11 that are divided at the start: with coins of everybody's own and with a common
//! one, where chance orders the messages and where somebody does who sees everything but the coins that are still to fall, and keeps the
//! nodes as divided as their votes allow. All go from phase to phase together. (Who foresees a common coin, or lets it fall for some before
//! others have voted, does better: `a_coin_that_can_be_foreseen_is_found` in `tests/mutants.rs`.)
//!
//! Besides, how many it takes with a common coin that is hidden (`Mmr`), where chance orders the messages and nobody lies.
//!
//! `cargo run --release -p benor --features mmr --example rounds`
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use benor::{BenOr, Config, Crashes, Message, Mmr, Model, Proposal, Standing, mmr};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, ClientId, Decision, Event, InstallError, Members, Node, NodeConfig, NodeId, ProposalId, Slot,
    StateMachine, Time,
};

const RUNS: u32 = 2_000;
const MOST_ROUNDS: u64 = 10_000;

/// The decision is read off the algorithm.
struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, _: Decision<'_>) -> Bytes {
        Bytes::new()
    }
    fn query(&self, _: &Bytes) -> Bytes {
        Bytes::new()
    }
    fn snapshot(&self) -> Bytes {
        Bytes::new()
    }
    fn install(&mut self, _: Slot, _: Bytes) -> Result<(), InstallError> {
        Ok(())
    }
}

type Member = Node<BenOr, Outbox<Message>, MemoryStorage<benor::Record>, Nothing>;

/// A small generator with a fixed seed.
fn draw(state: &mut u64, bound: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap() % bound.max(1)
}

fn group(size: u64, config: &Config, seed: u64) -> Vec<Member> {
    let members = Members::of((1..=size).map(NodeId));
    let open = |id| {
        let mut node = NodeConfig::<BenOr>::new(NodeId(id), members.clone(), seed);
        node.algorithm = config.clone();
        node.check_invariants = false;
        let mut node =
            Node::open(node, Time::ZERO, Outbox::default(), MemoryStorage::default(), Nothing).unwrap();
        let id = ProposalId::new(ClientId::anonymous(id), 1);
        let payload = Bytes::from_static(if node.id().0 % 2 == 0 { b"0" } else { b"1" });
        node.handle(Time::ZERO, Event::Propose { id, payload }).unwrap();
        node
    };
    (1..=size).map(open).collect()
}

/// Of the others, those whose votes a node hears in a phase: by chance; or as many of both values as there are, and nothing that was
/// proposed if that can be helped.
fn heard(others: &mut [Standing], chosen: usize, is_aimed: bool, own: &Standing, state: &mut u64) {
    for place in (1..others.len()).rev() {
        others.swap(place, draw(state, place + 1));
    }
    if !is_aimed {
        return;
    }
    let casts = |standing: &Standing| standing.casts.unwrap();
    if casts(own).proposal.is_some() {
        return others.sort_by_key(|standing| casts(standing).proposal != Some(Proposal::Nothing));
    }
    let mut balance = if casts(own).report.value { 1_i32 } else { -1 };
    for place in 0..chosen.min(others.len()) {
        let wanted = balance < 0;
        let found = others.iter().skip(place).position(|other| casts(other).report.value == wanted);
        others.swap(place, place + found.unwrap_or(0));
        balance += if casts(&others[place]).report.value { 1 } else { -1 };
    }
}

/// The round in which the first node decides.
fn rounds(size: u64, config: &Config, is_aimed: bool, seed: u64) -> u64 {
    let mut nodes = group(size, config, seed);
    let mut state = seed;
    let wait = Crashes::thresholds(nodes.len()).wait;
    for phase in 0..2 * MOST_ROUNDS {
        let standings: Vec<(NodeId, Standing)> =
            nodes.iter().map(|node| (node.id(), node.algorithm().standing())).collect();
        if standings.iter().any(|(_, standing)| standing.decided.is_some()) {
            return phase / 2;
        }
        for node in &mut nodes {
            let (id, own) = (node.id(), node.algorithm().standing());
            let mut others: Vec<_> = standings.iter().filter(|(other, _)| *other != id).copied().collect();
            let mut said: Vec<Standing> = others.iter().map(|(_, standing)| *standing).collect();
            heard(&mut said, wait - 1, is_aimed, &own, &mut state);
            for standing in said.into_iter().take(wait - 1) {
                let place = others.iter().position(|(_, other)| *other == standing).unwrap();
                let (from, _) = others.swap_remove(place);
                let message = Message::Tell(standing);
                node.handle(Time::ZERO, Event::Message { from, message }).unwrap();
            }
            node.network().sent.clear();
        }
    }
    MOST_ROUNDS
}

type HiddenMember = Node<Mmr, Outbox<mmr::Message>, MemoryStorage<mmr::Record>, Nothing>;

/// Nodes that toss a hidden coin.
fn hidden_group(size: u64, group: u64) -> Vec<HiddenMember> {
    let ids: Vec<NodeId> = (1..=size).map(NodeId).collect();
    let (keys, secrets) = mmr::deal(&ids, mmr::Thresholds::of(ids.len()).relay, &[1; 32]).unwrap();
    let coin = mmr::Coin::new(group, keys, secrets).unwrap();
    let open = |&id: &NodeId| {
        let mut node = NodeConfig::<Mmr>::new(id, Members::of(ids.clone()), 1);
        node.algorithm = mmr::Config { coin: coin.clone(), ..mmr::Config::default() };
        node.check_invariants = false;
        let mut node =
            Node::open(node, Time::ZERO, Outbox::default(), MemoryStorage::default(), Nothing).unwrap();
        let payload = Bytes::from_static(if id.0 % 2 == 0 { b"0" } else { b"1" });
        let id = ProposalId::new(ClientId::anonymous(id.0), 1);
        node.handle(Time::ZERO, Event::Propose { id, payload }).unwrap();
        node
    };
    ids.iter().map(open).collect()
}

/// The round in which the first node decides, of nodes that toss a hidden coin and whose messages overtake each other.
fn hidden_rounds(size: u64, group: u64) -> u64 {
    let mut nodes = hidden_group(size, group);
    let (mut wire, mut state) = (Vec::new(), group);
    loop {
        for node in &mut nodes {
            if node.algorithm().standing().decided.is_some() {
                return node.status().epoch.0;
            }
            let from = node.id();
            wire.extend(node.network().sent.drain(..).map(|(to, message)| (from, to, message)));
        }
        // Nothing is lost, and the others always have something to say.
        let (from, to, message) = wire.swap_remove(draw(&mut state, wire.len()));
        let node = nodes.iter_mut().find(|node| node.id() == to).unwrap();
        node.handle(Time::ZERO, Event::Message { from, message }).unwrap();
    }
}

fn main() {
    println!(
        "{:>3} {:>9} {:>7} {:>8} {:>6} {:>6} {:>6}",
        "n", "messages", "coins", "mean", "p50", "p99", "most"
    );
    for size in [4, 7, 10] {
        let taken = (1..=u64::from(RUNS)).map(|group| hidden_rounds(size, group)).collect();
        print(size, "chance", "hidden", taken);
    }
    for size in 3..=11 {
        for (is_aimed, common_rounds) in [(false, 0), (false, 1 << 10), (true, 0), (true, 1 << 10)] {
            let run = |seed| {
                let config = Config { common_rounds, coin_key: seed, ..Config::default() };
                rounds(size, &config, is_aimed, seed)
            };
            let messages = if is_aimed { "aimed" } else { "chance" };
            let coins = if common_rounds == 0 { "own" } else { "common" };
            print(size, messages, coins, (1..=u64::from(RUNS)).map(run).collect());
        }
    }
}

fn print(size: u64, messages: &str, coins: &str, mut taken: Vec<u64>) {
    taken.sort_unstable();
    let at = |share: usize| taken[(taken.len() - 1) * share / 100];
    let sum = u32::try_from(taken.iter().sum::<u64>()).unwrap();
    println!(
        "{size:>3} {messages:>9} {coins:>7} {:>8.2} {:>6} {:>6} {:>6}",
        f64::from(sum) / f64::from(RUNS),
        at(50),
        at(99),
        at(100)
    );
}
