//! Requests that can be followed through the log, if it is to have them: `--log info,plugward::requests=debug`.
//!
//! A host that traces its requests sends their trace's id with each, as W3C's Trace Context has it (`traceparent`). With it two
//! lines are told of a request that waits for its plugin, and one of a priming call whenever that is made again.

use std::fmt;

use plugward_api::Name;
use plugward_relay::{Ended, Outcome, Request};
use tracing::Level;

use crate::names::MountName;

/// What the log's filter calls these lines.
const TARGET: &str = "plugward::requests";

/// The field that holds the trace's id.
const TRACEPARENT: &str = "traceparent";

/// What is told of a request.
pub(super) struct Followed {
    method: Box<str>,
    trace: Option<TraceId>,
}

/// The id of a trace: 16 bytes, not all of them zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceId(u128);

// === impl Followed ===

impl Followed {
    /// `None` when the log is not to have requests: then this costs next to nothing.
    pub(super) fn of(request: &Request<'_>) -> Option<Box<Self>> {
        if !tracing::enabled!(target: TARGET, Level::DEBUG) {
            return None;
        }
        let parent = request.fields().find(|field| field.name == TRACEPARENT.as_bytes());
        Some(Box::new(Self {
            method: String::from_utf8_lossy(request.path()).into(),
            trace: parent.and_then(|field| TraceId::parse(field.value)),
        }))
    }

    /// It waits for its plugin.
    pub(super) fn waits(&self, instance: &Name, mount: &MountName) {
        let Self { method, trace } = self;
        let trace_id = trace.map(tracing::field::display);
        tracing::debug!(target: TARGET, %instance, %mount, method, trace_id, "a request waits for its plugin");
    }

    /// It is over. That is told of one that waited, or was not answered.
    pub(super) fn ended(&self, instance: &Name, mount: &MountName, ended: &Ended) {
        if ended.waited.is_zero() && matches!(ended.outcome, Outcome::Answered(_)) {
            return;
        }
        let Self { method, trace } = self;
        let trace_id = trace.map(tracing::field::display);
        let (waited, took) = (ended.waited.as_secs_f64(), ended.took.as_secs_f64());
        let outcome = ended.outcome;
        tracing::debug!(
            target: TARGET, %instance, %mount, method, trace_id, waited, took, ?outcome, "a request is over"
        );
    }
}

// === impl TraceId ===

impl TraceId {
    /// Of the value of `traceparent`: `VERSION-TRACE-PARENT-FLAGS`, in hexadecimal digits.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        const LENGTH: usize = 32;
        let text = std::str::from_utf8(value).ok()?;
        let trace = text.split('-').nth(1).filter(|trace| trace.len() == LENGTH)?;
        // A sign would be read too.
        let digits = trace.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u128::from_str_radix(trace, 16).ok().filter(|id| digits && *id != 0)?;
        Some(Self(id))
    }

    /// That of a call with this metadata.
    pub(super) fn among<'a>(metadata: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Option<Self> {
        let mut metadata = metadata.into_iter();
        metadata.find(|(name, _)| *name == TRACEPARENT).and_then(|(_, value)| Self::parse(value))
    }
}

/// As tracing systems show it.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_has_the_id_that_its_host_gave_it() {
        let id = TraceId::parse(PARENT.as_bytes()).unwrap();
        assert_eq!(id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        let metadata = [("a", b"b".as_slice()), (TRACEPARENT, PARENT.as_bytes())];
        assert_eq!(TraceId::among(metadata), Some(id));
        assert_eq!(TraceId::among([("a", b"b".as_slice())]), None);
    }

    #[test]
    fn what_is_no_trace_is_none() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c8031\u{e9}-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceId::parse(text.as_bytes()), None, "{text}");
        }
    }
}
