//! The example that two READMEs show: it runs, and they show what runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "its `main` names fixed ports")]
#[path = "../examples/three_replicas.rs"]
mod example;

use crate::support::{free_addresses, soon};
use consensus_core::NodeId;

#[tokio::test]
async fn the_example_serves_and_serves_again() {
    let data = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let members = (1..).map(NodeId).zip(free_addresses(3)).collect();
        soon(example::serve(members, data.path().to_str().unwrap())).await.unwrap();
    }
}

#[test]
fn both_readmes_show_the_example() {
    let example = include_str!("../examples/three_replicas.rs");
    let (_, shown) = example.split_once("\n\n").unwrap();
    for (name, readme) in
        [("consensus-runtime", include_str!("../README.md")), ("raft", include_str!("../../raft/README.md"))]
    {
        assert!(readme.contains(&format!("\n{shown}```\n")), "the README of {name} shows something else");
    }
}
