//! From status codes and sentences to causes.
//!
//! The API gives a status and a sentence for people. Where the status does not tell causes apart that have
//! different remedies, the sentence must; those looked for here were seen on Docker Engine 20.10 (API 1.41) and on
//! the engine of API 1.56.

use std::error::Error as _;

use bollard::errors::Error as ClientError;

use crate::error::{ErrorKind, Operation};

/// Longest message kept, in bytes: an engine may pack a whole OCI runtime log into one.
const LONGEST_MESSAGE: usize = 1024;

/// The cause of a failed call, and what to tell people.
pub(super) fn classify(operation: Operation, error: &ClientError) -> (ErrorKind, String) {
    match error {
        ClientError::DockerResponseServerError { status_code, message } => {
            (by_answer(operation, *status_code, message), shortened(message))
        }
        ClientError::IOError { .. } | ClientError::HyperResponseError { .. } => {
            (ErrorKind::Unreachable, shortened(&chain(error)))
        }
        ClientError::RequestTimeoutError => (ErrorKind::TimedOut, "no answer".to_owned()),
        ClientError::DockerStreamError { error } => (by_answer(operation, 500, error), shortened(error)),
        // What is left cannot be read as Docker's answer, or is our own request gone wrong.
        _ => (ErrorKind::Incompatible, shortened(&format!("not a Docker Engine's answer: {}", chain(error)))),
    }
}

/// Whether what an engine says of a pull means that the registry wants credentials, or others.
pub(super) fn wants_credentials(message: &str) -> bool {
    ["unauthorized", "denied", "authorization", "401"].iter().any(|word| message.contains(word))
}

fn by_answer(operation: Operation, status: u16, message: &str) -> ErrorKind {
    let says = |part: &str| message.contains(part);
    if status == 400 && says("client version") && (says("too old") || says("too new")) {
        return ErrorKind::Incompatible;
    }
    match operation {
        Operation::Create if status == 404 && (says("No such image") || says("no such image")) => {
            return ErrorKind::NoSuchImage;
        }
        Operation::Create if says("Unknown runtime specified") || says("unknown or invalid runtime name") => {
            return ErrorKind::UnknownRuntime;
        }
        Operation::Create if says("invalid mount config for type \"bind\"") => {
            return ErrorKind::NoSuchSource;
        }
        Operation::Pull if status == 404 || says("manifest unknown") => return ErrorKind::NoSuchImage,
        Operation::Pull if wants_credentials(message) => return ErrorKind::Refused,
        // Registered with the engine, but its program is not there.
        Operation::Start if says("unable to retrieve OCI runtime error") && says("fork/exec") => {
            return ErrorKind::UnknownRuntime;
        }
        // What the container needs (a network) is not there. The container is: its own absence is the next case.
        Operation::Create | Operation::Start if status == 404 && !says("No such container") => {
            return ErrorKind::Refused;
        }
        // 20.10 answers 400 or 500 by what the OCI runtime wrote.
        Operation::Start if says("OCI runtime create failed") || says("OCI runtime start failed") => {
            return ErrorKind::Refused;
        }
        _ => {}
    }
    match status {
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        400..=499 | 501 => ErrorKind::Refused,
        _ => ErrorKind::Internal,
    }
}

/// An error with its causes, each said once: clients of clients tend to repeat them.
fn chain(error: &ClientError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn shortened(message: &str) -> String {
    let message = message.trim();
    let mut end = message.len().min(LONGEST_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    if end < message.len() { format!("{} …", &message[..end]) } else { message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(operation: Operation, status_code: u16, message: &str) -> ErrorKind {
        let error = ClientError::DockerResponseServerError { status_code, message: message.to_owned() };
        classify(operation, &error).0
    }

    #[test]
    fn sentences_of_engines_have_their_causes() {
        for (operation, status, message, expected) in [
            (Operation::Create, 404, "No such image: nosuch:1", ErrorKind::NoSuchImage),
            (Operation::Create, 400, "Unknown runtime specified nosuch", ErrorKind::UnknownRuntime),
            (Operation::Create, 400, "unknown or invalid runtime name: nosuch", ErrorKind::UnknownRuntime),
            (
                Operation::Create,
                400,
                "invalid mount config for type \"bind\": bind source path does not exist: /x",
                ErrorKind::NoSuchSource,
            ),
            (Operation::Create, 400, "Minimum memory limit allowed is 6MB", ErrorKind::Refused),
            (Operation::Create, 404, "network nosuch not found", ErrorKind::Refused),
            (Operation::Create, 403, "Forbidden", ErrorKind::Refused),
            (
                Operation::Pull,
                404,
                "manifest for r.example/x:1 not found: manifest unknown: manifest unknown",
                ErrorKind::NoSuchImage,
            ),
            (Operation::Pull, 404, "failed to resolve reference \"r.example/x:1\"", ErrorKind::NoSuchImage),
            (Operation::Pull, 500, "unauthorized: authentication required", ErrorKind::Refused),
            (
                Operation::Pull,
                500,
                "unexpected status from HEAD request to https://r.example/v2/x/manifests/1: 401 Unauthorized",
                ErrorKind::Refused,
            ),
            (Operation::Pull, 500, "dial tcp: connect: connection refused", ErrorKind::Internal),
            (Operation::Start, 404, "No such container: x", ErrorKind::NotFound),
            (Operation::Start, 404, "network nosuch not found", ErrorKind::Refused),
            (
                Operation::Start,
                400,
                "failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime error (open \
                 /x/log.json: no such file or directory): fork/exec /usr/bin/runsc: no such file or directory",
                ErrorKind::UnknownRuntime,
            ),
            (
                Operation::Start,
                500,
                "failed to create shim task: OCI runtime create failed: runc create failed",
                ErrorKind::Refused,
            ),
            (Operation::Start, 500, "context deadline exceeded", ErrorKind::Internal),
            (
                Operation::Kill,
                409,
                "Cannot kill container: x: Container x is not running",
                ErrorKind::Conflict,
            ),
            (Operation::Kill, 404, "Cannot kill container: x: No such container: x", ErrorKind::NotFound),
            (Operation::Remove, 409, "removal of container x is already in progress", ErrorKind::Conflict),
            (
                Operation::Info,
                400,
                "client version 1.53 is too new. Maximum supported API version is 1.41",
                ErrorKind::Incompatible,
            ),
            (Operation::List, 503, "", ErrorKind::Internal),
        ] {
            assert_eq!(kind(operation, status, message), expected, "{operation} {status} {message}");
        }
    }

    #[test]
    fn a_broken_connection_is_unreachable_and_says_why_once() {
        let error = std::io::Error::new(std::io::ErrorKind::NotFound, "cannot connect to unix:///x: gone");
        let (kind, message) = classify(Operation::Info, &error.into());
        assert_eq!((kind, message.as_str()), (ErrorKind::Unreachable, "cannot connect to unix:///x: gone"));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let message = "ä".repeat(LONGEST_MESSAGE);
        let error = ClientError::DockerResponseServerError { status_code: 500, message };
        let (_, message) = classify(Operation::Start, &error);
        assert!(message.len() <= LONGEST_MESSAGE + 4 && message.ends_with('…'), "{}", message.len());
    }
}
