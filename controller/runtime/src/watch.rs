//! The protocol between a source of objects and a [store](crate::store).

/// One step of a watch.
///
/// # Protocol
///
/// A source that connects, for the first time or again, sends the complete state of its world:
/// [`Init`](Self::Init), one [`InitApply`](Self::InitApply) per object, [`InitDone`](Self::InitDone). What is
/// not seen between `Init` and `InitDone` is gone. Changes follow as [`Apply`](Self::Apply) and
/// [`Delete`](Self::Delete); they may also come in between, when a change is noticed during the listing.
///
/// A source that loses its connection says nothing: it starts again with `Init` when it has a new one. Until
/// `InitDone`, readers of the store see the state as it was last known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent<K, V> {
    /// A complete listing begins. One that had begun and was not finished is void.
    Init,
    /// An object of the listing.
    InitApply(K, V),
    /// The listing is complete.
    InitDone,
    /// An object appeared or changed.
    Apply(K, V),
    /// An object is gone.
    Delete(K),
}
