//! What is known of the messages of secrets engines and auth methods (`pb.Backend`; protocol reference, 8.6).

use prost::Message;
use zeroize::Zeroizing;

/// By which a host gives a plugin its storage and its view of the system, which it serves over the broker.
pub(super) const SETUP: &str = "/pb.Backend/Setup";

/// By which it lets the plugin begin.
pub(super) const INITIALIZE: &str = "/pb.Backend/Initialize";

/// What undoes both.
pub(super) const CLEANUP: &str = "/pb.Backend/Cleanup";

/// The part of `pb.SetupArgs` that is not the plugin's alone.
#[derive(Clone, PartialEq, Message)]
struct SetupArgs {
    #[prost(uint32, tag = "1")]
    broker_id: u32,
}

#[derive(Clone, PartialEq, Message)]
struct SetupReply {
    #[prost(string, tag = "1")]
    err: String,
}

#[derive(Clone, PartialEq, Message)]
struct InitializeReply {
    #[prost(message, optional, tag = "1")]
    err: Option<ProtoError>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoError {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int64, tag = "3")]
    code: i64,
}

/// The number of the server that a call offers the plugin over the broker. `None` if it offers none.
pub(super) fn server_in(method: &str, message: &[u8]) -> Option<u32> {
    // What no plugin could read is the plugin's to refuse.
    (method == SETUP).then(|| SetupArgs::decode(message).ok()).flatten().map(|args| args.broker_id)
}

/// The message of a `Setup` with another number.
pub(super) fn with_server(message: &[u8], number: u32) -> Zeroizing<Vec<u8>> {
    // Of a field that is there several times the last one counts, so all others can stay as they are.
    let field = SetupArgs { broker_id: number }.encode_to_vec();
    let mut changed = Vec::with_capacity(message.len() + field.len());
    changed.extend_from_slice(message);
    changed.extend_from_slice(&field);
    Zeroizing::new(changed)
}

/// The error that a reply is, though its status is OK.
pub(super) fn error_in(method: &str, reply: &[u8]) -> Option<String> {
    let unreadable = || Some("its reply cannot be read".to_owned());
    match method {
        SETUP => SetupReply::decode(reply).map_or_else(|_| unreadable(), |reply| Some(reply.err)),
        INITIALIZE => InitializeReply::decode(reply).map_or_else(
            |_| unreadable(),
            |reply| {
                let ProtoError { kind, message, code } = reply.err?;
                Some(if message.is_empty() && (kind, code) != (0, 0) {
                    format!("error {code} of type {kind}")
                } else {
                    message
                })
            },
        ),
        _ => None,
    }
    .filter(|error| !error.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All of `pb.SetupArgs`.
    #[derive(Clone, PartialEq, Message)]
    struct Whole {
        #[prost(uint32, tag = "1")]
        broker_id: u32,
        #[prost(map = "string, string", tag = "2")]
        config: std::collections::HashMap<String, String>,
        #[prost(string, tag = "3")]
        backend_uuid: String,
    }

    proptest! {
        #[test]
        fn another_number_changes_nothing_else(
            before in any::<u32>(),
            after in 1u32..,
            config in proptest::collection::hash_map("[a-z]{0,5}", ".{0,5}", 0..4),
            backend_uuid in ".{0,20}",
        ) {
            let whole = Whole { broker_id: before, config, backend_uuid };
            let message = whole.encode_to_vec();
            prop_assert_eq!(server_in(SETUP, &message), Some(before));
            let changed = with_server(&message, after);
            prop_assert_eq!(Whole::decode(changed.as_slice()).unwrap(), Whole { broker_id: after, ..whole });
        }

        #[test]
        fn no_message_makes_this_panic(message in proptest::collection::vec(any::<u8>(), 0..40)) {
            server_in(SETUP, &message);
            for method in [SETUP, INITIALIZE, CLEANUP] {
                error_in(method, &message);
            }
        }
    }

    #[test]
    fn a_reply_with_an_error_is_none() {
        let refused = SetupReply { err: "no storage".into() }.encode_to_vec();
        assert_eq!(error_in(SETUP, &refused).as_deref(), Some("no storage"));
        assert_eq!(error_in(SETUP, &[]), None);
        let error = ProtoError { kind: 8, message: "denied".into(), code: 0 };
        let refused = InitializeReply { err: Some(error) }.encode_to_vec();
        assert_eq!(error_in(INITIALIZE, &refused).as_deref(), Some("denied"));
        let wordless = InitializeReply { err: Some(ProtoError { kind: 2, ..ProtoError::default() }) };
        assert!(error_in(INITIALIZE, &wordless.encode_to_vec()).is_some());
        assert_eq!(
            error_in(INITIALIZE, &InitializeReply { err: Some(ProtoError::default()) }.encode_to_vec()),
            None
        );
        assert!(error_in(SETUP, &[0xff]).is_some());
        assert_eq!(error_in(CLEANUP, &refused), None);
    }

    #[test]
    fn only_a_setup_offers_a_server() {
        assert_eq!(server_in(INITIALIZE, &[8, 5]), None);
        assert_eq!(server_in(SETUP, &[8, 5]), Some(5));
        assert_eq!(server_in(SETUP, &[0xff]), None);
    }
}
