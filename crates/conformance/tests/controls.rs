//! Just outside of what Raft claims, the suite must find a violation, or the group must stand still and agree.

use conformance::controls::{Expectation, head, raft};

#[test]
fn every_control_of_raft_holds() {
    println!("{}", head());
    let controls = raft(2, |control| println!("{control}\n    {}", control.detail)).unwrap();
    let missed: Vec<_> = controls.iter().filter(|control| !control.holds()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(controls.iter().any(|control| control.expectation == Expectation::Halt));
}
