//! Whether a call that cannot go yet may wait, how long, and what it is told if not. Pure.

use std::time::Duration;

use jiff::Timestamp;
use plugward_api as api;
use plugward_relay::Stop;
use plugward_relay::grpc::{Code, Status};

use super::priming::{Failure, Role};
use super::seat::{Denial, Route};
use super::terms::{Hold, Prospect};

/// What stands between a call and a plugin, as seen from its mount.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook<'a> {
    pub(super) route: Route<'a>,
    /// Of the mount's slot. Says something where the route is empty.
    pub(super) prospect: &'a Prospect,
    pub(super) hold: Hold,
    pub(super) now: Timestamp,
}

/// The least time that a call may wait for a plugin that is there: to be connected to it takes a moment.
const CONNECTING: Duration = Duration::from_secs(10);

// === impl Outlook ===

impl Outlook<'_> {
    /// The same for one who waits for so long, whatever calls may.
    pub(super) const fn holding(mut self, timeout: Duration) -> Self {
        self.hold.timeout = timeout;
        self
    }

    /// How long a call may wait that its host gives so much time.
    ///
    /// # Errors
    ///
    /// What it is told where waiting is of no use.
    pub(super) fn may_wait(&self, role: Role, time_limit: Option<Duration>) -> Result<Duration, Status> {
        if self.is_open(role) {
            return Ok(self.hold.timeout.max(CONNECTING));
        }
        let left = time_limit.map_or(self.hold.timeout, |limit| limit.min(self.hold.timeout));
        self.may_go_on(role, left, u32::MAX)?;
        Ok(self.hold.timeout)
    }

    /// Whether a call goes on waiting that has so much time left, and began to wait when its plugin had failed to be primed so often.
    ///
    /// # Errors
    ///
    /// What it is told where not.
    pub(super) fn may_go_on(&self, role: Role, left: Duration, failures: u32) -> Result<(), Status> {
        if self.is_open(role) {
            return Ok(());
        }
        let (status, at) = match (self.route, self.prospect) {
            (Route::Failing(failure), _) if failure.attempts > failures => return Err(failed(failure)),
            (Route::Failing(failure), _) => (failed(failure), failure.again_at),
            (Route::Empty, Prospect::Later { reason, at }) => (Status::unavailable(reason), *at),
            _ if self.hold.timeout.is_zero() => return Err(self.waited()),
            _ => return Ok(()),
        };
        let in_time = at <= self.now.saturating_add(left).unwrap_or(Timestamp::MAX) && !left.is_zero();
        if in_time { Ok(()) } else { Err(self.with_next_try(&status, at)) }
    }

    /// What a call is told that waited as long as it might.
    pub(super) fn waited(&self) -> Status {
        let timeout = text(self.hold.timeout);
        match (self.route, self.prospect) {
            (Route::Failing(failure), _) => self.with_next_try(&failed(failure), failure.again_at),
            (Route::Telling, _) => Status::unavailable(format!(
                "the plugin was restarted, and was not told within {timeout} what it had been told before"
            )),
            (Route::To(_), _) => Status::unavailable(format!("the plugin took no call within {timeout}")),
            (Route::Empty, Prospect::Later { reason, at }) => {
                self.with_next_try(&Status::unavailable(reason), *at)
            }
            (Route::Empty, Prospect::Blocked { reason }) => Status::unavailable(reason),
            (Route::Empty, Prospect::Coming | Prospect::Asleep) => {
                Status::unavailable(format!("no container of the plugin was ready within {timeout}"))
            }
        }
    }

    /// Whether a call that comes now is served, or waits: and until when that is so, or not, if time alone changes it.
    pub(super) fn is_serving(&self) -> (bool, Option<Timestamp>) {
        match (self.route, self.prospect) {
            (Route::Empty, Prospect::Later { at, .. }) => {
                let from = at.saturating_sub(self.hold.timeout).unwrap_or(Timestamp::MIN);
                if self.now >= from { (true, None) } else { (false, Some(from)) }
            }
            (Route::Empty, _) if self.hold.timeout.is_zero() => (false, None),
            _ => (true, None),
        }
    }

    /// Whether nothing comes before something changes that nobody can foresee.
    pub(super) fn is_hopeless(&self) -> bool {
        matches!((self.route, self.prospect), (Route::Empty, Prospect::Blocked { .. }))
    }

    /// How often the plugin failed to be primed, in a row.
    pub(super) fn failures(&self) -> u32 {
        if let Route::Failing(failure) = self.route { failure.attempts } else { 0 }
    }

    fn is_open(&self, role: Role) -> bool {
        match self.route {
            Route::To(_) => true,
            Route::Failing(_) => role != Role::Work,
            Route::Telling | Route::Empty => false,
        }
    }

    fn with_next_try(&self, status: &Status, at: Timestamp) -> Status {
        let left = Duration::try_from(at.duration_since(self.now)).unwrap_or_default();
        // Whole seconds, and not fewer than there are.
        let left = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
        Status::new(
            status.code,
            format!("{}; the next try is at {at:.0} (in {})", status.message, text(left)),
        )
    }
}

/// What becomes of a call that must not reach the plugin that its connection goes to.
pub(super) fn denied(denial: Denial<'_>) -> Stop {
    match denial {
        Denial::Telling => Stop::Wait,
        Denial::Leaving => Stop::Elsewhere,
        Denial::Failing(failure) => failed(failure).into(),
        Denial::Unknown => Stop::Answer(Status::new(
            Code::FailedPrecondition,
            "the plugin was restarted, and plugward does not know what made it usable before: \
             make the call again that does (a database plugin's is Initialize)",
        )),
    }
}

/// What calls are told while the plugin does not take what it had been told before.
fn failed(failure: &Failure) -> Status {
    let Status { code, ref message } = failure.status;
    Status::new(
        code,
        format!("the plugin was restarted, and failed at what had made it usable before: {message}"),
    )
}

/// As it is written in manifests, in whole milliseconds.
fn text(time: Duration) -> String {
    u32::try_from(time.as_millis()).map_or_else(
        |_| format!("{}s", time.as_secs()),
        |milliseconds| api::Duration::from_millis(milliseconds).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn outlook<'a>(route: Route<'a>, prospect: &'a Prospect, seconds: u64) -> Outlook<'a> {
        let hold = Hold { timeout: Duration::from_secs(seconds), max_requests: 1, max_bytes: 1 };
        Outlook { route, prospect, hold, now: NOW }
    }

    fn later(seconds: i64) -> Prospect {
        Prospect::Later { reason: "exited 1".into(), at: Timestamp::from_second(seconds).unwrap() }
    }

    #[test]
    fn a_call_waits_for_the_next_start_only_if_that_comes_in_its_time() {
        let wait = |at, seconds, limit: Option<u64>| {
            let prospect = later(at);
            outlook(Route::Empty, &prospect, seconds).may_wait(Role::Work, limit.map(Duration::from_secs))
        };
        assert_eq!(wait(30, 30, None), Ok(Duration::from_secs(30)));
        assert_eq!(
            wait(30, 60, Some(30)),
            Ok(Duration::from_secs(60)),
            "its own limit is the relay's to keep"
        );
        assert!(wait(31, 30, None).is_err() && wait(31, 60, Some(30)).is_err());
        let status = wait(90, 30, None).unwrap_err();
        assert_eq!(status.code, Code::Unavailable);
        assert_eq!(status.message, "exited 1; the next try is at 1970-01-01T00:01:30Z (in 1m30s)");
    }

    #[test]
    fn a_call_that_may_not_wait_fails_at_once_unless_there_is_a_container() {
        for prospect in
            [Prospect::Coming, Prospect::Asleep, later(0), Prospect::Blocked { reason: "x".into() }]
        {
            assert!(outlook(Route::Empty, &prospect, 0).may_wait(Role::Work, None).is_err(), "{prospect:?}");
            assert_eq!(outlook(Route::To(1), &prospect, 0).may_wait(Role::Work, None), Ok(CONNECTING));
        }
        assert!(outlook(Route::Telling, &Prospect::Coming, 0).may_wait(Role::Work, None).is_err());
    }

    #[test]
    fn a_failure_ends_the_calls_that_waited_for_it_and_not_those_that_came_later() {
        let failure = Failure {
            status: Status::new(Code::Internal, "Initialize: no database"),
            attempts: 3,
            again_at: Timestamp::from_second(5).unwrap(),
        };
        let outlook = outlook(Route::Failing(&failure), &Prospect::Coming, 30);
        let left = Duration::from_secs(20);
        assert_eq!(outlook.may_go_on(Role::Work, left, 3), Ok(()));
        assert_eq!(outlook.may_go_on(Role::Work, left, 2).unwrap_err().code, Code::Internal);
        assert!(outlook.may_go_on(Role::Work, Duration::from_secs(4), 3).is_err());
        // A host may always say it itself.
        assert_eq!(outlook.may_go_on(Role::Primes, Duration::ZERO, 0), Ok(()));
        assert_eq!(outlook.failures(), 3);
        assert!(outlook.waited().message.contains("no database"));
    }

    #[test]
    fn a_plugin_serves_while_a_call_would_wait_for_it() {
        let at = |now: i64, seconds| {
            let (now, prospect) = (Timestamp::from_second(now).unwrap(), later(100));
            Outlook { now, ..outlook(Route::Empty, &prospect, seconds) }.is_serving()
        };
        assert_eq!(at(0, 30), (false, Some(Timestamp::from_second(70).unwrap())));
        assert_eq!(at(70, 30), (true, None));
        assert_eq!(outlook(Route::Empty, &Prospect::Coming, 0).is_serving(), (false, None));
        assert_eq!(outlook(Route::To(1), &Prospect::Coming, 0).is_serving(), (true, None));
    }
}
