//! plugward

pub mod atomic;
