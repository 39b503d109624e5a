//! Local reads and writes. A reader of a log may go to any replica, which answers once it has applied all that the reader has
//! seen: with that, local reads are sequentially consistent. A client of a store that converges stays with one replica, its
//! home, and dies with it; another client comes in its place.
//!
//! The plan can let clients roam without such care ([`Roaming`]). That is beyond every claim, and shows whether the checkers of
//! client histories see what they must.

use super::super::World;
use crate::client::{Client, Request};
use crate::consistency::convergence::{self, Replica};
use crate::consistency::session::Guarantee;
use crate::consistency::{Event, Finding, Observed, causal, sequential, session};
use crate::machine::{CausalWrite, Command, Key};
use crate::oracle::Property;
use crate::suit::Roaming;
use bytes::Bytes;
use consensus_core::{ConsensusAlgorithm, Problem, ProposalId, ReadId, Reads, Slot, Termination, wire};

/// The longest command of a client: a guard for decoding.
const MAX_COMMAND_BYTES: usize = 1 << 20;

impl<A: ConsensusAlgorithm> World<A> {
    /// Whether a client stays with its replica.
    pub(in super::super) const STICKY: bool = matches!(A::GUARANTEES.problem, Problem::Convergence);
    const IS_LOCAL: bool = matches!(A::GUARANTEES.reads, Reads::Local);

    pub(in super::super) fn read_request(&mut self, number: u32, key: Key) -> Request {
        if Self::IS_LOCAL {
            let roams = self.plan.workload.roaming == Roaming::Reads;
            let floor = self.client(number).map(|client| client.floor).unwrap_or_default();
            let after = if Self::STICKY || roams { Slot::ZERO } else { floor };
            return Request::Local { key, after };
        }
        self.next_read += 1;
        Request::Read { id: ReadId(self.next_read), key }
    }

    /// The node that the client's next attempt goes to.
    pub(in super::super) fn target_of(&mut self, number: u32) -> usize {
        let Some(client) = self.clients.get(number as usize) else { return 0 };
        let Some(errand) = &client.errand else { return client.target };
        let is_local = matches!(errand.request, Request::Local { .. });
        let roams = match self.plan.workload.roaming {
            Roaming::Never => is_local && !Self::STICKY,
            Roaming::Reads => is_local,
            Roaming::Writes => is_local != Self::STICKY,
        };
        if roams { self.streams.clients.index(self.plan.hosts()) } else { client.target }
    }

    /// What a replica makes of a client's write before it proposes it: of convergence, it adds what the write replaces.
    pub(in super::super) fn in_context(&mut self, index: usize, id: ProposalId, payload: Bytes) -> Bytes {
        let Some(host) = self.hosts.get(index).filter(|_| Self::STICKY) else { return payload };
        let replica = host.node.as_ref().and_then(|node| node.machine().replica());
        let command = wire::decode::<Command>(&payload, MAX_COMMAND_BYTES).ok();
        let (Some(replica), Some(Command { key, call, ballast })) = (replica, command) else {
            return payload;
        };
        let crate::machine::Call::Put(mark) = call else { return payload };
        let write = CausalWrite { key, mark, replaces: replica.siblings(key), ballast };
        let payload = Bytes::from(wire::encode(&write));
        self.oracle.on_accepted(host.id, id, &payload);
        payload
    }

    /// Clients whose replica is lost for good end with it; others come in their place.
    pub(in super::super) fn replace_clients(&mut self) {
        let live: Vec<usize> = (0..self.plan.hosts())
            .filter(|&index| self.hosts.get(index).is_some_and(|host| !host.lost))
            .collect();
        for index in 0..self.clients.len() {
            let Some(client) = self.clients.get_mut(index).filter(|client| !client.retired) else { continue };
            if !Self::STICKY || live.contains(&client.target) {
                continue;
            }
            (client.retired, client.errand) = (true, None);
            let number = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
            let home = self.streams.clients.pick(&live).copied().unwrap_or_default();
            self.clients.push(Client::new(number, false, home));
            let think = self.streams.clients.around(self.plan.workload.think);
            self.plan_in(think, super::super::Happening::ClientNext { client: number });
        }
    }

    /// Every replica is alone, and must serve its clients all the same.
    pub(in super::super) fn expect_availability(&mut self) {
        if !matches!(A::GUARANTEES.termination, Termination::Always) || self.oracle.failure().is_some() {
            return;
        }
        self.leave_links(|_, _| false);
        self.expect_service(Property::Availability);
        self.trace.say(self.now, || "the links are whole".into());
        self.tape.note(self.now, || crate::record::Happened::Heal);
        self.links.heal();
    }

    /// Clients finish; then every write must come to every live replica, and all of them must hold the same.
    pub(in super::super) fn expect_convergence(&mut self) {
        self.expect_idle();
        let bound = self.patience + self.plan.workload.timeout * 16;
        let missing =
            |world: &Self| world.oracle.convergence().and_then(|judge| judge.missing(&world.live()));
        if !self.run_while(bound, |world| missing(world).is_some())
            && let Some((id, node)) = missing(self)
        {
            let live = self.live();
            let present = self.oracle.convergence().is_some_and(|judge| judge.is_present(id, &live));
            let (property, who) = if present {
                (Property::Delivery, "others have it")
            } else {
                (Property::Durability, "nobody has it any more")
            };
            let detail =
                format!("{id:?} did not come to {node} within {bound:?}, and {who}: {}", self.why_not());
            self.oracle.fail(property, self.now, detail);
        }
        let replicas: Vec<Replica> = self
            .hosts
            .iter()
            .filter_map(|host| {
                let registers = host.node.as_ref()?.machine().replica()?.registers();
                Some(Replica { number: u32::try_from(host.id.0).unwrap_or_default(), registers })
            })
            .collect();
        let events = self.plain_events();
        self.judge(Property::Convergence, &convergence::check(&events, &replicas));
    }

    /// The clients' history, without the outcome of writes that nobody has any more: the replica that had accepted them is lost
    /// for good.
    fn plain_events(&self) -> Vec<Event> {
        let live = self.live();
        let judge = self.oracle.convergence();
        let is_excused = |id: ProposalId| {
            judge.is_some_and(|judge| {
                judge.origin(id).is_some_and(|origin| !live.contains(&origin))
                    && !judge.is_somewhere(id, &live)
            })
        };
        let events = self.history.operations().iter().filter_map(|operation| {
            let mut event = Event::from_operation(operation).ok()?;
            if operation.id.is_some_and(is_excused) {
                event.returned = None;
            }
            Some(event)
        });
        events.collect()
    }

    fn judge(&mut self, property: Property, finding: &Finding) -> u64 {
        match finding {
            Finding::Holds => 0,
            Finding::Undecided => 1,
            Finding::Violated(detail) => {
                self.oracle.fail(property, self.now, detail.clone());
                0
            }
        }
    }

    /// Judges what clients saw through local reads; how much of it could not be decided.
    pub(in super::super) fn judge_local_reads(&mut self) -> u64 {
        let events = self.plain_events();
        let observed = match Observed::new(&events) {
            Ok(observed) => observed,
            // More than can be judged at once: said as such, not as a pass.
            Err(_) => return 1,
        };
        // Who loses the last of these mostly loses the first too, and is told of the rarer loss.
        let guarantees = [
            (Property::WritesFollowReads, Guarantee::WritesFollowReads),
            (Property::MonotonicWrites, Guarantee::MonotonicWrites),
            (Property::MonotonicReads, Guarantee::MonotonicReads),
            (Property::ReadYourWrites, Guarantee::ReadYourWrites),
        ];
        for (property, guarantee) in guarantees {
            self.judge(property, &session::check(&observed, guarantee));
        }
        self.judge(Property::Causal, &causal::check(&observed));
        if Self::STICKY || self.oracle.failure().is_some() {
            return 0;
        }
        self.judge(Property::Sequential, &sequential::check(&observed))
    }
}
