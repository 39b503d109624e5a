//! The controls of PBFT.

use super::{Control, SAFETY, find};
use crate::claims::Unsupported;
use crate::subjects;
use crate::suite::Tuning;
use ::pbft::{Config, Keyring, Pbft, Vouching};
use consensus_core::NodeId;
use consensus_sim::{
    ByzantinePlan, FrameAttacks, MILLION, Plan, Property, Scenario, Severs, Stream, Traitor,
};
use core::time::Duration;

/// The controls of PBFT. Tells of each as soon as it is over.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn pbft(jobs: usize, mut tell: impl FnMut(&Control)) -> Result<Vec<Control>, Unsupported> {
    let mut done = Vec::new();
    let mut add = |control: Control| {
        tell(&control);
        done.push(control);
    };
    let too_many = [
        ("pbft: f + 1 Byzantine replicas of 4, twins", 4, 2),
        ("pbft: one Byzantine replica of 3, twins", 3, 1),
    ];
    for (name, nodes, count) in too_many {
        let tune = |draw: &mut Stream, plan: &mut Plan| twins(draw, plan, nodes, count);
        add(find::<Pbft>(name, SAFETY, 200, jobs, &tune)?);
    }
    add(find::<Pbft>(
        "pbft: a gateway that lies, and is trusted",
        &[Property::Integrity],
        100,
        jobs,
        &gateways,
    )?);
    Ok(done)
}

/// So many of the replicas are two each, which talk with different parts of the others, and nothing else goes wrong.
fn twins(draw: &mut Stream, plan: &mut Plan, nodes: usize, count: u64) -> Tuning<Config> {
    *plan = Plan { byzantine: None, workload: plan.workload.clone(), ..Plan::calm(nodes) };
    plan.faults_for = Duration::from_secs(2);
    let tuning = subjects::pbft(draw, plan);
    let traitors: Vec<Traitor> = (1..=count).map(|node| Traitor::twins(NodeId(node), 2)).collect();
    let mut scenario = Scenario::draw(nodes + traitors.len(), draw);
    scenario.severs = Severs::Everyone;
    let scenario = Some(scenario);
    plan.byzantine = Some(ByzantinePlan { traitors, scenario, may_halt: true, ..ByzantinePlan::default() });
    tuning
}

/// One voucher is enough, and one replica changes what it passes on.
fn gateways(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    *plan = Plan { byzantine: None, workload: plan.workload.clone(), ..Plan::calm(4) };
    plan.faults_for = Duration::from_secs(1);
    let mut tuning = subjects::pbft(draw, plan);
    (tuning.config.vouching, tuning.config.clients) = (Vouching::Gateway, Keyring::default());
    plan.workload.seal = None;
    let frames = FrameAttacks { tamper_ppm: MILLION / 4, ..FrameAttacks::default() };
    let traitors = vec![Traitor { frames: Some(frames), ..Traitor::new(NodeId(2)) }];
    plan.byzantine = Some(ByzantinePlan { traitors, ..ByzantinePlan::default() });
    tuning
}
