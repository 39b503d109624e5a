//! The rules of the repository hold.
#![allow(clippy::unwrap_used, missing_docs)]

#[test]
fn every_rule_of_the_repository_holds() {
    let broken = xtask::tidy::check(&xtask::run::root().unwrap()).unwrap();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}
