//! A recorded run as one JSON document, for tools and for the page.

use crate::recipe::Recipe;
use crate::report::marks;
use crate::suite::{Tune, draw, one_taped};
use crate::{Unsupported, claims_of};
use consensus_core::{ConsensusAlgorithm, Time};
use consensus_sim::{Event, Failure, Happened, Plan, Recording, Report, Tape};
use serde::{Deserialize, Serialize};

/// The version of the document; it rises when a field changes its meaning.
pub const FORMAT: u32 = 1;

/// Everything that a reader needs to follow one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The version of this document: [`FORMAT`].
    pub format: u32,
    /// The algorithm's name.
    pub algorithm: String,
    /// The seed of the run.
    pub seed: u64,
    /// The command that replays it.
    pub replay: String,
    /// What was drawn for the run, for people.
    pub plan: String,
    /// How many nodes there are, counted from 1.
    pub nodes: usize,
    /// How many clients there are, counted from 0.
    pub clients: u32,
    /// The fingerprint of the run, in hexadecimal.
    pub hash: String,
    /// How many events the simulator carried out: many more than it records.
    pub steps: u64,
    /// How long the run took, in virtual time, in nanoseconds.
    pub simulated: Time,
    /// What did not hold, if anything.
    pub failure: Option<Violation>,
    /// How often what happened.
    pub counts: Vec<(String, u64)>,
    /// How many of the oldest events were let go, because there were too many.
    pub omitted: u64,
    /// What happened, in the order of its beginning.
    pub events: Vec<Event>,
}

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Its name.
    pub property: String,
    /// When, in virtual time, in nanoseconds.
    pub at: Time,
    /// What happened.
    pub detail: String,
}

/// Runs one seed and records it, with the readable lines too if `lines`. `replay` is the command that does it again.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn record_seed<A: ConsensusAlgorithm>(
    seed: u64,
    tune: Tune<'_, A::Config>,
    lines: bool,
    replay: &str,
) -> Result<(Report, Recorded), Unsupported> {
    record_recipe::<A>(&seed.into(), tune, lines, replay)
}

/// Does one run and records it, as [`record_seed`], with what its recipe sets otherwise and leaves out.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn record_recipe<A: ConsensusAlgorithm>(
    recipe: &Recipe,
    tune: Tune<'_, A::Config>,
    lines: bool,
    replay: &str,
) -> Result<(Report, Recorded), Unsupported> {
    let claims = claims_of(A::GUARANTEES)?;
    let tape = Tape::on();
    let report = one_taped::<A>(recipe, &claims, tune, lines, &tape);
    let (plan, _) = draw::<A>(recipe, &claims, tune);
    let recorded = Recorded::new(A::NAME, recipe.seed, replay, &plan, &report, tape.take());
    Ok((report, recorded))
}

impl Recorded {
    fn new(
        algorithm: &str,
        seed: u64,
        replay: &str,
        plan: &Plan,
        report: &Report,
        recording: Recording,
    ) -> Self {
        let Recording { events, omitted } = recording;
        let mut events = Vec::from(events);
        // A run that panics knows neither its length nor when it failed: that was at its last event.
        let last = events.last().map_or(Time::ZERO, |event| event.at);
        let end = last.max(Time::ZERO + report.simulated);
        let failure = report.failure.as_ref().map(|failure| Violation::new(failure, last));
        if let Some(Violation { property, at, detail }) = &failure
            && !events.iter().any(|event| matches!(event.what, Happened::Failure { .. }))
        {
            let what = Happened::Failure { property: property.clone(), detail: detail.clone() };
            events.push(Event { at: *at, what });
        }
        Self {
            format: FORMAT,
            algorithm: algorithm.into(),
            seed,
            replay: replay.into(),
            plan: format!("{plan:#?}"),
            nodes: plan.hosts(),
            clients: plan.workload.clients,
            hash: format!("{:016x}", report.hash),
            steps: report.events,
            simulated: end,
            failure,
            counts: marks(&report.counts).into_iter().map(|(name, count)| (name.into(), count)).collect(),
            omitted,
            events,
        }
    }

    /// The document.
    ///
    /// # Errors
    /// Never in practice: plain data encodes into memory.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// Reads a document back.
    ///
    /// # Errors
    /// It is not JSON, or not such a document.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

impl Violation {
    fn new(failure: &Failure, last: Time) -> Self {
        let at = if failure.at == Time::ZERO { last } else { failure.at };
        Self { property: failure.property.name().into(), at, detail: failure.detail.clone() }
    }
}
