use std::io;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

const LIMIT: Duration = Duration::from_mins(1);

#[test]
fn the_line_may_come_in_pieces_and_what_follows_is_kept() {
    let mut reader = LineReader::default();
    assert_eq!(reader.feed(b"1|1|un"), Ok(Fed::More));
    assert_eq!(reader.feed(b""), Ok(Fed::More));
    let line = b"1|1|unix".to_vec();
    assert_eq!(reader.feed(b"ix\nready\n"), Ok(Fed::Line { line, rest: b"ready\n" }));
}

#[test]
fn the_longest_line_is_as_long_as_go_plugins() {
    let longest = vec![b'x'; LINE_LIMIT - 1];
    let mut reader = LineReader::default();
    assert_eq!(reader.feed(&longest), Ok(Fed::More));
    assert_eq!(reader.feed(b"\n"), Ok(Fed::Line { line: longest.clone(), rest: b"" }));

    let mut reader = LineReader::default();
    reader.feed(&longest).unwrap();
    assert!(matches!(reader.feed(b"x"), Err(LineError::TooLong(_))));
}

#[test]
fn a_line_that_ends_beyond_the_limit_is_too_long() {
    let mut piece = vec![b'x'; LINE_LIMIT];
    piece.push(b'\n');
    assert!(matches!(LineReader::default().feed(&piece), Err(LineError::TooLong(_))));
}

#[test]
fn an_end_is_told_from_a_beginning() {
    let mut reader = LineReader::default();
    assert_eq!(reader.end(), LineError::NoLine);
    reader.feed(b"panic: no").unwrap();
    assert_eq!(reader.end(), LineError::Incomplete(Excerpt::of(b"panic: no")));
}

proptest! {
    #[test]
    fn pieces_make_no_difference(output: Vec<u8>, sizes in prop::collection::vec(1_usize..40, 1..10)) {
        let whole = match LineReader::default().feed(&output).unwrap() {
            Fed::More => None,
            Fed::Line { line, rest } => Some((line, rest.to_vec())),
        };

        let mut reader = LineReader::default();
        let mut sizes = sizes.iter().cycle();
        let mut remaining = output.as_slice();
        let mut pieced = None;
        while pieced.is_none() && !remaining.is_empty() {
            let (piece, after) = remaining.split_at(remaining.len().min(*sizes.next().unwrap()));
            if let Fed::Line { line, rest } = reader.feed(piece).unwrap() {
                pieced = Some((line, [rest, after].concat()));
            }
            remaining = after;
        }
        prop_assert_eq!(pieced, whole);
    }
}

#[tokio::test]
async fn a_line_is_read_and_what_came_with_it_is_handed_over() {
    let mut output: &[u8] = b"1|1|unix|/tmp/p|grpc\nhello";
    let first = read_line(&mut output, LIMIT).await.unwrap();
    assert_eq!(first, FirstLine { line: b"1|1|unix|/tmp/p|grpc".to_vec(), rest: b"hello".to_vec() });
}

#[tokio::test]
async fn an_end_without_a_line_is_its_own_error() {
    let error = read_line(&mut io::Cursor::new(b""), LIMIT).await.unwrap_err();
    assert_eq!(error.as_str(), "no_line");
    let error = read_line(&mut io::Cursor::new(b"1|1|"), LIMIT).await.unwrap_err();
    assert_eq!(error.as_str(), "line_incomplete");
}

#[tokio::test]
async fn an_endless_line_is_given_up() {
    let error = read_line(&mut tokio::io::repeat(b'x'), LIMIT).await.unwrap_err();
    assert_eq!(error.as_str(), "line_too_long");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_trickles_is_limited_as_a_whole() {
    let (mut plugin, mut output) = tokio::io::duplex(64);
    let trickle = tokio::spawn(async move {
        while plugin.write_all(b".").await.is_ok() {
            time::sleep(LIMIT / 10).await;
        }
    });

    let error = read_line(&mut output, LIMIT).await.unwrap_err();

    assert_eq!(error.as_str(), "line_timed_out");
    assert!(error.to_string().contains("....."), "{error}");
    trickle.abort();
}
