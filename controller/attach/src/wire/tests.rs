use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn path() -> impl Strategy<Value = PathBuf> {
    vec(any::<u8>(), 0..200).prop_map(|bytes| OsString::from_vec(bytes).into())
}

fn from_launcher() -> impl Strategy<Value = FromLauncher> {
    prop_oneof![
        (any::<(u16, u16)>(), any::<String>(), any::<bool>())
            .prop_map(|(versions, instance, resumes)| FromLauncher::Hello { versions, instance, resumes }),
        vec((any::<String>(), vec(any::<u8>(), 0..50)), 0..5)
            .prop_map(|variables| FromLauncher::Environment { variables }),
        (any::<u32>(), path()).prop_map(|(id, path)| FromLauncher::Listening { id, path }),
        any::<(u32, String)>().prop_map(|(id, error)| FromLauncher::NotListening { id, error }),
        any::<u32>().prop_map(|id| FromLauncher::Dialled { id }),
        any::<(u32, String)>().prop_map(|(id, error)| FromLauncher::NotDialled { id, error }),
    ]
}

fn from_controller() -> impl Strategy<Value = FromController> {
    prop_oneof![
        any::<String>().prop_map(|message| FromController::Refuse { message }),
        (any::<u16>(), vec(any::<String>(), 0..5))
            .prop_map(|(version, variables)| FromController::Ask { version, variables }),
        any::<u32>().prop_map(|id| FromController::Listen { id }),
        any::<u32>().prop_map(|id| FromController::Unlisten { id }),
        any::<String>().prop_map(|line| FromController::Print { line }),
        vec(any::<u8>(), 0..300).prop_map(|bytes| FromController::Stderr { bytes }),
        (any::<u32>(), path()).prop_map(|(id, path)| FromController::Dial { id, path }),
        any::<u64>().prop_map(|ms| FromController::Keep { patience: Duration::from_millis(ms) }),
        Just(FromController::Forget),
        Just(FromController::Resumed),
        (any::<u8>(), any::<Option<String>>())
            .prop_map(|(code, message)| FromController::Exit { code, message }),
    ]
}

/// Bytes that come near to a message.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let cut = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>());
    let whole = prop_oneof![
        from_launcher().prop_map(|message| message.encode()),
        from_controller().prop_map(|message| message.encode()),
    ];
    let damaged = (whole, cut).prop_map(|(mut bytes, (end, place, value))| {
        let place = place.index(bytes.len());
        bytes[place] = value;
        bytes.truncate(end.index(bytes.len() + 1));
        bytes
    });
    prop_oneof![vec(any::<u8>(), 0..300), damaged]
}

proptest! {
    #[test]
    fn what_a_launcher_says_is_read_as_it_was_said(message in from_launcher()) {
        prop_assert_eq!(FromLauncher::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn what_a_controller_says_is_read_as_it_was_said(message in from_controller()) {
        prop_assert_eq!(FromController::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in bytes()) {
        let _ = FromLauncher::decode(&bytes);
        let _ = FromController::decode(&bytes);
    }

    #[test]
    fn what_one_side_says_the_other_does_not_take_for_its_own(
        launcher in from_launcher(),
        controller in from_controller(),
    ) {
        prop_assert!(FromController::decode(&launcher.encode()).is_err());
        prop_assert!(FromLauncher::decode(&controller.encode()).is_err());
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over(
        launcher in from_launcher(),
        controller in from_controller(),
        later in vec(any::<u8>(), 0..50),
    ) {
        let with = |bytes: Vec<u8>| [&bytes[..], &Writer::new(0).field(200, &later).done()[1..]].concat();
        prop_assert_eq!(FromLauncher::decode(&with(launcher.encode())), Ok(launcher));
        prop_assert_eq!(FromController::decode(&with(controller.encode())), Ok(controller));
    }
}

/// Launchers are installed, and stay: these bytes are what they say.
#[test]
fn the_first_message_and_a_refusal_are_the_same_for_ever() {
    let hello = FromLauncher::Hello { versions: (1, 258), instance: "redis".into(), resumes: true };
    assert_eq!(hello.encode(), b"plugward\x01\x00\x02\x01\x01\x05\x00\x00\x00redis");
    assert_eq!(
        FromLauncher::decode(b"plugward\x01\x00\x02\x01\xff\x05\x00\x00\x00redis and more"),
        Ok(hello)
    );
    let refuse = FromController::Refuse { message: "no".into() };
    assert_eq!(refuse.encode(), b"\x81\x01\x02\x00\x00\x00no");
}

#[test]
fn the_messages_of_version_1_are_these_bytes() {
    let environment = FromLauncher::Environment { variables: vec![("A".into(), b"b".to_vec())] };
    assert_eq!(environment.encode(), b"\x01\x01\x01\0\0\0A\x02\x01\0\0\0b");
    let listening = FromLauncher::Listening { id: 3, path: "/s".into() };
    assert_eq!(listening.encode(), b"\x02\x01\x04\0\0\0\x03\0\0\0\x02\x02\0\0\0/s");
    let ask = FromController::Ask { version: 1, variables: vec!["A".into(), "B".into()] };
    assert_eq!(ask.encode(), b"\x82\x01\x02\0\0\0\x01\0\x02\x01\0\0\0A\x02\x01\0\0\0B");
    let keep = FromController::Keep { patience: Duration::from_millis(258) };
    assert_eq!(keep.encode(), b"\x88\x01\x08\0\0\0\x02\x01\0\0\0\0\0\0");
    let exit = FromController::Exit { code: 7, message: Some("x".into()) };
    assert_eq!(exit.encode(), b"\x8b\x01\x01\0\0\0\x07\x02\x01\0\0\0x");
}

#[test]
fn what_is_no_message_is_told_apart() {
    assert_eq!(FromLauncher::decode(b""), Err(WireError::Short));
    assert_eq!(FromLauncher::decode(b"plugin"), Err(WireError::Magic));
    assert_eq!(FromLauncher::decode(b"plugward\x01\x00"), Err(WireError::Short));
    assert_eq!(FromLauncher::decode(b"\x06"), Err(WireError::Kind { kind: 6 }));
    assert_eq!(FromController::decode(b"\x80"), Err(WireError::Kind { kind: 128 }));
    assert_eq!(FromController::decode(b"\x83"), Err(WireError::Missing { tag: 1 }));
    assert_eq!(FromController::decode(b"\x83\x01\x01\0\0\0x"), Err(WireError::Number { tag: 1 }));
    assert_eq!(FromController::decode(b"\x83\x01\x05\0\0\0x"), Err(WireError::Short));
    assert_eq!(FromLauncher::decode(b"\x01\x02\0\0\0\0"), Err(WireError::Pairs));
    assert_eq!(FromLauncher::decode(b"\x01\x01\0\0\0\0"), Err(WireError::Pairs));
    assert_eq!(FromLauncher::decode(b"\x01\x01\0\0\0\0\x01\0\0\0\0"), Err(WireError::Pairs));
    assert!(matches!(FromController::decode(b"\x85\x01\x01\0\0\0\xff"), Err(WireError::Text(_))));
}
