//! The requests of one mount, counted.

use std::array::from_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plugward_api::Name;
use plugward_relay::grpc::Code;
use plugward_relay::{Ended, Outcome};

use super::MountTraffic;
use super::catalogue::{BYTES, HOLD_SECONDS, IN_FLIGHT, REFUSED, REQUEST_SECONDS, REQUESTS, WAITING};
use super::family::{Family, Label, number};
use super::histogram::{Histogram, load, nanoseconds, seconds};

/// Upper bounds of the buckets, in seconds.
const BOUNDS: [f64; 14] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0];

/// gRPC's codes, and their names as libraries of gRPC have them in labels.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "Canceled"),
    (Code::Unknown, "Unknown"),
    (Code::InvalidArgument, "InvalidArgument"),
    (Code::DeadlineExceeded, "DeadlineExceeded"),
    (Code::NotFound, "NotFound"),
    (Code::AlreadyExists, "AlreadyExists"),
    (Code::PermissionDenied, "PermissionDenied"),
    (Code::ResourceExhausted, "ResourceExhausted"),
    (Code::FailedPrecondition, "FailedPrecondition"),
    (Code::Aborted, "Aborted"),
    (Code::OutOfRange, "OutOfRange"),
    (Code::Unimplemented, "Unimplemented"),
    (Code::Internal, "Internal"),
    (Code::Unavailable, "Unavailable"),
    (Code::DataLoss, "DataLoss"),
    (Code::Unauthenticated, "Unauthenticated"),
];

/// What a request is to the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It is what the plugin is there for.
    Work,
    /// It makes the plugin usable, or undoes that.
    Priming,
}

/// The requests of one mount.
#[derive(Debug)]
pub(crate) struct Requests {
    work: Codes,
    priming: Codes,
    took: Histogram<{ BOUNDS.len() }>,
    /// How many had to wait, and for how long together, in nanoseconds.
    held: (AtomicU64, AtomicU64),
    refused: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// How many ended with which code, in their order.
#[derive(Debug)]
struct Codes([AtomicU64; CODES.len()]);

// === impl Requests ===

impl Requests {
    /// A request ended.
    pub(crate) fn ended(&self, class: Class, ended: &Ended) {
        let Some(code) = code(ended.outcome) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let codes = match class {
            Class::Work => &self.work,
            Class::Priming => &self.priming,
        };
        codes.count(code);
        self.took.observe(ended.took);
        if !ended.waited.is_zero() {
            self.held.0.fetch_add(1, Ordering::Relaxed);
            self.held.1.fetch_add(nanoseconds(ended.waited), Ordering::Relaxed);
        }
        self.sent.fetch_add(ended.sent, Ordering::Relaxed);
        self.received.fetch_add(ended.received, Ordering::Relaxed);
    }

    /// Counts one that is made for a host: its answer is known, and little else.
    pub(crate) fn made(&self, code: Code, took: Duration) {
        self.priming.count(code);
        self.took.observe(took);
    }
}

impl Default for Requests {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            work: Codes::default(),
            priming: Codes::default(),
            took: Histogram::new(&BOUNDS),
            held: (zero(), zero()),
            refused: zero(),
            sent: zero(),
            received: zero(),
        }
    }
}

/// Writes the series of these mounts.
pub(super) fn write(mounts: &[MountTraffic], to: &mut Vec<u8>) -> io::Result<()> {
    for (family, write) in FAMILIES {
        family.head(to)?;
        for mount in mounts {
            let name = mount.mount.as_ref().map(Name::as_str).unwrap_or_default();
            write(mount, family, &[mount.instance.as_str(), name], to)?;
        }
    }
    Ok(())
}

/// Writes what a family says of one mount, which these labels name.
type Write = fn(&MountTraffic, &Family, &[Label<'_>; 2], &mut Vec<u8>) -> io::Result<()>;

const FAMILIES: [(&Family, Write); 7] = [
    (&REQUESTS, |traffic, family, [instance, mount], to| {
        for (class, codes) in [("work", &traffic.requests.work), ("priming", &traffic.requests.priming)] {
            for (name, count) in codes.shown() {
                family.line(to, &[instance, mount, class, name], count)?;
            }
        }
        Ok(())
    }),
    (&REQUEST_SECONDS, |traffic, family, labels, to| traffic.requests.took.write(family, labels, to)),
    (&HOLD_SECONDS, |traffic, family, labels, to| {
        let (count, nanoseconds) = &traffic.requests.held;
        family.part(to, "_sum", labels, None, seconds(load(nanoseconds)))?;
        family.part(to, "_count", labels, None, number(load(count)))
    }),
    (&REFUSED, |traffic, family, labels, to| {
        family.line(to, labels, number(load(&traffic.requests.refused)))
    }),
    (&BYTES, |traffic, family, [instance, mount], to| {
        family.line(to, &[instance, mount, "request"], number(load(&traffic.requests.sent)))?;
        family.line(to, &[instance, mount, "answer"], number(load(&traffic.requests.received)))
    }),
    (&IN_FLIGHT, |traffic, family, labels, to| family.line(to, labels, number(traffic.in_flight as u64))),
    (&WAITING, |traffic, family, labels, to| family.line(to, labels, number(traffic.waiting as u64))),
];

/// The code that a host saw. `None` if it is to try again, and does so by itself.
fn code(outcome: Outcome) -> Option<Code> {
    match outcome {
        Outcome::Answered(code) | Outcome::NotServed(code) => Some(code),
        Outcome::NotGrpc(_) => Some(Code::Unknown),
        Outcome::Cancelled(_) => Some(Code::Cancelled),
        Outcome::DeadlineExceeded => Some(Code::DeadlineExceeded),
        Outcome::Refused => None,
        Outcome::PluginGone { .. } => Some(Code::Unavailable),
        _ => Some(Code::Internal),
    }
}

// === impl Codes ===

impl Codes {
    fn count(&self, code: Code) {
        // All of them are there, in order.
        if let Some(count) = self.0.get(code as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those that are shown: the two that everybody looks at, and others once they came up.
    fn shown(&self) -> impl Iterator<Item = (&'static str, f64)> {
        CODES.iter().zip(&self.0).filter_map(|((code, name), count)| {
            let count = load(count);
            let always = matches!(code, Code::Ok | Code::Unavailable);
            (always || count > 0).then(|| (*name, number(count)))
        })
    }
}

impl Default for Codes {
    fn default() -> Self {
        Self(from_fn(|_| AtomicU64::new(0)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn ended(outcome: Outcome, took: u64, waited: u64) -> Ended {
        Ended {
            outcome,
            waited: Duration::from_millis(waited),
            took: Duration::from_millis(took),
            sent: 10,
            received: 20,
            request: None,
            answer: None,
        }
    }

    /// The series of one family.
    fn lines(requests: &Arc<Requests>, family: &Family) -> Vec<String> {
        let (instance, mount) = ("db".parse().unwrap(), Some("orders".parse().unwrap()));
        let traffic = MountTraffic { instance, mount, waiting: 0, in_flight: 0, requests: requests.clone() };
        let mut text = Vec::new();
        write(&[traffic], &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let series = text.lines().filter(|line| line.starts_with(family.name));
        series.map(|line| line.replace("plugin_instance=\"db\",mount=\"orders\"", "M")).collect()
    }

    #[test]
    fn the_codes_that_everybody_looks_at_are_there_and_others_once_they_came_up() {
        let requests = Arc::<Requests>::default();
        let before = lines(&requests, &REQUESTS);
        assert_eq!(before.len(), 4, "{before:?}");
        requests.ended(Class::Work, &ended(Outcome::Answered(Code::Ok), 1, 0));
        requests.ended(Class::Work, &ended(Outcome::PluginGone { begun: false, in_message: false }, 1, 0));
        requests.ended(Class::Priming, &ended(Outcome::Answered(Code::NotFound), 1, 0));
        requests.made(Code::Ok, Duration::ZERO);
        assert_eq!(
            lines(&requests, &REQUESTS),
            [
                "plugward_requests_total{M,class=\"work\",code=\"OK\"} 1",
                "plugward_requests_total{M,class=\"work\",code=\"Unavailable\"} 1",
                "plugward_requests_total{M,class=\"priming\",code=\"OK\"} 1",
                "plugward_requests_total{M,class=\"priming\",code=\"NotFound\"} 1",
                "plugward_requests_total{M,class=\"priming\",code=\"Unavailable\"} 0",
            ]
        );
    }

    #[test]
    fn what_hosts_try_again_by_themselves_is_no_request_that_ended() {
        let requests = Arc::<Requests>::default();
        requests.ended(Class::Work, &ended(Outcome::Refused, 1, 0));
        assert_eq!(lines(&requests, &REFUSED), ["plugward_requests_refused_total{M} 1"]);
        assert!(lines(&requests, &REQUEST_SECONDS).last().unwrap().ends_with(" 0"));
    }

    #[test]
    fn times_and_bytes_add_up() {
        let requests = Arc::<Requests>::default();
        requests.ended(Class::Work, &ended(Outcome::Answered(Code::Ok), 1, 0));
        requests.ended(Class::Work, &ended(Outcome::Answered(Code::Ok), 70_000, 500));
        let took = lines(&requests, &REQUEST_SECONDS);
        let count = |bound: &str| {
            let line = took.iter().find(|line| line.contains(&format!("le=\"{bound}\""))).unwrap();
            line.rsplit(' ').next().unwrap().to_owned()
        };
        assert_eq!([count("0.0005"), count("0.001"), count("60"), count("+Inf")], ["0", "1", "1", "2"]);
        assert!(took.contains(&"plugward_request_duration_seconds_sum{M} 70.001".to_owned()), "{took:?}");
        assert_eq!(
            lines(&requests, &HOLD_SECONDS),
            ["plugward_request_hold_seconds_sum{M} 0.5", "plugward_request_hold_seconds_count{M} 1"]
        );
        assert_eq!(
            lines(&requests, &BYTES),
            [
                "plugward_request_bytes_total{M,direction=\"request\"} 20",
                "plugward_request_bytes_total{M,direction=\"answer\"} 40",
            ]
        );
    }

    #[test]
    fn codes_are_in_the_order_of_their_numbers() {
        for (index, (code, _)) in CODES.iter().enumerate() {
            assert_eq!(*code as usize, index);
        }
    }
}
