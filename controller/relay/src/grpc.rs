//! What of gRPC a relay has to know: statuses, time limits, and where messages begin and end
//! (gRPC over HTTP/2, `PROTOCOL-HTTP2.md` of github.com/grpc/grpc).

use std::{fmt::Write as _, str::FromStr, time::Duration};

use zeroize::Zeroizing;

/// A status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// Success.
    Ok = 0,
    /// The caller gave up.
    Cancelled = 1,
    /// An error of no other kind.
    Unknown = 2,
    /// The request makes no sense, whatever the state.
    InvalidArgument = 3,
    /// The time limit of the call ended first.
    DeadlineExceeded = 4,
    /// What was asked for is not there.
    NotFound = 5,
    /// What was to be made is there.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// Something ran out.
    ResourceExhausted = 8,
    /// The state does not allow it; trying again does not help.
    FailedPrecondition = 9,
    /// It was ended by a conflict.
    Aborted = 10,
    /// Beyond the end.
    OutOfRange = 11,
    /// There is no such method.
    Unimplemented = 12,
    /// Something broke that should not.
    Internal = 13,
    /// Not now; trying again may help.
    Unavailable = 14,
    /// Data was lost.
    DataLoss = 15,
    /// The caller did not say who it is.
    Unauthenticated = 16,
}

/// How a call ended: a code, and for people a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// The message, empty for none.
    pub message: String,
}

/// Follows the messages of a body: each has a head of five bytes, a flag and a length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// Bytes of the head that are there.
    head: u8,
    /// The length, as far as it is there.
    length: u32,
    /// What is to come of the message's own bytes.
    left: u32,
}

/// Bytes of a message's head.
pub const MESSAGE_HEAD: usize = 5;

/// A copy of a body, up to a limit. Its memory is cleared when it goes.
pub struct Copy {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
    over: bool,
}

// === impl Code ===

impl Code {
    /// All codes, in their order.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code of a `grpc-status` header. One that is not known is [`Unknown`](Self::Unknown), as gRPC has it.
    pub fn from_header(value: &[u8]) -> Self {
        parse_number(value).and_then(|number: usize| Self::ALL.get(number)).copied().unwrap_or(Self::Unknown)
    }

    /// Its name as gRPC writes it, fit for a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

// === impl Status ===

impl Status {
    /// A status with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Success.
    pub fn ok() -> Self {
        Self::new(Code::Ok, "")
    }

    /// `UNAVAILABLE`, with the reason.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// The value of `grpc-status`.
    pub(crate) fn code_header(&self) -> String {
        (self.code as u8).to_string()
    }

    /// The value of `grpc-message`: UTF-8, of which all but printable ASCII, and `%`, is percent-encoded. Cut to 1 KiB, at a character:
    /// a host may refuse long headers, and then sees no status at all.
    pub(crate) fn message_header(&self) -> String {
        let mut value = String::with_capacity(self.message.len());
        for character in self.message.chars() {
            if value.len() > 1024 {
                break;
            }
            if matches!(character, ' '..='~') && character != '%' {
                value.push(character);
                continue;
            }
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String does not fail.
                let _ = write!(value, "%{byte:02X}");
            }
        }
        value
    }
}

// === values of headers ===

/// A number in decimal digits.
pub(crate) fn parse_number<N: FromStr>(value: &[u8]) -> Option<N> {
    str::from_utf8(value).ok()?.parse().ok()
}

/// The time that a `grpc-timeout` header allows. `None` if it is not one.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A `grpc-timeout` header of at least `time`, in the smallest unit whose eight digits hold it.
pub fn format_timeout(time: Duration) -> String {
    const UNITS: [(u128, char); 6] = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
        (3_600_000_000_000, 'H'),
    ];
    let most = 99_999_999;
    for (nanoseconds, unit) in UNITS {
        let number = time.as_nanos().div_ceil(nanoseconds);
        if number <= most {
            return format!("{number}{unit}");
        }
    }
    format!("{most}H")
}

// === impl Messages ===

impl Messages {
    /// Goes on over the next bytes of the body.
    pub fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = bytes.len().min(self.left as usize);
                #[expect(clippy::cast_possible_truncation, reason = "not more than `left`")]
                {
                    self.left -= skipped as u32;
                }
                bytes = &bytes[skipped..];
                continue;
            }
            if self.head > 0 {
                self.length = self.length << 8 | u32::from(bytes[0]);
            }
            self.head += 1;
            bytes = &bytes[1..];
            if usize::from(self.head) == MESSAGE_HEAD {
                *self = Self { head: 0, length: 0, left: self.length };
            }
        }
    }

    /// Whether a message has begun that is not complete.
    pub fn is_in_message(&self) -> bool {
        self.head > 0 || self.left > 0
    }
}

// === impl Copy ===

impl Copy {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Zeroizing::default(), limit, over: false }
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let length = self.bytes.len() + bytes.len();
        if self.over || length > self.limit {
            self.over = true;
            self.bytes = Zeroizing::default();
            return;
        }
        if length > self.bytes.capacity() {
            // Not by the vector itself: it would leave the old bytes behind.
            let mut wider = Zeroizing::new(Vec::with_capacity((2 * length).min(self.limit)));
            wider.extend_from_slice(&self.bytes);
            self.bytes = wider;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The body: messages with their heads. `None` if it was longer than the limit.
    pub fn bytes(&self) -> Option<&[u8]> {
        (!self.over).then_some(&self.bytes)
    }
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copy")
            .field("length", &self.bytes.len())
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_limit_is_never_written_shorter_and_hardly_longer(nanoseconds in 0u64..) {
            let time = Duration::from_nanos(nanoseconds);
            let written = parse_timeout(format_timeout(time).as_bytes()).unwrap();
            prop_assert!(written >= time);
            prop_assert!(written <= time + time / 100_000, "{time:?} became {written:?}");
        }

        #[test]
        fn any_bytes_can_be_a_time_limit_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Some(time) = parse_timeout(&bytes) {
                prop_assert!(time <= Duration::from_secs(99_999_999 * 3600));
            }
        }

        #[test]
        fn messages_are_followed_however_they_are_cut(
            lengths in proptest::collection::vec(0u32..600, 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let (mut body, mut ends) = (Vec::new(), vec![0]);
            for length in lengths {
                body.push(0);
                body.extend_from_slice(&length.to_be_bytes());
                body.resize(body.len() + length as usize, 9);
                ends.push(body.len());
            }
            let cut = cut.index(body.len() + 1);
            let mut messages = Messages::default();
            messages.follow(&body[..cut]);
            prop_assert_eq!(messages.is_in_message(), !ends.contains(&cut));
            messages.follow(&body[cut..]);
            prop_assert!(!messages.is_in_message());
        }
    }

    #[test]
    fn a_message_for_people_is_percent_encoded() {
        let status = Status::unavailable("100 % süß\n");
        assert_eq!(status.message_header(), "100 %25 s%C3%BC%C3%9F%0A");
        assert!(Status::unavailable("ü".repeat(5000)).message_header().len() < 1100);
    }

    #[test]
    fn an_unknown_status_is_unknown() {
        assert_eq!(Code::from_header(b"14"), Code::Unavailable);
        for odd in [&b"17"[..], b"", b"-1", b"x", b"\xff", b"99999999999999999999"] {
            assert_eq!(Code::from_header(odd), Code::Unknown);
        }
    }

    #[test]
    fn a_time_limit_is_one_to_eight_digits_and_a_unit() {
        assert_eq!(parse_timeout(b"1S"), Some(Duration::from_secs(1)));
        assert_eq!(parse_timeout(b"99999999n"), Some(Duration::from_nanos(99_999_999)));
        for odd in [&b""[..], b"S", b"1", b"123456789S", b"1s", b"-1S", b" 1S"] {
            assert_eq!(parse_timeout(odd), None);
        }
    }

    #[test]
    fn a_copy_beyond_its_limit_is_none() {
        let mut copy = Copy::new(4);
        copy.extend(b"abc");
        assert_eq!(copy.bytes(), Some(&b"abc"[..]));
        copy.extend(b"de");
        assert_eq!(copy.bytes(), None);
        copy.extend(b"f");
        assert_eq!(copy.bytes(), None);
        assert!(!format!("{copy:?}").contains("97"));
    }
}
