use proptest::prelude::*;

use super::*;

/// All frames of `bytes`, read in the given pieces.
fn frames(pieces: &[&[u8]]) -> Vec<(Kind, u8, u32, Vec<u8>)> {
    let mut reader = Reader::default();
    let mut frames = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while let Some(frame) = reader.next(&mut rest).unwrap() {
            frames.push((frame.kind, frame.flags, frame.stream, frame.payload.to_vec()));
        }
        assert!(rest.is_empty());
    }
    assert!(!reader.is_in_frame());
    frames
}

proptest! {
    #[test]
    fn frames_are_the_same_however_they_are_cut(
        written in proptest::collection::vec((any::<u8>(), any::<u8>(), 0..=MAX_STREAM_ID, 0usize..300), 1..8),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut output = Output::default();
        let mut expected = Vec::new();
        for (kind, flags, stream, length) in written {
            let payload = vec![kind; length];
            output.frame(kind.into(), flags, stream, &payload);
            expected.push((Kind::from(kind), flags, stream, payload));
        }
        let bytes = output.chunk();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        prop_assert_eq!(frames(&pieces), expected);
    }

    #[test]
    fn what_was_written_and_what_waits_make_up_the_place(
        steps in proptest::collection::vec((0usize..100_000, 0usize..150_000), 0..20),
    ) {
        let mut output = Output::default();
        let (mut put, mut taken) = (0u64, 0u64);
        for (length, advance) in steps {
            output.raw(&vec![7; length]);
            put += length as u64;
            let advance = advance.min(output.len());
            output.advance(advance);
            taken += advance as u64;
            prop_assert_eq!((output.place(), output.taken()), (put, taken));
            prop_assert_eq!(output.chunk().len() as u64, put - taken);
        }
    }
}

#[test]
fn a_frame_that_is_too_long_is_told_by_its_first_three_bytes() {
    let mut bytes: &[u8] = &[0, 0x40, 1];
    assert_eq!(Reader::default().next(&mut bytes).unwrap_err(), Violation::FrameSize);
}

#[test]
fn a_long_header_block_goes_on_in_continuations() {
    let mut output = Output::default();
    let block = vec![1; 2 * MAX_PAYLOAD];
    output.headers(5, &block, true);
    let frames = frames(&[output.chunk()]);
    assert_eq!(frames.len(), 2);
    assert_eq!((frames[0].0, frames[0].1), (Kind::Headers, flag::END_STREAM));
    assert_eq!((frames[1].0, frames[1].1), (Kind::Continuation, flag::END_HEADERS));
}

#[test]
fn padding_longer_than_its_frame_is_a_violation() {
    let frame = Frame { kind: Kind::Data, flags: flag::PADDED, stream: 1, payload: &[3, 0, 0] };
    assert_eq!(frame.content(), Err(Violation::Padding));
    let frame = Frame { payload: &[2, 0, 0], ..frame };
    assert_eq!(frame.content(), Ok((&[][..], None)));
    let frame = Frame { payload: &[], ..frame };
    assert_eq!(frame.content(), Err(Violation::FrameSize));
}
