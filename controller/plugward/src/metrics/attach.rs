//! Sessions of hosts that start their plugins themselves, counted.
//!
//! An instance has these series from the moment that its record lets hosts attach, all of them at zero, until the record goes.
//! What ends later than its record is not counted: there is nothing any more to count it under.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plugward_api::{Name, SessionKind};

use super::catalogue::{
    ATTACH_ENDED, ATTACH_REFUSED, ATTACH_RESUMED, ATTACH_SECONDS, ATTACH_SESSIONS, ATTACHED,
};
use super::family::{Family, number};
use super::histogram::{Histogram, load};

/// Upper bounds of the buckets of how long it took to attach, in seconds: a container that is ready takes milliseconds, one
/// that has to be started first takes as long as its start.
const BOUNDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

/// Why a launcher was refused: no handshake line was given, and its host was told why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachRefusal {
    /// What it sent is not what launchers send, or it took too long to.
    BadRequest,
    /// It speaks a version of the launchers' own protocol that this controller does not know.
    LauncherVersion,
    /// It names an instance that is not declared.
    UnknownInstance,
    /// The instance's record does not let hosts attach.
    NotEnabled,
    /// Its user is none of `attach.users`, and in none of `attach.groups`.
    NotPermitted,
    /// The host's cookie is not the plugin's: the instance is of another type than the host expects.
    Cookie,
    /// The host offers no version of the application's protocol that the plugin speaks.
    ProtocolVersion,
    /// There are `attach.maxSessions` sessions already.
    TooMany,
    /// No container of the instance became ready in time.
    NotReady,
    /// The host asks for a transport that is not served: TLS by an unwrap token, or net/rpc.
    Transport,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The host asked the plugin to end, as hosts do that need it no more.
    Shutdown,
    /// The launcher went, and with it, mostly, its host.
    LauncherGone,
    /// The record is gone, or lets no hosts attach any more.
    Deleted,
    /// The record was edited, and permits the user no more.
    NotPermitted,
    /// The launcher broke the rules of its conversation with the controller.
    Protocol,
    /// After a restart of the controller the session could not be resumed. It was not among this controller's sessions.
    Lost,
}

/// The series of sessions. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct AttachSeries {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    instances: Mutex<BTreeMap<Name, Series>>,
    /// In the order of [`AttachRefusal::ALL`].
    refused: [AtomicU64; AttachRefusal::ALL.len()],
}

/// The series of one instance.
#[derive(Debug)]
struct Series {
    /// Sessions there are, in the order of [`SessionKind::ALL`].
    sessions: [u64; SessionKind::ALL.len()],
    /// Sessions that were begun, likewise.
    attached: [u64; SessionKind::ALL.len()],
    took: Histogram<{ BOUNDS.len() }>,
    /// In the order of [`SessionEnd::ALL`].
    ended: [u64; SessionEnd::ALL.len()],
    resumed: u64,
}

// === impl AttachRefusal ===

impl AttachRefusal {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::BadRequest,
        Self::LauncherVersion,
        Self::UnknownInstance,
        Self::NotEnabled,
        Self::NotPermitted,
        Self::Cookie,
        Self::ProtocolVersion,
        Self::TooMany,
        Self::NotReady,
        Self::Transport,
    ];

    /// Its name in series.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::LauncherVersion => "launcher_version",
            Self::UnknownInstance => "unknown_instance",
            Self::NotEnabled => "not_enabled",
            Self::NotPermitted => "not_permitted",
            Self::Cookie => "cookie",
            Self::ProtocolVersion => "protocol_version",
            Self::TooMany => "too_many",
            Self::NotReady => "not_ready",
            Self::Transport => "transport",
        }
    }
}

// === impl SessionEnd ===

impl SessionEnd {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Shutdown, Self::LauncherGone, Self::Deleted, Self::NotPermitted, Self::Protocol, Self::Lost];

    /// Its name in series.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::LauncherGone => "launcher_gone",
            Self::Deleted => "deleted",
            Self::NotPermitted => "not_permitted",
            Self::Protocol => "protocol",
            Self::Lost => "lost",
        }
    }
}

// === impl AttachSeries ===

impl AttachSeries {
    /// Makes the series of an instance, zero as yet, unless they are there.
    pub(super) fn declare(&self, instance: &Name) {
        self.lock().entry(instance.clone()).or_default();
    }

    /// Removes the series of an instance.
    pub(super) fn forget(&self, instance: &Name) {
        self.lock().remove(instance);
    }

    pub(super) fn refused(&self, refusal: AttachRefusal) {
        for (count, counted) in self.shared.refused.iter().zip(AttachRefusal::ALL) {
            count.fetch_add(u64::from(counted == refusal), Ordering::Relaxed);
        }
    }

    pub(super) fn attached(&self, instance: &Name, kind: SessionKind, took: Duration) {
        self.with(instance, |series| {
            add(&mut series.sessions, SessionKind::ALL, kind);
            add(&mut series.attached, SessionKind::ALL, kind);
            series.took.observe(took);
        });
    }

    pub(super) fn resumed(&self, instance: &Name, kind: SessionKind) {
        self.with(instance, |series| {
            add(&mut series.sessions, SessionKind::ALL, kind);
            series.resumed += 1;
        });
    }

    pub(super) fn ended(&self, instance: &Name, kind: SessionKind, end: SessionEnd) {
        self.with(instance, |series| {
            add(&mut series.ended, SessionEnd::ALL, end);
            if end != SessionEnd::Lost {
                for (count, counted) in series.sessions.iter_mut().zip(SessionKind::ALL) {
                    // It may have begun under a record that went, and came back.
                    *count = count.saturating_sub(u64::from(counted == kind));
                }
            }
        });
    }

    /// Writes them in Prometheus' text format.
    pub(super) fn write(&self, to: &mut Vec<u8>) -> io::Result<()> {
        let instances = self.lock();
        for (family, counts) in OF_KINDS {
            family.head(to)?;
            for (instance, series) in &*instances {
                for (count, kind) in counts(series).iter().zip(SessionKind::ALL) {
                    family.line(to, &[instance.as_str(), label(kind)], number(*count))?;
                }
            }
        }
        ATTACH_SECONDS.head(to)?;
        for (instance, series) in &*instances {
            series.took.write(&ATTACH_SECONDS, &[instance.as_str()], to)?;
        }
        ATTACH_ENDED.head(to)?;
        for (instance, series) in &*instances {
            for (count, end) in series.ended.iter().zip(SessionEnd::ALL) {
                ATTACH_ENDED.line(to, &[instance.as_str(), end.as_str()], number(*count))?;
            }
        }
        ATTACH_RESUMED.head(to)?;
        for (instance, series) in &*instances {
            ATTACH_RESUMED.line(to, &[instance.as_str()], number(series.resumed))?;
        }
        ATTACH_REFUSED.head(to)?;
        for (count, refusal) in self.shared.refused.iter().zip(AttachRefusal::ALL) {
            ATTACH_REFUSED.line(to, &[refusal.as_str()], number(load(count)))?;
        }
        Ok(())
    }

    /// Changes the series of an instance, if it has any.
    fn with(&self, instance: &Name, change: impl FnOnce(&mut Series)) {
        if let Some(series) = self.lock().get_mut(instance) {
            change(series);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Series>> {
        // Each change is of plain numbers: a panic cannot leave one half done.
        self.shared.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number for each kind of session.
type OfKinds = fn(&Series) -> &[u64; SessionKind::ALL.len()];

const OF_KINDS: [(&Family, OfKinds); 2] =
    [(&ATTACH_SESSIONS, |series| &series.sessions), (&ATTACHED, |series| &series.attached)];

impl Default for Series {
    fn default() -> Self {
        Self {
            sessions: Default::default(),
            attached: Default::default(),
            took: Histogram::new(&BOUNDS),
            ended: Default::default(),
            resumed: 0,
        }
    }
}

/// The name of a kind in series.
const fn label(kind: SessionKind) -> &'static str {
    match kind {
        SessionKind::Shared => "shared",
        SessionKind::Own => "own",
        SessionKind::Metadata => "metadata",
    }
}

/// Counts one of a closed set, whose counts are in the order of `all`.
fn add<T: PartialEq + Copy, const N: usize>(counts: &mut [u64; N], all: [T; N], one: T) {
    for (count, counted) in counts.iter_mut().zip(all) {
        *count += u64::from(counted == one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Name {
        "orders".parse().unwrap()
    }

    /// The series, with `orders` for what is of that instance.
    fn lines(series: &AttachSeries) -> Vec<String> {
        let mut text = Vec::new();
        series.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let series = text.lines().filter(|line| !line.starts_with('#'));
        series.map(|line| line.replace("plugin_instance=\"orders\"", "orders")).collect()
    }

    fn has(lines: &[String], line: &str) {
        assert!(lines.iter().any(|found| found == line), "{line}: {lines:#?}");
    }

    #[test]
    fn every_series_is_there_before_the_first_host() {
        let series = AttachSeries::default();
        series.declare(&orders());
        let lines = lines(&series);
        for kind in SessionKind::ALL {
            has(&lines, &format!("plugward_attach_sessions{{orders,kind=\"{}\"}} 0", label(kind)));
            has(&lines, &format!("plugward_attach_total{{orders,kind=\"{}\"}} 0", label(kind)));
        }
        for end in SessionEnd::ALL {
            has(&lines, &format!("plugward_attach_ended_total{{orders,reason=\"{}\"}} 0", end.as_str()));
        }
        for refusal in AttachRefusal::ALL {
            has(&lines, &format!("plugward_attach_refused_total{{reason=\"{}\"}} 0", refusal.as_str()));
        }
        has(&lines, "plugward_attach_resumed_total{orders} 0");
        has(&lines, "plugward_attach_duration_seconds_count{orders} 0");
    }

    #[test]
    fn a_session_is_counted_while_it_lasts_and_its_begin_and_end_for_ever() {
        let series = AttachSeries::default();
        series.declare(&orders());
        series.attached(&orders(), SessionKind::Shared, Duration::from_millis(4));
        series.attached(&orders(), SessionKind::Shared, Duration::from_secs(70));
        series.attached(&orders(), SessionKind::Own, Duration::from_millis(4));
        series.ended(&orders(), SessionKind::Shared, SessionEnd::Shutdown);
        series.ended(&orders(), SessionKind::Own, SessionEnd::LauncherGone);
        let lines = lines(&series);
        for line in [
            "plugward_attach_sessions{orders,kind=\"shared\"} 1",
            "plugward_attach_sessions{orders,kind=\"own\"} 0",
            "plugward_attach_total{orders,kind=\"shared\"} 2",
            "plugward_attach_total{orders,kind=\"own\"} 1",
            "plugward_attach_ended_total{orders,reason=\"shutdown\"} 1",
            "plugward_attach_ended_total{orders,reason=\"launcher_gone\"} 1",
            "plugward_attach_duration_seconds_bucket{orders,le=\"0.0025\"} 0",
            "plugward_attach_duration_seconds_bucket{orders,le=\"0.005\"} 2",
            "plugward_attach_duration_seconds_bucket{orders,le=\"60\"} 2",
            "plugward_attach_duration_seconds_bucket{orders,le=\"+Inf\"} 3",
            "plugward_attach_duration_seconds_sum{orders} 70.008",
        ] {
            has(&lines, line);
        }
    }

    #[test]
    fn a_session_of_the_controller_before_is_one_of_ours_once_it_is_resumed_and_only_then() {
        let series = AttachSeries::default();
        series.declare(&orders());
        series.resumed(&orders(), SessionKind::Own);
        series.ended(&orders(), SessionKind::Own, SessionEnd::Lost);
        let lines = lines(&series);
        for line in [
            "plugward_attach_resumed_total{orders} 1",
            "plugward_attach_total{orders,kind=\"own\"} 0",
            "plugward_attach_ended_total{orders,reason=\"lost\"} 1",
            "plugward_attach_sessions{orders,kind=\"own\"} 1",
        ] {
            has(&lines, line);
        }
    }

    #[test]
    fn what_is_refused_is_counted_by_its_reason() {
        let series = AttachSeries::default();
        series.refused(AttachRefusal::Cookie);
        series.refused(AttachRefusal::Cookie);
        let lines = lines(&series);
        has(&lines, "plugward_attach_refused_total{reason=\"cookie\"} 2");
        has(&lines, "plugward_attach_refused_total{reason=\"not_permitted\"} 0");
    }

    #[test]
    fn series_go_with_their_record_and_what_ends_later_does_not_bring_them_back() {
        let series = AttachSeries::default();
        series.declare(&orders());
        series.attached(&orders(), SessionKind::Shared, Duration::ZERO);
        series.forget(&orders());
        series.ended(&orders(), SessionKind::Shared, SessionEnd::Deleted);
        assert!(!lines(&series).iter().any(|line| line.contains("orders")));
        series.declare(&orders());
        series.ended(&orders(), SessionKind::Shared, SessionEnd::Deleted);
        has(&lines(&series), "plugward_attach_sessions{orders,kind=\"shared\"} 0");
    }
}
