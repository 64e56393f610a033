//! The state machine alone: what goes in, and what comes out, frame by frame.

mod ends;
mod hold;
mod limits;
mod properties;
mod relay;
mod settings;
mod windows;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;

use super::Connection;
use crate::{
    frame::{ErrorCode, Frame, Kind, Output, PREFACE, Reader, flag, number},
    grpc::{Code, Status},
    head::{Amendments, Request},
    hpack::{DEFAULT_TABLE_SIZE, Decoder, encode},
    limits::{HoldBudget, Limits},
    policy::{Decision, Ended, Observe, Outcome, Policy, Stop},
    violation::{Peer, Violation},
};

/// A policy that notes what it is told. What becomes of a request is in its path.
#[derive(Debug, Default)]
pub(super) struct Noting {
    pub(super) ended: Vec<(String, Ended)>,
    pub(super) violated: Vec<(Peer, Violation)>,
    pub(super) forwarded: Vec<String>,
    /// Messages of streams that are served, each with how many calls had gone to the plugin before it.
    pub(super) heard: Vec<(Vec<u8>, usize)>,
    /// The time that calls have to wait yet, when they are asked again.
    pub(super) needed: Option<Duration>,
    /// What becomes of `/stopped`.
    pub(super) stop: Option<Stop>,
}

impl Policy for Noting {
    type Call = String;

    fn request(&mut self, request: &Request<'_>) -> Decision<String> {
        let call = String::from_utf8(request.path().to_vec()).unwrap();
        match call.as_str() {
            "/own" => Decision::Serve(call),
            "/no" => Decision::Answer(Status::new(Code::FailedPrecondition, "no")),
            _ => Decision::Pass { call, observe: Observe::default() },
        }
    }

    fn forward(
        &mut self,
        call: &mut String,
        _: &Request<'_>,
        amendments: &mut Amendments,
    ) -> Result<(), Stop> {
        if call == "/gated" {
            return Err(Status::new(Code::FailedPrecondition, "not yet").into());
        }
        if call == "/stopped"
            && let Some(stop) = &self.stop
        {
            return Err(stop.clone());
        }
        self.forwarded.push(call.clone());
        amendments.set("id", b"7");
        Ok(())
    }

    fn may_go_on(&mut self, call: &mut String, left: Duration) -> Result<(), Status> {
        if self.needed.is_some_and(|needed| needed > left) {
            return Err(Status::unavailable(format!("{call} has {left:?} left")));
        }
        Ok(())
    }

    fn may_wait(&mut self, call: &mut String, _: Option<Duration>) -> Result<Duration, Status> {
        if call == "/hopeless" {
            return Err(Status::unavailable("not before tomorrow"));
        }
        Ok(Duration::from_secs(30))
    }

    fn waited(&mut self, call: &String) -> Status {
        Status::unavailable(format!("{call} waited"))
    }

    fn heard(&mut self, _: &mut String, message: &[u8]) {
        self.heard.push((message.to_vec(), self.forwarded.len()));
    }

    fn ended(&mut self, call: String, ended: Ended) {
        self.ended.push((call, ended));
    }

    fn violated(&mut self, by: Peer, violation: Violation) {
        self.violated.push((by, violation));
    }
}

/// A frame that came out, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    Headers { id: u32, fields: Vec<(String, String)>, end: bool },
    Data { id: u32, bytes: Vec<u8>, end: bool },
    Reset(u32, ErrorCode),
    Settings(Vec<(u16, u32)>),
    SettingsAck,
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    GoAway(u32, ErrorCode),
    Credit(u32, u32),
}

/// One peer as the relay sees it, played by the test.
#[derive(Debug)]
pub(super) struct Side {
    reader: Reader,
    decoder: Decoder,
    /// What it is about to send.
    pub(super) next: Output,
    partial: Vec<u8>,
}

impl Side {
    fn new() -> Self {
        Self {
            reader: Reader::default(),
            decoder: Decoder::new(DEFAULT_TABLE_SIZE),
            next: Output::default(),
            partial: Vec::new(),
        }
    }

    /// Reads what came out.
    fn read(&mut self, mut bytes: &[u8]) -> Vec<Out> {
        let mut frames = Vec::new();
        let mut reader = std::mem::take(&mut self.reader);
        while let Some(frame) = reader.next(&mut bytes).unwrap() {
            frames.extend(self.out(&frame));
        }
        self.reader = reader;
        frames
    }

    fn out(&mut self, frame: &Frame<'_>) -> Option<Out> {
        let id = frame.stream;
        let code = |at: usize| ErrorCode(number(&frame.payload[at..]));
        Some(match frame.kind {
            Kind::Headers | Kind::Continuation => {
                self.partial.extend_from_slice(frame.payload);
                if !frame.has(flag::END_HEADERS) {
                    return None;
                }
                let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
                let mut fields = Vec::new();
                let block = std::mem::take(&mut self.partial);
                self.decoder
                    .decode(&block, |field| fields.push((text(field.name), text(field.value))))
                    .unwrap();
                Out::Headers { id, fields, end: frame.has(flag::END_STREAM) }
            }
            Kind::Data => {
                let content = frame.content().unwrap().0;
                Out::Data { id, bytes: content.to_vec(), end: frame.has(flag::END_STREAM) }
            }
            Kind::Reset => Out::Reset(id, code(0)),
            Kind::Settings if frame.has(flag::ACK) => Out::SettingsAck,
            Kind::Settings => Out::Settings(
                frame
                    .payload
                    .chunks(6)
                    .map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), number(&pair[2..])))
                    .collect(),
            ),
            Kind::Ping if frame.has(flag::ACK) => Out::Pong(frame.payload.to_vec()),
            Kind::Ping => Out::Ping(frame.payload.to_vec()),
            Kind::GoAway => Out::GoAway(number(frame.payload), code(4)),
            Kind::WindowUpdate => Out::Credit(id, number(frame.payload)),
            other => panic!("{other:?} came out"),
        })
    }
}

/// A connection with both of its peers.
pub(super) struct Bench {
    pub(super) connection: Connection<Noting>,
    pub(super) budget: Arc<HoldBudget>,
    pub(super) now: Instant,
    pub(super) host: Side,
    pub(super) plugin: Side,
    preface_read: bool,
}

impl Bench {
    /// A host that has sent its preface and SETTINGS, of which nothing is left to be read.
    pub(super) fn with(limits: Limits) -> Self {
        let mut bench = Self::silent(limits);
        bench.host.next.raw(PREFACE);
        bench.host.next.settings([]);
        bench.host.next.settings_ack();
        let seen = bench.host();
        assert!(matches!(seen[..], [Out::Settings(_), Out::SettingsAck]), "{seen:?}");
        bench
    }

    /// A host that has sent nothing.
    pub(super) fn silent(limits: Limits) -> Self {
        let now = Instant::now();
        let budget = HoldBudget::new(8, 4 << 20);
        let connection = Connection::new(Noting::default(), limits, Arc::clone(&budget), now);
        Self { connection, budget, now, host: Side::new(), plugin: Side::new(), preface_read: false }
    }

    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    /// A connection that is bound, to a plugin with these settings.
    pub(super) fn bound_with(limits: Limits, settings: &[(u16, u32)]) -> Self {
        let mut bench = Self::with(limits);
        bench.bind(settings);
        bench
    }

    pub(super) fn bound() -> Self {
        Self::bound_with(Limits::default(), &[])
    }

    pub(super) fn bind(&mut self, settings: &[(u16, u32)]) {
        self.connection.bind(self.now);
        self.plugin.next.settings(settings.iter().copied());
        self.plugin.next.settings_ack();
        self.host.next.settings_ack();
        let seen = self.plugin();
        assert!(matches!(seen[..2], [Out::Settings(_), Out::SettingsAck]), "{seen:?}");
        let seen = self.host();
        assert!(seen.iter().any(|out| matches!(out, Out::Settings(_))), "{seen:?}");
    }

    /// The host sends what it has, and reads.
    pub(super) fn host(&mut self) -> Vec<Out> {
        let bytes = self.host.next.chunk().to_vec();
        self.host.next.advance(bytes.len());
        self.connection.host_read(self.now, &bytes);
        self.host_reads()
    }

    pub(super) fn host_reads(&mut self) -> Vec<Out> {
        let bytes = self.connection.to_host().to_vec();
        self.connection.host_took(bytes.len());
        self.host.read(&bytes)
    }

    /// The plugin sends what it has, and reads.
    pub(super) fn plugin(&mut self) -> Vec<Out> {
        let bytes = self.plugin.next.chunk().to_vec();
        self.plugin.next.advance(bytes.len());
        self.connection.plugin_read(self.now, &bytes);
        self.plugin_reads()
    }

    pub(super) fn plugin_reads(&mut self) -> Vec<Out> {
        let mut bytes = self.connection.to_plugin().to_vec();
        self.connection.plugin_took(bytes.len());
        if !self.preface_read && !bytes.is_empty() {
            assert!(bytes.starts_with(PREFACE));
            bytes.drain(..PREFACE.len());
            self.preface_read = true;
        }
        self.plugin.read(&bytes)
    }

    /// The host opens a call.
    pub(super) fn request(&mut self, id: u32, path: &str, end: bool) {
        self.request_with(id, path, &[], end);
    }

    pub(super) fn request_with(&mut self, id: u32, path: &str, more: &[(&str, &str)], end: bool) {
        let head = [(":method", "POST"), (":scheme", "http"), (":path", path)];
        self.host.next.headers(id, &block(&[&head, more].concat()), end);
    }

    /// The plugin begins an answer.
    pub(super) fn answer(&mut self, id: u32) {
        self.plugin.next.headers(id, &block(&[(":status", "200")]), false);
    }

    /// The plugin ends an answer that has begun.
    pub(super) fn trailers(&mut self, id: u32) {
        self.plugin.next.headers(id, &block(&[("grpc-status", "0")]), true);
    }

    /// Lets `time` pass.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.connection.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.connection.on_deadline(self.now);
        }
    }

    pub(super) fn ended(&mut self) -> Vec<(String, Outcome)> {
        let ended = std::mem::take(&mut self.connection.policy().ended);
        ended.into_iter().map(|(call, ended)| (call, ended.outcome)).collect()
    }

    pub(super) fn violated(&mut self) -> Vec<(Peer, Violation)> {
        std::mem::take(&mut self.connection.policy().violated)
    }
}

pub(super) fn block(fields: &[(&str, &str)]) -> BytesMut {
    let mut block = BytesMut::new();
    for (name, value) in fields {
        encode::field(&mut block, name.as_bytes(), value.as_bytes(), false);
    }
    block
}

/// The value of a field in HEADERS.
pub(super) fn field<'a>(out: &'a Out, name: &str) -> Option<&'a str> {
    let Out::Headers { fields, .. } = out else { return None };
    fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// An answer of a status alone.
pub(super) fn is_status(out: &Out, id: u32, code: Code) -> bool {
    matches!(out, Out::Headers { id: of, end: true, .. } if *of == id)
        && field(out, ":status") == Some("200")
        && field(out, "grpc-status") == Some(&(code as u8).to_string())
}

pub(super) fn data(id: u32, bytes: &[u8], end: bool) -> Out {
    Out::Data { id, bytes: bytes.to_vec(), end }
}
