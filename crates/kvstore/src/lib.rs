//! A replicated key-value store that speaks the etcd v3 API.
//!
//! [`store`] is the state, [`command`] what stands in the log, [`machine`] joins the two under any protocol of the workspace.
//! [`members`] is who takes part, and as much part of the state. [`validate`] checks what clients ask, [`server`] answers them,
//! [`error`] has the texts that they know, and [`number`] what a client
//! gives along that believes no single member. [`council`] changes the members, [`steward`] sees to what follows from it, and through
//! [`join`] a new process becomes one. [`profile`] picks the protocol, [`keys`]
//! are what members sign with where some may lie, and [`member`] is all of it running.
#![allow(clippy::disallowed_methods, reason = "a server stands on the operating system")]

pub mod command;
pub mod council;
pub mod error;
pub mod join;
pub mod keys;
pub mod machine;
pub mod member;
pub mod members;
pub mod number;
pub mod profile;
pub mod proto;
pub mod server;
mod shared_store;
pub mod steward;
pub mod store;
pub mod validate;
