//! The suite on an algorithm of one's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod toy;

use consensus_sim::{Plan, Setup, run};
use std::time::Duration;
use toy::{Config, Flaw, Toy};

#[test]
fn a_sound_algorithm_passes() {
    for seed in 0..100 {
        let setup = Setup::<Toy> {
            seed,
            plan: Plan::draw(seed),
            config: Config { flaw: Flaw::None },
            patience: Duration::from_secs(2),
            trace: false,
        };
        let report = run(setup);
        assert_eq!(report.failure, None, "seed {seed}: {:?}", report.counts);
    }
}
