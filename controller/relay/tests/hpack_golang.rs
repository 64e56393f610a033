//! HPACK against Go's, which most of our peers use.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[path = "../../go-plugin/tests/golang/mod.rs"]
mod golang;

use std::{
    cell::RefCell,
    fmt::Write as _,
    hint::black_box,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use plugward_relay::hpack::{DEFAULT_TABLE_SIZE, DecodeError, Decoder, Field, encode};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample,
    test_runner::{Config, TestRunner},
};

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hpack_golang");

/// What a connection carries in the direction from Go to us.
#[derive(Clone, Debug)]
enum Step {
    /// We set the limit of the table, and it is acknowledged.
    Limit(usize),
    /// The writer wants a table of this size.
    Size(usize),
    Block(Vec<Owned>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Owned {
    name: Vec<u8>,
    value: Vec<u8>,
    sensitive: bool,
}

#[test]
fn what_go_writes_is_read() {
    let Some(go) = Go::start() else { return };
    let go = RefCell::new(go);
    run(&vec(step(), 1..20), |steps| {
        let mut go = go.borrow_mut();
        go.ask("encoder");
        let mut decoder = Decoder::new(DEFAULT_TABLE_SIZE);
        for step in steps {
            match step {
                Step::Limit(size) => {
                    decoder.set_max_table_size(size);
                    go.ask(&format!("limit {size}"));
                }
                Step::Size(size) => {
                    go.ask(&format!("size {size}"));
                }
                Step::Block(fields) => {
                    let block = go.encode(&fields);
                    prop_assert_eq!(decode(&mut decoder, &block), Ok(fields));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn every_octet_that_go_codes_is_read() {
    let Some(mut go) = Go::start() else { return };
    let mut decoder = Decoder::new(DEFAULT_TABLE_SIZE);
    for octet in 0..=u8::MAX {
        // The short codes of the digits make coding worth while.
        let value = [&b"0000000000"[..], &[octet], b"0000000000000000000000"].concat();
        let field = Owned { name: b"a".to_vec(), value, sensitive: true };
        let block = go.encode(std::slice::from_ref(&field));
        assert!(block[3] & 0x80 != 0, "{block:?} is not Huffman-coded");
        assert_eq!(decode(&mut decoder, &block), Ok(vec![field]));
    }
}

#[test]
fn the_static_table_is_that_of_go() {
    let Some(mut go) = Go::start() else { return };
    go.ask("decoder 0");
    let block: Vec<u8> = (1..=61).map(|index| 0x80 | index).collect();
    let fields = go.decode(&block).unwrap();
    assert_eq!(decode(&mut Decoder::new(0), &block), Ok(fields));
    // There is no 62nd.
    assert!(go.decode(b"\xbe").is_err() && decode(&mut Decoder::new(0), b"\xbe").is_err());
}

#[test]
fn go_reads_what_is_written() {
    let Some(go) = Go::start() else { return };
    let go = RefCell::new(go);
    run(&(vec(vec(field(), 0..12), 1..8), prop_oneof![Just(0), Just(4096)]), |(lists, table_size)| {
        let mut go = go.borrow_mut();
        go.ask(&format!("decoder {table_size}"));
        for (at, fields) in lists.into_iter().enumerate() {
            let mut block = BytesMut::new();
            if at == 0 {
                encode::begin(&mut block);
            }
            for Owned { name, value, sensitive } in &fields {
                encode::field(&mut block, name, value, *sensitive);
            }
            prop_assert_eq!(go.decode(&block), Ok(fields));
        }
        Ok(())
    });
}

/// Go is as strict, with three exceptions. Of two updates of the table's size it takes the second only if the first emptied the
/// table; while the table is empty it takes them anywhere; and it takes integers of up to nine octets.
#[test]
fn what_is_refused_is_refused_by_go() {
    let Some(go) = Go::start() else { return };
    let go = RefCell::new(go);
    let damage = vec((any::<sample::Index>(), any::<u8>()), 0..3);
    let block = (option::of(0..5000), vec(field(), 0..8), damage, vec(any::<u8>(), 0..20));
    run(&vec(block, 1..8), |blocks| {
        let mut go = go.borrow_mut();
        go.ask("encoder");
        go.ask("decoder 4096");
        let mut decoder = Decoder::new(DEFAULT_TABLE_SIZE);
        for (size, fields, damage, tail) in blocks {
            if let Some(size) = size {
                go.ask(&format!("size {size}"));
            }
            let mut block = go.encode(&fields);
            block.extend(tail);
            for (at, octet) in damage {
                if !block.is_empty() {
                    let at = at.index(block.len());
                    block[at] = octet;
                }
            }
            match (decode(&mut decoder, &block), go.decode(&block)) {
                (Ok(ours), Ok(theirs)) => {
                    prop_assert_eq!(ours, theirs);
                    continue;
                }
                (Ok(_), Err(why)) => prop_assert!(why.contains("MUST occur at the beginning"), "{}", why),
                (Err(DecodeError::SizeUpdateMisplaced | DecodeError::IntegerTooLong), Ok(_))
                | (Err(_), Err(_)) => {}
                (Err(why), Ok(_)) => prop_assert!(false, "only we refuse {block:02x?}: {why}"),
            }
            break;
        }
        Ok(())
    });
}

/// Prints the time that a head of a request takes, of many on one connection. With `--release --ignored --nocapture`.
#[test]
#[ignore = "prints figures"]
fn figures() {
    let Some(mut go) = Go::start() else { return };
    let field = |name: &str, value: &str| Owned { name: name.into(), value: value.into(), sensitive: false };
    let mut heads = |with_timeout: bool| -> Vec<(Vec<u8>, Vec<Owned>)> {
        go.ask("encoder");
        let head = |call: usize| {
            let mut fields = vec![
                field(":method", "POST"),
                field(":scheme", "http"),
                field(":path", "/dbplugin.v5.Database/NewUser"),
                field(":authority", "localhost"),
                field("content-type", "application/grpc"),
                field("user-agent", "grpc-go/1.85.0"),
                field("te", "trailers"),
                field("multiplex_id", "5d4e3a90-7e1c-4a57-9f6a-0c2b8d1e4f73"),
            ];
            if with_timeout {
                fields.push(field("grpc-timeout", &format!("{}u", 29_999_999 - call * 7)));
            }
            (go.encode(&fields), fields)
        };
        (0..10_000).map(head).collect()
    };
    let timed = heads(true);
    let (untimed, first) = (heads(false), vec![timed[0].clone(); 10_000]);
    for (name, heads) in
        [("no time-out", untimed), ("another time-out each", timed), ("all first ones", first)]
    {
        let mut fields = 0;
        let decoding = fastest(|| {
            let mut decoder = Decoder::new(DEFAULT_TABLE_SIZE);
            for (block, _) in &heads {
                decoder.decode(black_box(block), |field| fields += black_box(field).name.len()).unwrap();
            }
        });
        let (mut block, mut written) = (BytesMut::new(), 0);
        let encoding = fastest(|| {
            written = 0;
            for (_, fields) in &heads {
                block.clear();
                for Owned { name, value, sensitive } in black_box(fields) {
                    encode::field(&mut block, name, value, *sensitive);
                }
                written += black_box(&block).len();
            }
        });
        let read: usize = heads.iter().map(|(block, _)| block.len()).sum();
        let each = |total: Duration| total.as_nanos() / heads.len() as u128;
        println!(
            "{name}: decode {} ns ({} octets), encode {} ns ({} octets)",
            each(decoding),
            read / heads.len(),
            each(encoding),
            written / heads.len(),
        );
    }
}

fn fastest(mut work: impl FnMut()) -> Duration {
    let mut once = || {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..20).map(|_| once()).min().unwrap()
}

// === Cases ===

fn run<S: Strategy>(strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    // Failures are not stored: a connection to Go is not a case.
    let config = Config { failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(strategy, test).unwrap();
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..5000_usize).prop_map(Step::Limit),
        2 => (0..5000_usize).prop_map(Step::Size),
        6 => vec(field(), 1..10).prop_map(Step::Block),
    ]
}

fn field() -> impl Strategy<Value = Owned> {
    // Few enough that the table is made use of.
    let name = prop_oneof![
        "(:method|:path|content-type|te|grpc-timeout|x-[ab])".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..30),
    ];
    let value = prop_oneof![
        "(GET|POST|trailers|[0-9]{2}m|[ab]{1,2})".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..60),
        vec(b'a'..=b'z', 500..2500),
    ];
    (name, value, prop::bool::weighted(0.1)).prop_map(|(name, value, sensitive)| Owned {
        name,
        value,
        sensitive,
    })
}

/// The fields of a block, as we read it.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Owned>, DecodeError> {
    let mut fields = Vec::new();
    decoder.decode(block, |Field { name, value, sensitive }| {
        fields.push(Owned { name: name.to_vec(), value: value.to_vec(), sensitive });
    })?;
    Ok(fields)
}

// === Go ===

/// The program in `tests/hpack_golang`.
struct Go {
    program: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Go {
    /// `None` where there is no Go.
    fn start() -> Option<Self> {
        static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
        let program = BUILT.get_or_init(|| golang::build(MODULE, ".", "hpack-golang")).as_deref()?;
        let mut program = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let commands = program.stdin.take().unwrap();
        let answers = BufReader::new(program.stdout.take().unwrap());
        Some(Self { program, commands, answers })
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.pop(), Some('\n'), "it ended on {command:?}");
        answer
    }

    fn encode(&mut self, fields: &[Owned]) -> Vec<u8> {
        let mut command = "encode".to_owned();
        for Owned { name, value, sensitive } in fields {
            write!(command, " {}:{}:{sensitive}", hex(name), hex(value)).unwrap();
        }
        octets(&self.ask(&command))
    }

    fn decode(&mut self, block: &[u8]) -> Result<Vec<Owned>, String> {
        let answer = self.ask(&format!("decode {}", hex(block)));
        let Some(fields) = answer.strip_prefix("ok") else { return Err(answer) };
        let field = |word: &str| {
            let parts: Vec<_> = word.split(':').collect();
            Owned { name: octets(parts[0]), value: octets(parts[1]), sensitive: parts[2].parse().unwrap() }
        };
        Ok(fields.split_whitespace().map(field).collect())
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        self.program.kill().ok();
        self.program.wait().ok();
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut hex, octet| {
        write!(hex, "{octet:02x}").unwrap();
        hex
    })
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
