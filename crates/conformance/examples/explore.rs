#![allow(clippy::all, clippy::pedantic, missing_docs, clippy::unwrap_used, clippy::print_stdout)]
use conformance::{Tuning, run_seed};
use consensus_sim::{Inputs, Plan, Rhythm, Stream};
use multipaxos::{Mutant, Synod, synod};
use std::time::Duration;

fn main() {
    let only = std::env::args().nth(1).unwrap();
    let weathers: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let seeds: u64 = std::env::args().nth(3).unwrap().parse().unwrap();
    for &mutant in Mutant::ALL.iter().filter(|m| format!("{m:?}").contains(&only)) {
        let mut found: Vec<(u64, String)> = vec![];
        for w in 0..weathers {
            let d = &mut Stream::derive(w, "weather");
            let nodes = *d.pick(&[3, 3, 4, 5]).unwrap() as usize;
            let ms = Duration::from_millis;
            let loss = *d.pick(&[0, 50_000, 200_000, 400_000]).unwrap();
            let dup = *d.pick(&[0, 200_000, 500_000]).unwrap();
            let spikes = *d.pick(&[0, 100_000, 300_000, 600_000]).unwrap();
            let spike = *d.pick(&[5, 20, 60, 150]).unwrap();
            let parts = *d.pick(&[(0, 0), (10, 10), (30, 20), (60, 40)]).unwrap();
            let crash = *d.pick(&[(0, 0), (3, 1), (8, 1), (15, 3), (40, 10)]).unwrap();
            let sync = *d.pick(&[50, 500, 2_000, 6_000]).unwrap();
            let within = *d.pick(&[0, 5, 30, 150]).unwrap();
            let faults = *d.pick(&[200, 500, 1500]).unwrap();
            let retry = *d.pick(&[1, 3, 8, 20]).unwrap();
            let values = 10;
            let tune = |draw: &mut Stream, plan: &mut Plan| {
                *plan = Plan::calm(nodes);
                plan.faults_for = ms(faults);
                plan.network.delay = Duration::from_micros(draw.between(200, 1_000));
                plan.network.loss_ppm = loss;
                plan.network.duplicate_ppm = dup;
                plan.network.spike_ppm = spikes;
                plan.network.spike = ms(spike);
                if parts.0 > 0 {
                    plan.partitions = Some(Rhythm { every: ms(parts.0), lasts: ms(parts.1) });
                }
                if crash.0 > 0 {
                    plan.crashes = Some(Rhythm { every: ms(crash.0), lasts: ms(crash.1) });
                }
                plan.disk.sync = Duration::from_micros(sync);
                plan.workload.inputs = Inputs { values, within: ms(within) };
                let config = synod::Config { retry_ms: retry, mutant: Some(mutant), ..Default::default() };
                Tuning { config, patience: Duration::from_secs(10) }
            };
            let mut n = 0;
            let mut other = 0;
            for seed in 0..seeds {
                if let Some(f) = run_seed::<Synod>(seed, &tune, false).unwrap().failure {
                    if f.property == consensus_sim::Property::Agreement { n += 1 } else { other += 1 }
                }
            }
            found.push((n, format!("n{nodes} loss{loss} dup{dup} spikes{spikes}x{spike} parts{parts:?} crash{crash:?} sync{sync} within{within} faults{faults} retry{retry} other{other}")));
        }
        found.sort();
        println!("{mutant:?}");
        for (n, what) in found.iter().rev().take(6) {
            println!("   {n:>3} {what}");
        }
    }
}
