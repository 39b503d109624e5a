//! The doors through which Byzantine nodes lie: what they send and hear, what they forget, what clients are told.
//!
//! Hosts are instances: the first [`Plan::hosts`](crate::Plan::hosts) are the nodes, and twins come after them. Links, clients and accusations know
//! identities only.

use super::host::Host;
use super::{Happening, World};
use crate::SimDisk;
use crate::byzantine::{
    Act, ByzantinePlan, EffectFilter, FrameAttacks, FrameBook, Mutator, Round, Scenario, Severs, Traitor,
    Transport, tamper,
};
use crate::client::{Response, Ticket};
use crate::machine::Value;
use crate::mask::FaultClass;
use crate::plan::Rhythm;
use crate::random::Stream;
use crate::record::Happened;
use bytes::Bytes;
use consensus_core::{ConsensusAlgorithm, Event, NodeId, Outcome, Time};
use core::time::Duration;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// How long an instance that ended by its own fault stays down.
const COLLAPSE_PAUSE: Duration = Duration::from_millis(20);

/// What Byzantine nodes plan to do.
#[derive(Clone, Debug)]
pub(super) enum Plot {
    /// The next round of the scenario.
    Round,
    /// An instance falls silent for a while.
    Silence { host: usize },
    /// An instance comes back on an older disk.
    Amnesia { host: usize },
    /// A frame that was held back is sent.
    Late { from: usize, to: usize, frame: Vec<u8> },
}

/// Everything that the world knows of its Byzantine nodes. Empty if there are none.
pub(super) struct Intrigues {
    /// For each host, what it does if it is Byzantine.
    roles: Vec<Option<Rc<Traitor>>>,
    /// The further instances of each node.
    twins: Vec<Vec<usize>>,
    /// What each host said and heard.
    books: Vec<FrameBook>,
    silent_until: Vec<Time>,
    /// An older state of each host's disk.
    stale: Vec<Option<SimDisk>>,
    /// The seeds of the first boots of nodes with twins.
    births: BTreeMap<NodeId, u64>,
    scenario: Option<Scenario>,
    transport: Transport,
    pub(super) may_halt: bool,
    /// How many rounds began, and when the current one ends.
    rounds: usize,
    round_ends: Time,
    mutator: Option<Mutator>,
}

impl Intrigues {
    pub(super) fn new(plan: Option<&ByzantinePlan>, nodes: usize) -> Self {
        let plan = plan.cloned().unwrap_or_default();
        let mut intrigues = Self {
            roles: Vec::new(),
            twins: Vec::new(),
            books: Vec::new(),
            silent_until: Vec::new(),
            stale: Vec::new(),
            births: BTreeMap::new(),
            scenario: None,
            transport: plan.transport,
            may_halt: plan.may_halt,
            rounds: 0,
            round_ends: Time::ZERO,
            mutator: plan.mutator,
        };
        let here = |traitor: &Traitor| index_of(traitor.node).filter(|&node| node < nodes);
        if !plan.traitors.iter().any(|traitor| here(traitor).is_some()) {
            return intrigues;
        }
        (intrigues.roles, intrigues.twins) = (vec![None; nodes], vec![Vec::new(); nodes]);
        for traitor in plan.traitors {
            let Some(node) = here(&traitor) else { continue };
            let (instances, role) = (traitor.instances, Some(Rc::new(traitor)));
            for _ in 1..instances {
                let host = intrigues.roles.len();
                intrigues.roles.push(role.clone());
                if let Some(twins) = intrigues.twins.get_mut(node) {
                    twins.push(host);
                }
            }
            if let Some(place) = intrigues.roles.get_mut(node) {
                *place = role;
            }
        }
        let hosts = intrigues.roles.len();
        intrigues.books.resize_with(hosts, FrameBook::default);
        intrigues.silent_until.resize(hosts, Time::ZERO);
        intrigues.stale.resize(hosts, None);
        intrigues.scenario = plan.scenario.filter(|scenario| !scenario.rounds.is_empty());
        intrigues
    }

    /// What the host does, if it is Byzantine.
    fn role(&self, host: usize) -> Option<&Rc<Traitor>> {
        self.roles.get(host)?.as_ref()
    }

    /// The identities of the twins, in the order of their hosts.
    pub(super) fn extra_hosts(&self, nodes: usize) -> Vec<NodeId> {
        self.roles.iter().skip(nodes).flatten().map(|traitor| traitor.node).collect()
    }

    fn round(&self) -> Option<&Round> {
        let scenario = self.scenario.as_ref()?;
        let current = self.rounds.checked_sub(1)? % scenario.rounds.len().max(1);
        scenario.rounds.get(current)
    }

    fn book(&mut self, host: usize) -> Option<&mut FrameBook> {
        self.books.get_mut(host)
    }
}

/// Runs `act`. What the honest code does in a state that honest code never reaches is nobody's defect: a panic of a
/// Byzantine instance ends that instance, and comes back as `None`.
pub(super) fn contained<T>(is_byzantine: bool, act: impl FnOnce() -> T) -> Option<T> {
    if is_byzantine { catch_unwind(AssertUnwindSafe(act)).ok() } else { Some(act()) }
}

impl<A: ConsensusAlgorithm> World<A> {
    /// Whether this host is an instance of a Byzantine node.
    pub(super) fn is_byzantine(&self, host: usize) -> bool {
        self.byzantine.role(host).is_some()
    }

    /// Whether this identity is a Byzantine node's.
    pub(super) fn is_traitor(&self, node: NodeId) -> bool {
        index_of(node).is_some_and(|index| self.is_byzantine(index))
    }

    /// How many identities are Byzantine.
    pub(super) fn traitors(&self) -> usize {
        (0..self.plan.hosts()).filter(|&node| self.is_byzantine(node)).count()
    }

    /// The node of this host.
    pub(super) fn identity(&self, host: usize) -> usize {
        if host < self.plan.hosts() {
            return host;
        }
        self.byzantine.role(host).and_then(|traitor| index_of(traitor.node)).unwrap_or(host)
    }

    /// How many further instances the node has.
    pub(super) fn twin_count(&self, node: usize) -> usize {
        self.byzantine.twins.get(node).map_or(0, Vec::len)
    }

    /// The host of one of its further instances.
    pub(super) fn twin(&self, node: usize, number: usize) -> Option<usize> {
        self.byzantine.twins.get(node)?.get(number).copied()
    }

    /// The seed of a boot. Twins are alike to the last bit when they are born.
    pub(super) fn seed_of_boot(&mut self, host: usize) -> u64 {
        let first = self.hosts.get(host).filter(|known| known.boot == 0).map(|known| known.id);
        if let Some(&seed) = first.and_then(|id| self.byzantine.births.get(&id)) {
            return seed;
        }
        let seed = self.streams.boots.number();
        if let Some(id) = first.filter(|_| self.twin_count(host) > 0) {
            self.byzantine.births.insert(id, seed);
        }
        seed
    }

    /// Byzantine nodes begin at once, and go on in the calm.
    pub(super) fn start_intrigues(&mut self) {
        if self.byzantine.roles.is_empty() {
            return;
        }
        self.counts.byzantine.runs += 1;
        if self.byzantine.scenario.is_some() {
            self.plan_in(Duration::ZERO, Happening::Byzantine(Plot::Round));
        }
        for host in 0..self.hosts.len() {
            let Some(traitor) = self.byzantine.role(host).cloned() else { continue };
            let silence = traitor.effects.as_ref().and_then(|effects| effects.silence);
            if let Some(Rhythm { every, .. }) = silence {
                self.plot(Act::Silence, every, Plot::Silence { host });
            }
            if let Some(amnesia) = traitor.amnesia {
                self.plot(Act::Amnesia, amnesia.rhythm.every, Plot::Amnesia { host });
            }
        }
    }

    fn plot(&mut self, act: Act, every: Duration, plot: Plot) {
        let span = self.choices_for(act.class()).around(every);
        self.plan_in(span, Happening::Byzantine(plot));
    }

    pub(super) fn on_plot(&mut self, plot: Plot) {
        match plot {
            Plot::Round => self.on_round(),
            Plot::Silence { host } => self.on_silence(host),
            Plot::Amnesia { host } => self.on_amnesia(host),
            Plot::Late { from, to, frame } => self.launch(from, to, frame),
        }
    }

    fn on_round(&mut self) {
        let Some(span) = self.byzantine.scenario.as_ref().map(|scenario| scenario.round) else { return };
        self.byzantine.rounds += 1;
        self.byzantine.round_ends = self.now + span;
        self.counts.byzantine.rounds += 1;
        self.trace.event(self.now, 60, self.byzantine.rounds as u64);
        self.plan_in(span.max(Duration::from_micros(1)), Happening::Byzantine(Plot::Round));
        let Some(round) = self.byzantine.round().cloned() else { return };
        self.trace.say(self.now, || format!("a round of twins begins: {round:?}"));
        self.tape.note(self.now, || Happened::TwinRound {
            sides: round.sides.clone(),
            leader: round.leader.map(|leader| leader as u64),
        });
        // In most protocols, whoever is asked or suspected hands over, where timers alone would not bring it about.
        let leader = round.leader.filter(|_| self.stormy).and_then(|leader| self.hosts.get(leader));
        if let Some(to) = leader.map(|host| Some(host.id)) {
            for host in self.leaders() {
                self.tell(host, Event::Transfer { to });
            }
        }
    }

    /// Whether the timers of this host stand still in this round, and until when: another leads.
    pub(super) fn stands_still(&self, host: usize) -> Option<Time> {
        let leader = self.byzantine.round().filter(|_| self.stormy)?.leader?;
        (leader != host && self.now < self.byzantine.round_ends).then_some(self.byzantine.round_ends)
    }

    /// Whether what this host sends may reach that one in this round.
    fn may_hear(&self, from: usize, to: usize) -> bool {
        let Some(round) = self.byzantine.round() else { return true };
        let severs = self.byzantine.scenario.as_ref().map(|scenario| scenario.severs);
        let touches = self.is_byzantine(from) || self.is_byzantine(to);
        round.joins(from, to) || !(touches || (self.stormy && severs == Some(Severs::Everyone)))
    }

    fn on_silence(&mut self, host: usize) {
        let Some(traitor) = self.byzantine.role(host).cloned() else { return };
        let Some(rhythm) = traitor.effects.as_ref().and_then(|effects| effects.silence) else { return };
        let until = self.now + self.choices_for(FaultClass::Silence).around(rhythm.lasts);
        if self.injector.allows(FaultClass::Silence)
            && let Some(silent) = self.byzantine.silent_until.get_mut(host)
        {
            *silent = until;
        }
        self.plot(Act::Silence, rhythm.every + rhythm.lasts, Plot::Silence { host });
    }

    /// The instance stops, and comes back on an older state of its disk, or on an empty one.
    fn on_amnesia(&mut self, host: usize) {
        let Some(amnesia) = self.byzantine.role(host).and_then(|traitor| traitor.amnesia) else { return };
        self.plot(Act::Amnesia, amnesia.rhythm.every, Plot::Amnesia { host });
        let mut choices = self.choices_for(FaultClass::Amnesia);
        let (empty, span) = (choices.chance(amnesia.empty_ppm), choices.around(amnesia.rhythm.lasts));
        if !self.injector.allows_if(FaultClass::Amnesia, self.is_up(host)) {
            return;
        }
        self.kill(host);
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let (now_holds, boot) = (machine.platter.disk().fork(), machine.boot);
        let older = self.byzantine.stale.get_mut(host).and_then(|stale| stale.replace(now_holds));
        // The first time there is nothing older yet.
        if empty || older.is_some() {
            let disk = older.filter(|_| !empty).unwrap_or_default();
            machine.platter.replace(disk);
            self.act(host, Act::Amnesia, || {
                if empty { "its disk is empty" } else { "its disk is older" }.into()
            });
        }
        self.plan_in(span, Happening::Restart { node: host, boot });
    }

    /// An instance ended by its own fault. It comes back, on an empty disk if it could not even start.
    pub(super) fn collapse(&mut self, host: usize, why: &str) {
        self.counts.byzantine.collapses += 1;
        self.trace.event(self.now, 61, host as u64);
        let node = crate::record::node(self.identity(host));
        self.trace.say(self.now, || format!("the Byzantine {node} stops: {why}"));
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let started = machine.node.is_some();
        machine.stop();
        machine.platter.forget_fault();
        if !started {
            machine.platter.replace(SimDisk::new());
        }
        let boot = machine.boot;
        self.plan_in(COLLAPSE_PAUSE, Happening::Restart { node: host, boot });
    }

    /// Notes an act.
    fn act(&mut self, host: usize, act: Act, text: impl Fn() -> String) {
        self.counts.byzantine.note(act);
        self.trace.event(self.now, 64 + act as u64, host as u64);
        let node = crate::record::node(self.identity(host));
        self.trace.say(self.now, || format!("the Byzantine {node} (host {host}): {act:?}: {}", text()));
        self.tape.note(self.now, || Happened::Act { node, class: act.class().name().into(), text: text() });
    }

    /// Whether an act of this rate comes now, and what it draws from.
    fn comes(&mut self, act: Act, ppm: u64) -> Option<Stream> {
        let stream = self.streams.faults.get_mut(act.class());
        let choices = stream.chance(ppm).then(|| stream.fork());
        choices.filter(|_| self.injector.allows(act.class()))
    }

    /// What becomes of what a host sends. A correct one's messages are left alone.
    pub(super) fn betray(&mut self, host: usize, sent: &mut Vec<(NodeId, Vec<u8>)>) {
        let Some(traitor) = self.byzantine.role(host).cloned() else { return };
        let mut leaves = Vec::with_capacity(sent.len());
        for (to, frame) in sent.drain(..) {
            if let Some(effects) = &traitor.effects
                && self.suppresses(host, effects, to)
            {
                continue;
            }
            match traitor.frames {
                Some(attacks) => self.attack(host, attacks, to, frame, &mut leaves),
                None => leaves.push((to, frame)),
            }
        }
        if let Some(effects) = &traitor.effects {
            leaves.retain(|(to, frame)| !self.holds_back(host, effects, *to, frame));
        }
        *sent = leaves;
    }

    fn suppresses(&mut self, host: usize, effects: &EffectFilter, to: NodeId) -> bool {
        let act = if self.byzantine.silent_until.get(host).is_some_and(|&until| self.now < until) {
            Act::Silence
        } else if effects.withheld_from.contains(&to) && self.injector.allows(FaultClass::Withholding) {
            Act::Withheld
        } else if self.comes(Act::SendOmission, effects.send_omission_ppm).is_some() {
            Act::SendOmission
        } else {
            return false;
        };
        self.act(host, act, || format!("to {to}"));
        true
    }

    fn holds_back(&mut self, host: usize, effects: &EffectFilter, to: NodeId, frame: &[u8]) -> bool {
        let Some(mut choices) = self.comes(Act::Delay, effects.delay_ppm) else { return false };
        let Some(to) = index_of(to) else { return false };
        let span = choices.span(Duration::ZERO, effects.delay);
        self.act(host, Act::Delay, || format!("to n{}, by {span:?}", to + 1));
        let late = |to| Happening::Byzantine(Plot::Late { from: host, to, frame: frame.to_vec() });
        self.plan_in(span, late(to));
        for number in 0..self.twin_count(to) {
            if let Some(twin) = self.twin(to, number) {
                self.plan_in(span, late(twin));
            }
        }
        true
    }

    /// Changes the frame, and puts others beside it.
    fn attack(
        &mut self,
        host: usize,
        attacks: FrameAttacks,
        to: NodeId,
        mut frame: Vec<u8>,
        leaves: &mut Vec<(NodeId, Vec<u8>)>,
    ) {
        if let Some(book) = self.byzantine.book(host) {
            book.says(&frame);
        }
        if let Some(mut choices) = self.comes(Act::Mutation, attacks.mutate_ppm)
            && let Some(changed) =
                self.byzantine.mutator.and_then(|mutator| mutator.apply(&frame, &mut choices))
        {
            self.act(host, Act::Mutation, || format!("to {to}"));
            frame = changed;
        }
        if let Some(mut choices) = self.comes(Act::Tamper, attacks.tamper_ppm) {
            tamper(&mut frame, &mut choices);
            self.act(host, Act::Tamper, || format!("to {to}"));
        }
        if let Some(mut choices) = self.comes(Act::Forgery, attacks.forge_ppm) {
            self.forge(host, to, frame.clone(), &mut choices);
        }
        leaves.push((to, frame));
        let again = [
            (Act::Replay, attacks.replay_ppm, FrameBook::recall_said as fn(&FrameBook, &mut Stream) -> _),
            (Act::Relay, attacks.relay_ppm, FrameBook::recall_heard),
        ];
        for (act, ppm, recall) in again {
            let Some(mut choices) = self.comes(act, ppm) else { continue };
            let to = crate::record::node(choices.index(self.plan.hosts()));
            let old: Option<Vec<u8>> =
                self.byzantine.books.get(host).and_then(|book| recall(book, &mut choices));
            if let Some(old) = old.filter(|_| index_of(to) != Some(self.identity(host))) {
                self.act(host, act, || format!("to {to}"));
                leaves.push((to, old));
            }
        }
    }

    /// The frame goes out under the name of another. A transport that authenticates its peers refuses it.
    fn forge(&mut self, host: usize, to: NodeId, frame: Vec<u8>, choices: &mut Stream) {
        let claimed = choices.index(self.plan.hosts());
        let Some(target) = index_of(to).filter(|&to| to != claimed) else { return };
        if claimed == self.identity(host) {
            return;
        }
        self.act(host, Act::Forgery, || format!("to {to}, as n{}", claimed + 1));
        match self.byzantine.transport {
            Transport::Authenticated => self.counts.byzantine.refused_forgeries += 1,
            Transport::Trusting => self.launch_as(claimed, host, target, frame),
        }
    }

    /// Whether the round keeps this message from its receiver.
    pub(super) fn is_parted(&mut self, from: usize, to: usize) -> bool {
        if self.byzantine.roles.is_empty() || self.may_hear(from, to) {
            return false;
        }
        if !self.injector.allows(FaultClass::TwinParting) {
            return false;
        }
        self.counts.byzantine.note(Act::Parted);
        true
    }

    /// Whether a Byzantine host does not hear this; what it hears it keeps, to pass it on.
    pub(super) fn is_missed(&mut self, to: usize, frame: &[u8]) -> bool {
        let Some(traitor) = self.byzantine.role(to).cloned() else { return false };
        let ppm = traitor.effects.as_ref().map_or(0, |effects| effects.receive_omission_ppm);
        if self.comes(Act::ReceiveOmission, ppm).is_some() {
            self.act(to, Act::ReceiveOmission, String::new);
            return true;
        }
        if traitor.frames.is_some_and(|attacks| attacks.relay_ppm > 0)
            && let Some(book) = self.byzantine.book(to)
        {
            book.hears(frame);
        }
        false
    }

    /// What a client is told: a Byzantine node may tell it something else.
    pub(super) fn twist(&mut self, host: usize, ticket: Ticket, response: Response) -> Response {
        let Some(ppm) = self.byzantine.role(host).map(|traitor| traitor.lies_ppm) else { return response };
        let Some(mut choices) = self.comes(Act::Lie, ppm) else { return response };
        let lie = match response {
            Response::Decided { slot, outcome: Outcome::Applied(reply) } => {
                let mut reply = reply.to_vec();
                tamper(&mut reply, &mut choices);
                Response::Decided { slot, outcome: Outcome::Applied(Bytes::from(reply)) }
            }
            Response::Decided { slot, outcome: _ } => Response::Decided { slot, outcome: Outcome::Expired },
            Response::Read { slot, value: Value(value) } => {
                Response::Read { slot, value: Value(value ^ choices.number()) }
            }
            Response::Refused(_) | Response::Unreachable => Response::Unreachable,
        };
        self.act(host, Act::Lie, || format!("to client {}: {lie:?}", ticket.client));
        lie
    }

    /// A Byzantine node's frame that a correct one refuses.
    pub(super) fn on_undecodable(&mut self, to: usize) {
        self.counts.byzantine.undecodable += u64::from(!self.is_byzantine(to));
        self.trace.event(self.now, 62, to as u64);
    }

    /// Somebody accuses somebody. Only what a correct node says counts, and only of a Byzantine one it may say it; whether
    /// it may.
    pub(super) fn may_accuse(&mut self, by: usize, of: NodeId) -> bool {
        if self.byzantine.roles.is_empty() {
            return false;
        }
        if self.is_byzantine(by) {
            return true;
        }
        if !self.is_traitor(of) {
            return false;
        }
        self.counts.byzantine.accusations += 1;
        self.trace.event(self.now, 63, of.0);
        let by = crate::record::node(by);
        self.trace.say(self.now, || format!("{by} accuses the Byzantine {of}"));
        self.tape.note(self.now, || Happened::Act {
            node: by,
            class: "accusation".into(),
            text: format!("of {of}"),
        });
        true
    }

    /// What a Byzantine node decides and says of itself is not judged.
    pub(super) fn disregard(&mut self, host: usize) {
        let Some(Host { tap, journal, node, .. }) = self.hosts.get_mut(host) else { return };
        tap.borrow_mut().clear();
        journal.borrow_mut().clear();
        if let Some(node) = node {
            let _ = node.accusations().count();
        }
    }
}

/// The place of a node among the hosts.
pub(super) fn index_of(node: NodeId) -> Option<usize> {
    usize::try_from(node.0).ok()?.checked_sub(1)
}
