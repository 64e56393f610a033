//! plugward
