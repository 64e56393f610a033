//! What happened in a world, as far as it excuses what became of calls.

use std::time::Duration;

use tokio::time::Instant;

/// What happened.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// When a controller began or ended, by the clock and by the ledger.
    controllers: Vec<(Instant, u64)>,
    /// When a controller began, by the ledger.
    begins: Vec<u64>,
    /// When a controller was asked to end, and had ended.
    stops: Vec<(Instant, Instant)>,
    /// When containers of an instance died, or were made to.
    deaths: Vec<(&'static str, Instant)>,
    /// When containers of an instance stood still, from when until when.
    pauses: Vec<(&'static str, Instant, Instant)>,
    /// When a mount was taken out of the manifests, and when it came back.
    removals: Vec<Removal>,
}

#[derive(Debug, Clone, Copy)]
struct Removal {
    mount: (&'static str, &'static str),
    at: Instant,
    back: Option<Instant>,
}

/// How long it may take until everybody has heard that a mount is gone, or is back.
const HEARSAY: Duration = Duration::from_secs(60);

// === impl History ===

impl History {
    /// A controller begins or ends now, which is this moment of the ledger.
    pub fn controller_changes(&mut self, moment: u64) {
        self.controllers.push((Instant::now(), moment));
    }

    /// A controller begins now, which is this moment of the ledger.
    pub fn controller_begins(&mut self, moment: u64) {
        self.begins.push(moment);
        self.controller_changes(moment);
    }

    /// A controller has ended that was asked to then.
    pub fn controller_stopped(&mut self, asked: Instant) {
        self.stops.push((asked, Instant::now()));
    }

    /// When the controller that went then was asked to, if it was.
    pub fn asked_to_go(&self, gone: Instant) -> Instant {
        let stop = self.stops.iter().find(|(asked, ended)| (*asked..=*ended).contains(&gone));
        stop.map_or(gone, |(asked, _)| *asked)
    }

    /// Containers of an instance die now.
    pub fn containers_die(&mut self, instance: &'static str) {
        self.deaths.push((instance, Instant::now()));
    }

    /// Containers of an instance have stood still since `from`.
    pub fn containers_stood_still(&mut self, instance: &'static str, from: Instant) {
        self.pauses.push((instance, from, Instant::now()));
    }

    /// A mount goes now.
    pub fn mount_goes(&mut self, instance: &'static str, mount: &'static str) {
        self.removals.push(Removal { mount: (instance, mount), at: Instant::now(), back: None });
    }

    /// A mount is declared now.
    pub fn mount_comes(&mut self, instance: &'static str, mount: &'static str) {
        for removal in self.removals.iter_mut().filter(|removal| removal.mount == (instance, mount)) {
            removal.back.get_or_insert_with(Instant::now);
        }
    }

    /// Whether a controller began or ended in this time.
    pub fn controller_changed(&self, from: Instant, to: Instant) -> bool {
        self.controllers.iter().any(|(at, _)| (from..=to).contains(at))
    }

    /// Whether a controller began or ended between these moments of the ledger.
    pub fn controller_changed_between(&self, from: u64, to: u64) -> bool {
        self.controllers.iter().any(|(_, moment)| (from..=to).contains(moment))
    }

    /// Whether a controller began between these moments of the ledger.
    pub fn controller_began_between(&self, from: u64, to: u64) -> bool {
        self.begins.iter().any(|moment| (from..=to).contains(moment))
    }

    /// Whether containers of an instance died in this time.
    pub fn containers_died(&self, instance: &str, from: Instant, to: Instant) -> bool {
        self.deaths.iter().any(|(whose, at)| *whose == instance && (from..=to).contains(at))
    }

    /// Whether containers of an instance stood still in this time.
    pub fn stood_still(&self, instance: &str, from: Instant, to: Instant) -> bool {
        self.pauses.iter().any(|(whose, begin, end)| *whose == instance && *begin <= to && *end >= from)
    }

    /// Whether a mount may have been away in this time, for one who heard of it.
    pub fn mount_went(&self, (instance, mount): (&str, &str), from: Instant, to: Instant) -> bool {
        self.removals.iter().any(|Removal { mount: which, at, back }| {
            *which == (instance, mount) && *at <= to && back.is_none_or(|back| back + HEARSAY >= from)
        })
    }
}
