//! The recording of a run: what happened, as data for tools and pictures. It is off unless somebody asks, and then costs one
//! branch at each place.
//!
//! A [`Tape`] is handed in from outside, so that it outlives a run that panics. It only listens: it draws no random number and
//! touches no fingerprint, so that a run is the same with it and without.

use crate::disk::DiskFault;
use crate::machine::{Answer, Applied, Call, Command, Key, Value};
use crate::network::{Links, Loss};
use crate::watch::Decided;
use consensus_core::{NodeId, Slot, Status, Time, Verdict, wire};
use core::fmt::{self, Debug, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// The most events that a recording keeps; the oldest are let go, since a failure is at the end.
pub const MAX_EVENTS: usize = 400_000;
/// The most bytes of a text in a recording, but for the last character.
const MAX_TEXT_BYTES: usize = 160;

/// One thing that happened. Times are nanoseconds since the beginning of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub what: Happened,
}

/// What can be seen from outside of the nodes, and what they say of themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Happened {
    /// A node sent a message.
    Message {
        /// The sender.
        from: NodeId,
        /// The receiver.
        to: NodeId,
        /// The name of the message's variant.
        kind: String,
        /// The message, cut short.
        text: String,
        /// Why it will never arrive, if the links swallowed it.
        lost: Option<Loss>,
        /// Each copy that came to its receiver. What was still on its way when the run ended is not here.
        copies: Vec<Delivery>,
    },
    /// A node starts on what its disk holds.
    Boot {
        /// Which.
        node: NodeId,
    },
    /// A node loses power.
    Crash {
        /// Which.
        node: NodeId,
    },
    /// A node that crashed never comes back.
    Lost {
        /// Which.
        node: NodeId,
    },
    /// Every node loses power at once.
    PowerLoss,
    /// Links are cut. It ends every earlier cut.
    Cut {
        /// In which manner.
        manner: String,
        /// The links that are cut, each from a sender to a receiver.
        links: Vec<(NodeId, NodeId)>,
    },
    /// All links are whole.
    Heal,
    /// The faults are over.
    Calm,
    /// A node is asked to hand its leadership over.
    Transfer {
        /// The node.
        node: NodeId,
        /// To whom; whoever is best if nobody is named.
        to: Option<NodeId>,
    },
    /// The failure detector of a node changes its mind.
    Suspicion {
        /// The node.
        node: NodeId,
        /// Of whom.
        peer: NodeId,
        /// Whether the peer is suspected from now on.
        suspected: bool,
    },
    /// A node's part or epoch changed.
    Role {
        /// The node.
        node: NodeId,
        /// Its part.
        role: String,
        /// Its epoch.
        epoch: u64,
    },
    /// A node applied a decision.
    Decision {
        /// The node.
        node: NodeId,
        /// The place in the log.
        slot: Slot,
        /// Who proposed it, if anybody.
        id: Option<String>,
        /// What was decided, cut short.
        text: String,
    },
    /// A node took over a snapshot.
    Install {
        /// The node.
        node: NodeId,
        /// The last slot that it contains.
        through: Slot,
    },
    /// A disk begins to write and to sync.
    Sync {
        /// Whose.
        node: NodeId,
        /// When it will be done, unless the power fails.
        until: Time,
    },
    /// A client begins an operation.
    Invoke {
        /// The client.
        client: u32,
        /// What it wants.
        text: String,
    },
    /// A client sends its operation to a node, for the first time or again.
    Ask {
        /// The client.
        client: u32,
        /// The node.
        node: NodeId,
    },
    /// A client's operation is complete.
    Return {
        /// The client.
        client: u32,
        /// What it learnt.
        text: String,
        /// Where in the log the operation took effect, if it went through the log.
        slot: Option<Slot>,
    },
    /// A client gives up and never learns what came of its operation.
    GiveUp {
        /// The client.
        client: u32,
    },
    /// A round of a scenario for twins begins.
    TwinRound {
        /// The side of each instance: those of one side hear each other.
        sides: Vec<u8>,
        /// The instance that leads, if the round names one.
        leader: Option<u64>,
    },
    /// A node stops, as it must, because its disk refused something.
    Stop {
        /// Which.
        node: NodeId,
        /// What its disk refused.
        fault: DiskTrouble,
        /// What the node says.
        detail: String,
    },
    /// A node does not start, because its disk refuses something; it will be tried again.
    NoStart {
        /// Which.
        node: NodeId,
        /// What the node says.
        detail: String,
    },
    /// A disk is slow for a while; the end of the faults ends it too.
    SlowDisk {
        /// Whose.
        node: NodeId,
        /// How many times slower.
        times: u32,
        /// Until when.
        until: Time,
    },
    /// A bit flips on the disk of a node that is down.
    Rot {
        /// Whose.
        node: NodeId,
        /// Where, and what the node makes of it.
        detail: String,
        /// Whether the node refuses to start for that, and is lost for good.
        refused: bool,
    },
    /// A node stands still.
    Pause {
        /// Which.
        node: NodeId,
        /// Whether its clock stands still too.
        clock_stops: bool,
    },
    /// A node that stood still goes on.
    Resume {
        /// Which.
        node: NodeId,
        /// How many events waited for it.
        waited: usize,
    },
    /// A node that boots has a clock that is not right.
    Clock {
        /// Which.
        node: NodeId,
        /// What it shows, in nanoseconds.
        shows: Time,
        /// How many millionths of a second it counts in a second.
        rate_ppm: u64,
    },
    /// A link is down for a while; the end of the faults ends it too.
    Flap {
        /// The sender.
        from: NodeId,
        /// The receiver.
        to: NodeId,
        /// Until when.
        until: Time,
    },
    /// A node does what the protocol does not ask of it: what an adversary is, and whatever else has no event of its own.
    Act {
        /// Which.
        node: NodeId,
        /// The class of the act, in a word or two.
        class: String,
        /// What it does.
        text: String,
    },
    /// A property did not hold.
    Failure {
        /// Its name.
        property: String,
        /// What happened.
        detail: String,
    },
}

/// What a disk refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskTrouble {
    /// A sync.
    Sync,
    /// Room for more.
    Full,
}

/// A message comes to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// When.
    pub at: Time,
    /// Whether the receiver was up.
    pub heard: bool,
}

/// What a tape holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// In the order of their beginning.
    pub events: VecDeque<Event>,
    /// How many earlier events were let go.
    pub omitted: u64,
}

impl Recording {
    fn push(&mut self, event: Event) -> u64 {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.omitted += 1;
        }
        self.events.push_back(event);
        self.omitted + self.events.len() as u64 - 1
    }

    fn numbered(&mut self, number: u64) -> Option<&mut Event> {
        self.events.get_mut(usize::try_from(number.checked_sub(self.omitted)?).ok()?)
    }
}

/// Where a run is recorded; copies share what they hold.
#[derive(Clone, Debug, Default)]
pub struct Tape(Option<Rc<RefCell<Recording>>>);

impl Tape {
    /// A tape that keeps nothing.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// An empty tape.
    #[must_use]
    pub fn on() -> Self {
        Self(Some(Rc::default()))
    }

    /// Takes out what was recorded.
    #[must_use]
    pub fn take(&self) -> Recording {
        self.0.as_ref().map(|recording| recording.take()).unwrap_or_default()
    }

    /// Notes what happens now; `what` is not called if the tape is off.
    pub(crate) fn note(&self, now: Time, what: impl FnOnce() -> Happened) {
        if let Some(recording) = &self.0 {
            recording.borrow_mut().push(Event { at: now, what: what() });
        }
    }

    /// Notes that a message leaves, and returns the number by which [`Tape::arrived`] knows it.
    pub(crate) fn sent<M: DeserializeOwned + Debug>(
        &self,
        now: Time,
        (from, to): (usize, usize),
        frame: &[u8],
        lost: Option<Loss>,
    ) -> u64 {
        let Some(recording) = &self.0 else { return 0 };
        let text = wire::decode::<M>(frame, wire::MAX_FRAME_BYTES)
            .map_or_else(|error| format!("undecodable: {error}"), |message| short(&message));
        let kind = text.chars().take_while(|&letter| letter.is_alphanumeric() || letter == '_').collect();
        let (from, to) = (node(from), node(to));
        let what = Happened::Message { from, to, kind, text, lost, copies: Vec::new() };
        recording.borrow_mut().push(Event { at: now, what })
    }

    /// Notes that a copy of a message comes to its receiver, which is up or not.
    pub(crate) fn arrived(&self, now: Time, number: u64, heard: impl FnOnce() -> bool) {
        let Some(recording) = &self.0 else { return };
        if let Some(Event { what: Happened::Message { copies, .. }, .. }) =
            recording.borrow_mut().numbered(number)
        {
            copies.push(Delivery { at: now, heard: heard() });
        }
    }

    /// Notes what a node applied: of `decisions`, those up to `applied`.
    pub(crate) fn applied(
        &self,
        now: Time,
        node: NodeId,
        decisions: &VecDeque<Decided>,
        journal: &[Applied],
        applied: Slot,
    ) {
        if self.0.is_none() {
            return;
        }
        for entry in journal {
            match entry {
                Applied::Installed { through, digest: _ } => {
                    self.note(now, || Happened::Install { node, through: *through });
                }
                Applied::Command { .. }
                | Applied::Chosen { .. }
                | Applied::Judged { .. }
                | Applied::Settled { .. }
                | Applied::Restored { .. }
                | Applied::Delivered { .. }
                | Applied::Merged { .. } => {}
            }
        }
        for decided in decisions.iter().take_while(|decided| decided.slot <= applied) {
            self.note(now, || Happened::decision(node, decided));
        }
    }
}

impl Happened {
    pub(crate) fn cut(manner: String, links: &Links, nodes: usize) -> Self {
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let cut = pairs.filter(|&(from, to)| links.is_cut(from, to));
        let links = cut.map(|(from, to)| (node(from), node(to))).collect();
        Self::Cut { manner, links }
    }

    pub(crate) fn stop(node: NodeId, fault: DiskFault, error: &impl fmt::Display) -> Self {
        let fault = match fault {
            DiskFault::Sync { salt: _ } => DiskTrouble::Sync,
            DiskFault::Full { left: _ } => DiskTrouble::Full,
        };
        Self::Stop { node, fault, detail: error.to_string() }
    }

    pub(crate) fn role(node: NodeId, status: &Status) -> Self {
        Self::Role { node, role: format!("{:?}", status.role), epoch: status.epoch.0 }
    }

    fn decision(node: NodeId, decided: &Decided) -> Self {
        let command = || wire::decode::<Command>(&decided.payload, wire::MAX_FRAME_BYTES).ok();
        let text = match (decided.verdict, decided.id) {
            (Verdict::Noop, _) => "no-op".into(),
            (Verdict::Abort, _) => "abort".into(),
            (Verdict::Commit, Some(id)) if id.opens_session() => "open a session".into(),
            (Verdict::Commit, _) => command().map_or_else(
                || format!("{} bytes", decided.payload.len()),
                |command| wish(command.key, command.call),
            ),
        };
        Self::Decision { node, slot: decided.slot, id: decided.id.map(|id| format!("{id:?}")), text }
    }
}

/// The node at this index.
pub(crate) const fn node(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

/// What a client asks for. Digests are cut to their first digits: enough to follow a value with the eye.
pub(crate) fn wish(key: Key, call: Call) -> String {
    let key = key.0;
    match call {
        Call::Get => format!("get k{key}"),
        Call::Put(mark) => format!("put k{key} {}", digits(Value::written(mark))),
        Call::Append(mark) => format!("append k{key} {}", digits(Value(mark))),
        Call::Cas { expected, mark } => {
            format!("swap k{key} {} for {}", digits(expected), digits(Value::written(mark)))
        }
    }
}

/// What a client learns.
pub(crate) fn learnt(answer: Answer) -> String {
    match answer {
        Answer::Value(value) => digits(value),
        Answer::Done => "done".into(),
        Answer::Swapped(true) => "swapped".into(),
        Answer::Swapped(false) => "not swapped".into(),
    }
}

fn digits(value: Value) -> String {
    if value == Value::default() { "empty".into() } else { format!("{:04x}", value.0 >> 48) }
}

/// What `value` prints, cut short: a message may carry a megabyte.
fn short(value: &impl Debug) -> String {
    let mut text = Short(String::new());
    // An error says that the text is full.
    let _ = write!(text, "{value:?}");
    text.0
}

/// A text that takes no more than its bound.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        for letter in more.chars() {
            if self.0.len() >= MAX_TEXT_BYTES {
                self.0.push('…');
                return Err(fmt::Error);
            }
            self.0.push(letter);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_that_is_off_asks_nobody() {
        let tape = Tape::off();
        tape.note(Time::ZERO, || unreachable!("nobody listens"));
        let number = tape.sent::<u8>(Time::ZERO, (0, 1), &[7], None);
        tape.arrived(Time::ZERO, number, || unreachable!("nobody listens"));
        assert_eq!(tape.take(), Recording::default());
    }

    #[test]
    fn an_arrival_finds_its_message_even_when_older_events_were_let_go() {
        let tape = Tape::on();
        for _ in 0..MAX_EVENTS {
            tape.note(Time::ZERO, || Happened::Heal);
        }
        let number = tape.sent::<u8>(Time::ZERO, (0, 1), &[7], None);
        tape.note(Time::ZERO, || Happened::Calm);
        tape.arrived(Time::from_millis(3), number, || true);
        // The event of this number was let go long ago.
        tape.arrived(Time::from_millis(3), 0, || true);
        let recording = tape.take();
        assert_eq!((recording.events.len(), recording.omitted), (MAX_EVENTS, 2));
        let arrival = Delivery { at: Time::from_millis(3), heard: true };
        let mut found = None;
        for event in &recording.events {
            if let Happened::Message { from, to, copies, .. } = &event.what {
                found = Some((*from, *to, copies.clone()));
            }
        }
        assert_eq!(found, Some((NodeId(1), NodeId(2), vec![arrival])));
    }

    #[test]
    fn a_long_text_is_cut_and_names_its_kind() {
        let long = "x".repeat(10_000);
        assert_eq!(short(&long).len(), MAX_TEXT_BYTES + '…'.len_utf8());
        assert_eq!(short(&Some(1)), "Some(1)");
    }
}
