//! The workspace's own commands. They start other programs; nothing here is linked into a product.

pub mod ci;
pub mod fuzz;
pub mod run;
pub mod tidy;
