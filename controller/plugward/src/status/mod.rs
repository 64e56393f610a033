//! What is told of the records: phases, conditions, events.
//!
//! [`verdict`] draws the conclusions, as a pure function; the [`Book`] keeps them, with the memory that
//! Kubernetes' conditions and events need, and writes them to the state directory from time to time.

mod book;
mod limits;
pub mod verdict;

pub use book::Book;
