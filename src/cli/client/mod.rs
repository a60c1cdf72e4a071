//! What `fieldgate pub` and `fieldgate sub` share: the options of a connection, the client machine, and the loop
//! that carries its bytes. What is published or printed is theirs.

pub(super) mod connection;
pub(super) mod message;
pub(super) mod options;
pub(super) mod options_file;
pub(super) mod properties;
mod refused;
pub(super) mod session;
pub(super) mod trust;
mod url;

#[cfg(test)]
mod session_tests;
