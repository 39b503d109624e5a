//! Just outside of what is claimed, the suite must find a violation, or the group must stand still and agree.

use conformance::controls::{Control, Expectation, head, of};

fn held(algorithm: &str) -> Vec<Control> {
    println!("{}", head());
    let controls = of(algorithm, 2, |control| println!("{control}\n    {}", control.detail)).unwrap();
    let missed: Vec<_> = controls.iter().filter(|control| !control.holds()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    controls
}

#[test]
fn every_control_of_raft_holds() {
    assert!(held("raft").iter().any(|control| control.expectation == Expectation::Halt));
}

#[test]
fn every_control_of_pbft_holds() {
    assert_eq!(held("pbft").len(), 3);
}

#[test]
fn every_control_of_multi_paxos_holds() {
    assert_eq!(held("multipaxos").len(), 2);
}

#[test]
fn every_control_of_one_shot_agreement_holds() {
    assert_eq!(held("benor").len() + held("floodset").len(), 5);
}
