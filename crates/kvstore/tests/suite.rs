//! The tests of this crate, in one program: what they share is built once. Those that measure time are programs of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects")]

mod against_etcd;
mod attacker;
mod bad_input;
mod byzantine;
mod cluster;
mod etcd_api;
mod etcdctl;
mod full_disk;
mod http;
mod limits;
mod load;
mod membership;
mod model;
mod reference;
mod replace;
mod store_model;
