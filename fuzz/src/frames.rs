//! Bytes from a connection: the greeting, then frames, and what is in them.

use crate::plan::Plan;
use consensus_runtime::{PeerAddress, fuzzing};

/// Takes the input for what arrived. Its first byte chooses what was expected.
pub fn run(input: &[u8]) {
    let mut plan = Plan::new(input);
    match plan.below(4) {
        0 => fuzzing::greet(plan.rest()),
        1 => fuzzing::receive(plan.rest()),
        2 => {
            let mut bytes = plan.rest().to_vec();
            fuzzing::seal(&mut bytes);
            fuzzing::receive(&bytes);
        }
        _ => {
            let Ok(text) = std::str::from_utf8(plan.rest()) else { return };
            if let Ok(address) = text.parse::<PeerAddress>() {
                assert_eq!(address.as_str().parse().as_ref(), Ok(&address));
                assert_ne!(address.port(), 0, "{address} has no port");
                let _ = address.to_listen();
            }
        }
    }
}
