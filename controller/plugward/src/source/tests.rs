//! The source on a real file system. What only the rules decide is tested at the [ledger](super::ledger).

mod bad_files;
mod changes;
mod directories;
mod editors;
mod end;
mod looks;
mod restarts;
mod store;
mod world;
