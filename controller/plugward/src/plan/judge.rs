//! What the end of a container means: as what it counts, and how long the next start waits.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use plugward_api::RestartReason;
use plugward_api::status::LastExit;
use plugward_engine::Exit;

use super::{Absence, Ended};
use crate::recipe::RestartPolicy;
use crate::slot::Start;

/// A container that ends by itself this soon after it was ready counts as a failed start.
pub const OWN_END_WINDOW: SignedDuration = SignedDuration::from_secs(10);

/// How long before its loss an engine that is being stopped may already have ended containers: its stop
/// time-out of ten seconds, and some.
const ENGINE_STOP_WINDOW: SignedDuration = SignedDuration::from_secs(15);

/// Exit codes of processes that were ended by SIGKILL and SIGTERM: somebody wanted it.
const ENDED_FROM_OUTSIDE: [i64; 2] = [128 + 9, 128 + 15];

/// An end, and when the next start may come.
pub(super) struct Judgement {
    pub(super) ended: Ended,
    pub(super) retry_at: Timestamp,
}

/// As what the end of a process counts.
pub(super) fn reason_of(exit: &Exit, absence: Option<Absence>) -> RestartReason {
    let lost_with_engine = absence.is_some_and(|absence| {
        exit.finished_at >= absence.from - ENGINE_STOP_WINDOW && exit.finished_at <= absence.to
    });
    if !exit.error.is_empty() {
        RestartReason::StartFailed
    } else if exit.oom_killed {
        RestartReason::OomKilled
    } else if lost_with_engine {
        RestartReason::EngineLost
    } else if ENDED_FROM_OUTSIDE.contains(&exit.code) {
        RestartReason::Killed
    } else {
        RestartReason::Exited
    }
}

/// Judges the end of `start`.
///
/// Failures grow with starts that did not become usable, and with containers that ended by themselves soon
/// after. What is done to a ready container from outside is no failure of its, and neither is a new start
/// that only our own restart made necessary.
pub(super) fn judge(
    start: &Start,
    reason: RestartReason,
    exit: LastExit,
    failures_before: u32,
    policy: &RestartPolicy,
    now: Timestamp,
    random: u64,
) -> Judgement {
    let ended_at = exit.finished_at.min(now);
    let ready_for = start.ready_at.map(|ready_at| ended_at.duration_since(ready_at));
    let stable = ready_for.is_some_and(|time| time >= signed(policy.reset_after));
    let before = if stable { 0 } else { failures_before };
    let failed = match ready_for {
        None => !ends_with_another(reason),
        Some(time) => time < OWN_END_WINDOW && ends_by_itself(reason),
    };
    let failures = if failed { before.saturating_add(1) } else { before };
    let delay = if failed { policy.delay(failures, random) } else { Duration::ZERO };
    Judgement {
        ended: Ended { reason, exit, failures },
        retry_at: now.saturating_add(delay).unwrap_or(Timestamp::MAX),
    }
}

/// Whether a container ended because its engine or its controller had: that says nothing of the plugin.
pub(super) const fn ends_with_another(reason: RestartReason) -> bool {
    matches!(reason, RestartReason::EngineLost | RestartReason::NotAdoptable)
}

/// Whether an end is the plugin's own doing.
const fn ends_by_itself(reason: RestartReason) -> bool {
    match reason {
        RestartReason::Exited
        | RestartReason::OomKilled
        | RestartReason::StartFailed
        | RestartReason::HandshakeFailed
        | RestartReason::PrimingFailed
        | RestartReason::Unhealthy
        | RestartReason::ProtocolError => true,
        RestartReason::Killed
        | RestartReason::Removed
        | RestartReason::EngineLost
        | RestartReason::NotAdoptable => false,
    }
}

/// A duration that can be compared with differences of times.
pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
