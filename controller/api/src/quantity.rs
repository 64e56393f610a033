//! Amounts of a resource, written as Kubernetes writes them.

use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::text::{Invalid, Text};

/// An amount: `500m` of a CPU, `256Mi` of memory.
///
/// The grammar and the canonical form are those of Kubernetes' `resource.Quantity`: a decimal number, then nothing,
/// a decimal suffix (`n u m k M G T P E`), a binary suffix (`Ki Mi Gi Ti Pi Ei`) or an exponent (`e3`). What is
/// finer than a nano is rounded away from zero; what is greater than 2^63 - 1 is cut to that.
///
/// Two quantities are equal when they are the same amount, however they were written. `Display` gives the canonical
/// form: no fraction, and the greatest suffix that loses nothing.
#[derive(Clone, Copy)]
pub struct Quantity {
    /// The amount in units of 10^-9. At most (2^63 - 1) · 10^9 in magnitude.
    nanos: i128,
    /// How it was written, and so how it is printed.
    style: Style,
}

/// The family of suffixes that a quantity was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// `1500m`, `2`, `3G`
    Decimal,
    /// `3Gi`
    Binary,
    /// `3e9`
    Exponent,
}

/// 10^9: one, in nanos.
const ONE: i128 = 1_000_000_000;

/// The greatest amount there is, in nanos.
const MAX: i128 = i64::MAX as i128 * ONE;

const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// From 10^-9 in steps of 10^3.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// What a suffix says: the family, and the power of two and of ten that it multiplies by.
fn suffix(text: &str) -> Option<(Style, u32, i64)> {
    if let Some(steps) = DECIMAL.iter().position(|suffix| *suffix == text) {
        return Some((Style::Decimal, 0, i64::try_from(steps).ok()? * 3 - 9));
    }
    if let Some(steps) = BINARY.iter().position(|suffix| *suffix == text) {
        return Some((Style::Binary, u32::try_from(steps).ok()? * 10, 0));
    }
    let exponent = text.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // An exponent of more digits than an i64 has is as good as the greatest: the amount is cut or rounded anyway.
    let limit = if exponent.starts_with('-') { -i64::MAX } else { i64::MAX };
    Some((Style::Exponent, 0, exponent.parse().unwrap_or(limit)))
}

/// `digits` · 2^`twos` · 10^`tens`, rounded up to a whole number and cut to [`MAX`].
///
/// Works on the digits themselves, so that a number of any length is exact.
fn amount(digits: &str, twos: u32, tens: i64) -> i128 {
    // The least digit first.
    let mut digits: Vec<u8> = digits.bytes().rev().map(|b| b - b'0').collect();
    for _ in 0..twos {
        let mut carry = 0;
        for digit in &mut digits {
            let doubled = *digit * 2 + carry;
            *digit = doubled % 10;
            carry = doubled / 10;
        }
        if carry > 0 {
            digits.push(carry);
        }
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    if digits.is_empty() {
        return 0;
    }
    let dropped = usize::try_from(tens.saturating_neg()).unwrap_or(0).min(digits.len());
    let round_up = digits.drain(..dropped).any(|digit| digit != 0);
    let whole = digits
        .iter()
        .rev()
        .try_fold(0_i128, |sum, digit| sum.checked_mul(10)?.checked_add(i128::from(*digit)));
    let scaled = whole.and_then(|whole| {
        let power = u32::try_from(tens.max(0)).unwrap_or(u32::MAX);
        if whole == 0 { Some(0) } else { whole.checked_mul(10_i128.checked_pow(power)?) }
    });
    scaled.map_or(MAX, |scaled| (scaled + i128::from(round_up)).min(MAX))
}

/// Divides by `base` while nothing is lost, at most `limit` times: the rest and how often.
fn reduce(mut number: i128, base: i128, limit: usize) -> (i128, usize) {
    let mut times = 0;
    while times < limit && number % base == 0 {
        number /= base;
        times += 1;
    }
    (number, times)
}

// === impl Quantity ===

impl Quantity {
    /// This many units.
    pub const fn units(units: i64) -> Self {
        Self { nanos: units as i128 * ONE, style: Style::Decimal }
    }

    /// This many bytes, printed with binary suffixes where that loses nothing.
    pub const fn bytes(bytes: i64) -> Self {
        Self { nanos: bytes as i128 * ONE, style: Style::Binary }
    }

    /// The amount in whole units (bytes, pieces), rounded away from zero.
    pub fn value(self) -> i64 {
        let whole = self.nanos / ONE;
        let whole = if self.nanos % ONE == 0 { whole } else { whole + self.nanos.signum() };
        // Within `MAX` by construction.
        i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
    }

    /// The amount in billionths: a Docker Engine's `NanoCpus`. `None` when that is more than an `i64` holds.
    pub fn nanos(self) -> Option<i64> {
        i64::try_from(self.nanos).ok()
    }

    /// Whether the amount is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nanos % ONE == 0
    }

    /// Whether the amount is greater than zero.
    pub fn is_positive(self) -> bool {
        self.nanos > 0
    }
}

impl FromStr for Quantity {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, tail) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || fraction.contains('.') {
            return Err(Invalid::new(format!("{text:?} is not a quantity"))
                .help("write a number and a suffix, like 500m, 2, 10M or 256Mi"));
        }
        let Some((style, twos, tens)) = suffix(tail) else {
            return Err(unknown_suffix(text, tail));
        };
        let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let nanos = amount(&digits, twos, tens.saturating_add(9).saturating_sub(places));
        // Kubernetes prints a fraction below one as a decimal, whatever its suffix was.
        let style = if style == Style::Binary && nanos < ONE { Style::Decimal } else { style };
        Ok(Self { nanos: if text.starts_with('-') { -nanos } else { nanos }, style })
    }
}

/// The suffix is not one: says which one may have been meant.
fn unknown_suffix(text: &str, tail: &str) -> Invalid {
    let invalid = Invalid::new(format!("{text:?} is not a quantity: there is no suffix {tail:?}"));
    let near = match tail.trim().to_ascii_lowercase().as_str() {
        "kb" | "k" => "k (1000) or Ki (1024)",
        "ki" | "kib" => "Ki (1024)",
        "mb" => "M (1000^2) or Mi (1024^2)",
        "mi" | "mib" => "Mi (1024^2)",
        "g" | "gb" => "G (1000^3) or Gi (1024^3)",
        "gi" | "gib" => "Gi (1024^3)",
        "t" | "tb" => "T (1000^4) or Ti (1024^4)",
        "ti" | "tib" => "Ti (1024^4)",
        "b" | "byte" | "bytes" => return invalid.help("bytes have no suffix"),
        _ => {
            return invalid
                .help("use n, u, m, k, M, G, T, P, E, or Ki, Mi, Gi, Ti, Pi, Ei, or an exponent like e3");
        }
    };
    invalid.help(format!("use {near}"))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.pad("0");
        }
        let kibi = 1024 * ONE;
        if self.style == Style::Binary && self.is_whole() && self.nanos.abs() >= kibi {
            let (number, steps) = reduce(self.nanos / ONE, 1024, BINARY.len() - 1);
            return f.pad(&format!("{number}{}", BINARY[steps]));
        }
        let (number, steps) = reduce(self.nanos, 1000, DECIMAL.len() - 1);
        if self.style == Style::Exponent {
            return match steps * 3 {
                9 => f.pad(&number.to_string()),
                tens @ 0..9 => f.pad(&format!("{number}e-{}", 9 - tens)),
                tens => f.pad(&format!("{number}e{}", tens - 9)),
            };
        }
        f.pad(&format!("{number}{}", DECIMAL[steps]))
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Text for Quantity {
    const FORMAT: &'static str = "quantity";
    const PATTERN: &'static str =
        r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";
    const MAX_LENGTH: usize = 64;
    const EXAMPLE: &'static str = "256Mi";

    fn check(text: &str) -> Result<(), Invalid> {
        text.parse::<Self>().map(|_| ())
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity, like 500m or 256Mi")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "format": Self::FORMAT,
            "pattern": Self::PATTERN,
            "maxLength": Self::MAX_LENGTH,
            "examples": [Self::EXAMPLE],
        })
    }
}

#[cfg(test)]
mod tests;
