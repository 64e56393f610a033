//! Spans of time, written as Go and Kubernetes write them.

use std::{borrow::Cow, fmt, str::FromStr, time};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::text::{self, Invalid, Text};

/// A span of time: `300ms`, `1h30m`, `1.5h`.
///
/// Reads and prints as Go's `time.ParseDuration` and `time.Duration.String` do, which is what Kubernetes'
/// `metav1.Duration` does: whole nanoseconds, up to about 292 years, `5m` prints as `5m0s`. A negative span can be
/// read; validation refuses it where it means nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    nanos: i64,
}

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// 2^63: the magnitude of the least `i64`.
const LIMIT: u64 = 1 << 63;

/// The nanoseconds of a unit. Go knows both letters that look like µ.
fn unit(text: &str) -> Option<u64> {
    Some(match text {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// The nanoseconds of a fraction of a unit, with Go's precision: digits beyond what an `i64` holds are dropped, and
/// the product is a `float64`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Go computes it so, and the result is less than the unit"
)]
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale = 1.0_f64;
    for digit in digits.bytes().map(|b| u64::from(b - b'0')) {
        if value > (LIMIT - 1) / 10 || value * 10 + digit > LIMIT {
            break;
        }
        value = value * 10 + digit;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

fn too_long(text: &str) -> Invalid {
    Invalid::new(format!("{text:?} is longer than a duration can be")).help("the longest is 2562047h47m16s")
}

// === impl Duration ===

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self { nanos: 0 };

    /// This many milliseconds.
    pub const fn from_millis(millis: u32) -> Self {
        Self { nanos: millis as i64 * MILLISECOND.cast_signed() }
    }

    /// This many seconds.
    pub const fn from_secs(secs: u32) -> Self {
        Self { nanos: secs as i64 * SECOND.cast_signed() }
    }

    /// The span as the standard library has it; a negative one is zero.
    pub fn get(self) -> time::Duration {
        time::Duration::from_nanos(u64::try_from(self.nanos).unwrap_or(0))
    }

    /// Whether the span is longer than nothing.
    pub fn is_positive(self) -> bool {
        self.nanos > 0
    }

    /// Whether the span is less than nothing.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.get()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

impl TryFrom<String> for Duration {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl FromStr for Duration {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = || Invalid::new(format!("{text:?} is not a duration"));
        let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(bad().help("write a number and a unit, like 300ms, 30s or 1h30m"));
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (whole, tail) = rest.split_at(end);
            let (fraction, tail) = match tail.strip_prefix('.') {
                None => ("", tail),
                Some(tail) => tail.split_at(tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len())),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(bad().help("write a number and a unit, like 300ms, 30s or 1h30m"));
            }
            let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (name, tail) = tail.split_at(end);
            let Some(unit) = unit(name) else {
                return Err(match name {
                    "" => bad().help(format!("give it a unit: {text}s, {text}ms")),
                    "d" => bad().help("there is no unit for days, which are not all equally long: use h"),
                    _ => bad().help(format!("there is no unit {name:?}: use ns, us, ms, s, m or h")),
                });
            };
            let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long(text))? };
            let part = whole
                .checked_mul(unit)
                .and_then(|part| part.checked_add(fraction_of(fraction, unit)))
                .filter(|part| *part <= LIMIT)
                .ok_or_else(|| too_long(text))?;
            total = total.checked_add(part).filter(|sum| *sum <= LIMIT).ok_or_else(|| too_long(text))?;
            rest = tail;
        }
        let nanos = if text.starts_with('-') {
            0_i64.checked_sub_unsigned(total)
        } else {
            0_i64.checked_add_unsigned(total)
        };
        nanos.map(|nanos| Self { nanos }).ok_or_else(|| too_long(text))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanos < 0 { "-" } else { "" };
        let nanos = self.nanos.unsigned_abs();
        let text = if nanos == 0 {
            "0s".to_owned()
        } else if nanos < MICROSECOND {
            format!("{nanos}ns")
        } else if nanos < MILLISECOND {
            format!("{}\u{b5}s", decimal(nanos, MICROSECOND))
        } else if nanos < SECOND {
            format!("{}ms", decimal(nanos, MILLISECOND))
        } else {
            let hours = match nanos / HOUR {
                0 => String::new(),
                hours => format!("{hours}h"),
            };
            let minutes = match nanos / MINUTE {
                0 => String::new(),
                minutes => format!("{}m", minutes % 60),
            };
            format!("{hours}{minutes}{}s", decimal(nanos % MINUTE, SECOND))
        };
        f.pad(&format!("{sign}{text}"))
    }
}

/// `nanos` in `unit`s, with as many places as it takes.
fn decimal(nanos: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let places = format!("{:0width$}", nanos % unit);
    match places.trim_end_matches('0') {
        "" => (nanos / unit).to_string(),
        places => format!("{}.{places}", nanos / unit),
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Text for Duration {
    const FORMAT: &'static str = "duration";
    const PATTERN: &'static str =
        "^[+-]?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h))+)$";
    const MAX_LENGTH: usize = 64;
    const EXAMPLE: &'static str = "1m30s";

    fn check(text: &str) -> Result<(), Invalid> {
        text.parse::<Self>().map(|_| ())
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text::schema_of::<Self>()
    }
}

#[cfg(test)]
mod tests;
