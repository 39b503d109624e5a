#![doc = include_str!("../README.md")]
#![cfg_attr(feature = "bare", no_std)]

#[cfg(feature = "bare")]
mod bare;
#[cfg(feature = "bare")]
pub use bare::decide_one;
