//! A replicated key-value store that speaks the etcd v3 API.

pub mod command;
pub mod error;
pub mod machine;
pub mod proto;
pub mod server;
pub mod store;
pub mod validate;
