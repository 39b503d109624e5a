//! A simulated client: one operation at a time, with a session and retries or without both.

use crate::history::OperationNumber;
use crate::machine::{Answer, Call, Key, Value};
use crate::plan::Workload;
use crate::random::Stream;
use bytes::Bytes;
use consensus_core::{ClientId, Outcome, ProposalId, ReadId, Refusal, Slot, Time};
use std::collections::BTreeMap;

/// What a client sends.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Propose { id: ProposalId, payload: Bytes },
    Read { id: ReadId, key: Key },
}

/// What a client hears.
#[derive(Clone, Debug)]
pub(crate) enum Response {
    Decided {
        slot: Slot,
        outcome: Outcome,
    },
    Read {
        slot: Slot,
        value: Value,
    },
    Refused(Refusal),
    /// The connection was refused: nothing was done.
    Unreachable,
}

/// Which attempt a request belongs to, so that the answer finds its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub(crate) client: u32,
    /// Which operation of the client.
    pub(crate) errand: u64,
    /// Which attempt at it.
    pub(crate) attempt: u64,
}

/// An operation under way.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    pub(crate) number: Option<OperationNumber>,
    pub(crate) key: Key,
    pub(crate) call: Call,
    pub(crate) request: Request,
    /// How often it was sent.
    pub(crate) attempts: u64,
    /// Whether an earlier attempt may still take effect.
    pub(crate) in_doubt: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) uses_session: bool,
    pub(crate) session: Option<ClientId>,
    pub(crate) sequence: u64,
    pub(crate) errands: u64,
    /// The node it talks to.
    pub(crate) target: usize,
    pub(crate) errand: Option<Errand>,
    /// Why it was last turned down, since an operation of it was last complete.
    pub(crate) refused: Option<Refusal>,
    /// What it last saw in each register.
    pub(crate) seen: BTreeMap<Key, Value>,
    /// How many operations it completed since the count was last reset.
    pub(crate) completed: u64,
    /// When it completed the first of them.
    pub(crate) served: Option<Time>,
}

impl Client {
    pub(crate) fn new(number: u32, uses_session: bool, target: usize) -> Self {
        Self {
            number,
            uses_session,
            session: None,
            sequence: 0,
            errands: 0,
            target,
            errand: None,
            refused: None,
            seen: BTreeMap::new(),
            completed: 0,
            served: None,
        }
    }

    pub(crate) fn ticket(&self) -> Ticket {
        let attempt = self.errand.as_ref().map_or(0, |errand| errand.attempts);
        Ticket { client: self.number, errand: self.errands, attempt }
    }

    /// The name of its next command.
    pub(crate) fn next_id(&mut self) -> ProposalId {
        self.sequence += 1;
        let client = self.session.unwrap_or(ClientId::anonymous(u64::from(self.number) + 1));
        ProposalId::new(client, self.sequence)
    }

    /// What it wants next.
    pub(crate) fn draw(&self, workload: &Workload, choices: &mut Stream) -> (Key, Call) {
        let key = Key(u16::try_from(choices.below(u64::from(workload.keys))).unwrap_or_default());
        // A mark is never used twice, so that two writes never look alike.
        let mark = choices.number();
        if choices.chance(workload.read_ppm) {
            return (key, Call::Get);
        }
        let call = match choices.below(3) {
            0 => Call::Put(mark),
            1 => Call::Append(mark),
            _ => Call::Cas { expected: self.seen.get(&key).copied().unwrap_or_default(), mark },
        };
        (key, call)
    }

    pub(crate) fn learn(&mut self, key: Key, call: Call, answer: Answer) {
        let value = match (call, answer) {
            (_, Answer::Value(value)) => value,
            (Call::Put(mark), _) | (Call::Cas { mark, .. }, Answer::Swapped(true)) => Value::written(mark),
            (Call::Get | Call::Append(_) | Call::Cas { .. }, Answer::Done | Answer::Swapped(_)) => return,
        };
        self.seen.insert(key, value);
    }
}
