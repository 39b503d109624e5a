//! The messages and services of the public etcd v3 protocol, generated from `proto/*.proto`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "generated code"
)]

/// What the store keeps.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// The services and their messages.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}
