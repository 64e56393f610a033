//! The messages, and how they are written. No I/O.
//!
//! One packet is one message. It begins with a byte for its kind; fields follow, each of them a tag (a byte), a length (32 bits) and
//! that many bytes. Numbers have their least byte first, texts are UTF-8, paths are bytes. Tags that are not known are passed over: a
//! later version may add fields. A kind that is not known is an error.
//!
//! | from the launcher | kind | fields | descriptors |
//! | --- | --- | --- | --- |
//! | `Hello` | 112 | see below | of one that resumes: state, listener, its directory |
//! | `Environment` | 1 | for each variable 1: its name, then 2: its value | |
//! | `Listening` | 2 | 1: id, 2: path | listener, its directory |
//! | `NotListening` | 3 | 1: id, 2: error | |
//! | `Dialled` | 4 | 1: id | stream |
//! | `NotDialled` | 5 | 1: id, 2: error | |
//!
//! | from the controller | kind | fields | descriptors |
//! | --- | --- | --- | --- |
//! | `Refuse` | 129 | 1: message | |
//! | `Ask` | 130 | 1: version (16 bits), for each variable 2: its name | |
//! | `Listen` | 131 | 1: id | |
//! | `Unlisten` | 132 | 1: id | |
//! | `Print` | 133 | 1: line | |
//! | `Stderr` | 134 | 1: bytes | |
//! | `Dial` | 135 | 1: id, 2: path | |
//! | `Keep` | 136 | 1: patience in milliseconds (64 bits) | state |
//! | `Forget` | 137 | | |
//! | `Resumed` | 138 | | |
//! | `Exit` | 139 | 1: code (8 bits), 2: message, may be left out | |
//!
//! Ids have 32 bits. `Hello` and `Refuse` are the same in all versions, so that any launcher and any controller can part with words.
//! `Hello` has no fields: it is the eight bytes `plugward`, the lowest and the highest version (16 bits each), a byte whose lowest bit
//! says that it resumes, and the name of the instance after its length (32 bits). What follows, and the other bits, are passed over.

mod field;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::str::Utf8Error;
use std::time::Duration;

use field::{Fields, Writer};

/// The version that this build speaks.
pub const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"plugward";

/// What the launcher says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromLauncher {
    /// The first message.
    Hello {
        /// The lowest and the highest version that it speaks.
        versions: (u16, u16),
        /// The instance that it is to stand for.
        instance: String,
        /// Whether it had a session. If so, the descriptors are the state that was [kept](FromController::Keep) and the session's
        /// listener.
        resumes: bool,
    },
    /// The variables of its environment that it was [asked](FromController::Ask) for, as far as they are set.
    Environment {
        /// Names and values.
        variables: Vec<(String, Vec<u8>)>,
    },
    /// It made a socket. The descriptors are the listener, and the directory of its file, opened with `O_PATH`.
    Listening {
        /// That of [`FromController::Listen`].
        id: u32,
        /// The file, in the host's mount namespace.
        path: PathBuf,
    },
    /// It could not make a socket.
    NotListening {
        /// That of [`FromController::Listen`].
        id: u32,
        /// What, where and why.
        error: String,
    },
    /// It connected. The descriptor is the stream.
    Dialled {
        /// That of [`FromController::Dial`].
        id: u32,
    },
    /// It could not connect.
    NotDialled {
        /// That of [`FromController::Dial`].
        id: u32,
        /// What, where and why.
        error: String,
    },
}

/// What the controller says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromController {
    /// There will be no session. The launcher prints the message to stderr, as one line, and exits with 1.
    Refuse {
        /// What, and what to do.
        message: String,
    },
    /// The answer to a [`FromLauncher::Hello`] that does not resume.
    Ask {
        /// The version that both speak from here on.
        version: u16,
        /// The variables of the environment that are wanted.
        variables: Vec<String>,
    },
    /// Make a listening socket. Id 0 is the session's own.
    Listen {
        /// What the answer has too.
        id: u32,
    },
    /// Remove a socket's file, and close it.
    Unlisten {
        /// That of [`Listen`](FromController::Listen).
        id: u32,
    },
    /// Print the handshake line to stdout. Once in a session.
    Print {
        /// Without its end.
        line: String,
    },
    /// What the plugin wrote to its stderr.
    Stderr {
        /// Any bytes; lines may be in parts.
        bytes: Vec<u8>,
    },
    /// Connect to a socket in the host's mount namespace.
    Dial {
        /// What the answer has too.
        id: u32,
        /// The socket.
        path: PathBuf,
    },
    /// Keep what the descriptor refers to, in place of what was kept, and come back with it when the connection ends.
    Keep {
        /// For how long after the connection ended, in whole milliseconds.
        patience: Duration,
    },
    /// Keep nothing: when the connection ends, exit at once.
    Forget,
    /// The answer to a [`FromLauncher::Hello`] that resumes: the session goes on.
    Resumed,
    /// The session has ended. The launcher removes its sockets and exits.
    Exit {
        /// Its exit code.
        code: u8,
        /// For stderr.
        message: Option<String>,
    },
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It ends before what it announces.
    #[error("the message ends too early")]
    Short,
    /// It is of a kind that this side does not know, or does not get.
    #[error("a message of kind {kind} is not known here")]
    Kind {
        /// The first byte.
        kind: u8,
    },
    /// It begins as a `Hello` does, and is none.
    #[error("the message is not from a launcher of plugward")]
    Magic,
    /// A field that has to be there is not.
    #[error("field {tag} is missing in the message")]
    Missing {
        /// Which.
        tag: u8,
    },
    /// A number has not the length that it has to have.
    #[error("field {tag} of the message is no number of its length")]
    Number {
        /// Which.
        tag: u8,
    },
    /// A variable has no name, or a name has no value.
    #[error("the variables in the message are not pairs")]
    Pairs,
    /// A text is not UTF-8.
    #[error("a text in the message is not UTF-8")]
    Text(#[source] Utf8Error),
}

// === impl FromLauncher ===

impl FromLauncher {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { versions, instance, resumes } => hello(*versions, instance, *resumes),
            Self::Environment { variables } => variables
                .iter()
                .fold(Writer::new(1), |writer, (name, value)| {
                    writer.field(1, name.as_bytes()).field(2, value)
                })
                .done(),
            Self::Listening { id, path } => with_id(2, *id).path(2, path).done(),
            Self::NotListening { id, error } => with_id(3, *id).field(2, error.as_bytes()).done(),
            Self::Dialled { id } => with_id(4, *id).done(),
            Self::NotDialled { id, error } => with_id(5, *id).field(2, error.as_bytes()).done(),
        }
    }

    /// The message that these bytes are. Its descriptors are not looked at here.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (&kind, rest) = bytes.split_first().ok_or(WireError::Short)?;
        if kind == MAGIC[0] {
            return decode_hello(bytes);
        }
        let fields = Fields::read(rest)?;
        Ok(match kind {
            1 => Self::Environment { variables: pairs(&fields)? },
            2 => Self::Listening { id: id(&fields)?, path: fields.path(2)? },
            3 => Self::NotListening { id: id(&fields)?, error: fields.text(2)? },
            4 => Self::Dialled { id: id(&fields)? },
            5 => Self::NotDialled { id: id(&fields)?, error: fields.text(2)? },
            kind => return Err(WireError::Kind { kind }),
        })
    }
}

fn hello(versions: (u16, u16), instance: &str, resumes: bool) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(versions.0.to_le_bytes());
    bytes.extend(versions.1.to_le_bytes());
    bytes.push(u8::from(resumes));
    bytes.extend(field::length(instance.as_bytes()));
    bytes.extend(instance.as_bytes());
    bytes
}

fn decode_hello(bytes: &[u8]) -> Result<FromLauncher, WireError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(WireError::Magic)?;
    let (lowest, rest) = rest.split_first_chunk().ok_or(WireError::Short)?;
    let (highest, rest) = rest.split_first_chunk().ok_or(WireError::Short)?;
    let (flags, rest) = rest.split_first().ok_or(WireError::Short)?;
    let (instance, _) = field::counted(rest)?;
    Ok(FromLauncher::Hello {
        versions: (u16::from_le_bytes(*lowest), u16::from_le_bytes(*highest)),
        instance: field::text(instance)?,
        resumes: flags & 1 == 1,
    })
}

fn with_id(kind: u8, id: u32) -> Writer {
    Writer::new(kind).field(1, &id.to_le_bytes())
}

fn id(fields: &Fields<'_>) -> Result<u32, WireError> {
    Ok(u32::from_le_bytes(fields.number(1)?))
}

fn pairs(fields: &Fields<'_>) -> Result<Vec<(String, Vec<u8>)>, WireError> {
    let mut variables = Vec::new();
    let mut name = None;
    for (tag, bytes) in fields.all() {
        match (tag, name.take()) {
            (1, None) => name = Some(field::text(bytes)?),
            (2, Some(named)) => variables.push((named, bytes.to_vec())),
            (1 | 2, _) => return Err(WireError::Pairs),
            (_, named) => name = named,
        }
    }
    if name.is_none() { Ok(variables) } else { Err(WireError::Pairs) }
}

// === impl FromController ===

impl FromController {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Refuse { message } => Writer::new(129).field(1, message.as_bytes()).done(),
            Self::Ask { version, variables } => variables
                .iter()
                .fold(Writer::new(130).field(1, &version.to_le_bytes()), |writer, name| {
                    writer.field(2, name.as_bytes())
                })
                .done(),
            Self::Listen { id } => with_id(131, *id).done(),
            Self::Unlisten { id } => with_id(132, *id).done(),
            Self::Print { line } => Writer::new(133).field(1, line.as_bytes()).done(),
            Self::Stderr { bytes } => Writer::new(134).field(1, bytes).done(),
            Self::Dial { id, path } => with_id(135, *id).path(2, path).done(),
            Self::Keep { patience } => {
                let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
                Writer::new(136).field(1, &patience.to_le_bytes()).done()
            }
            Self::Forget => Writer::new(137).done(),
            Self::Resumed => Writer::new(138).done(),
            Self::Exit { code, message } => {
                let writer = Writer::new(139).field(1, &[*code]);
                match message {
                    Some(message) => writer.field(2, message.as_bytes()).done(),
                    None => writer.done(),
                }
            }
        }
    }

    /// The message that these bytes are. Its descriptors are not looked at here.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (&kind, rest) = bytes.split_first().ok_or(WireError::Short)?;
        let fields = Fields::read(rest)?;
        Ok(match kind {
            129 => Self::Refuse { message: fields.text(1)? },
            130 => Self::Ask { version: u16::from_le_bytes(fields.number(1)?), variables: names(&fields)? },
            131 => Self::Listen { id: id(&fields)? },
            132 => Self::Unlisten { id: id(&fields)? },
            133 => Self::Print { line: fields.text(1)? },
            134 => Self::Stderr { bytes: fields.bytes(1)?.to_vec() },
            135 => Self::Dial { id: id(&fields)?, path: fields.path(2)? },
            136 => Self::Keep { patience: Duration::from_millis(u64::from_le_bytes(fields.number(1)?)) },
            137 => Self::Forget,
            138 => Self::Resumed,
            139 => Self::Exit {
                code: u8::from_le_bytes(fields.number(1)?),
                message: fields.optional(2).map(field::text).transpose()?,
            },
            kind => return Err(WireError::Kind { kind }),
        })
    }
}

fn names(fields: &Fields<'_>) -> Result<Vec<String>, WireError> {
    fields.all().filter(|(tag, _)| *tag == 2).map(|(_, name)| field::text(name)).collect()
}
