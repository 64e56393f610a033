//! Two peers that keep to the rules, in any order and with their bytes cut anywhere: each gets what the other sent, and nobody's windows
//! are exceeded. And any bytes at all: nothing panics.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Received, frame::DEFAULT_WINDOW};

/// One peer's part in one stream.
#[derive(Debug, Default)]
struct Half {
    /// What is left to be sent.
    left: usize,
    sent: usize,
    ended: bool,
    /// Credit beyond the initial window, less what was sent.
    credit: i64,
    received: usize,
    uncredited: usize,
    finished: bool,
}

/// A peer that sends bodies of zeros as far as it may, and takes what it gets.
#[derive(Debug)]
struct Peer {
    side: Side,
    streams: BTreeMap<u32, Half>,
    /// What it may send, on the connection.
    room: i64,
    /// The initial window for what it sends.
    initial: i64,
    /// What it may be sent, on the connection.
    window: i64,
    uncredited: usize,
    /// The initial window for what it is sent: the widest that may be in force.
    own_initial: i64,
    /// The last that was set.
    own_now: i64,
    trailers: bool,
    outgoing: Vec<u8>,
}

impl Peer {
    fn new(trailers: bool) -> Self {
        let window = i64::from(DEFAULT_WINDOW);
        Self {
            side: Side::new(),
            streams: BTreeMap::new(),
            room: window,
            initial: window,
            window,
            uncredited: 0,
            own_initial: window,
            own_now: window,
            trailers,
            outgoing: Vec::new(),
        }
    }

    /// Sends up to `most` bytes of a stream.
    fn send(&mut self, id: u32, most: usize) {
        let Some(half) = self.streams.get_mut(&id) else { return };
        if half.ended {
            return;
        }
        let room = usize::try_from(self.room.min(self.initial + half.credit)).unwrap_or(0);
        let count = half.left.min(room).min(most);
        half.left -= count;
        half.sent += count;
        half.credit -= signed(count);
        self.room -= signed(count);
        half.ended = half.left == 0;
        let end = half.ended && !self.trailers;
        self.side.next.data(id, &vec![0; count], end);
        if half.ended && self.trailers {
            self.side.next.headers(id, &block(&[("grpc-status", "0")]), true);
        }
    }

    /// Gives credit for what came when `eager` or when half of a stream's window, or a quarter of the connection's, is used.
    fn give(&mut self, eager: bool) {
        for (id, half) in &mut self.streams {
            if half.uncredited > 0 && (eager || signed(half.uncredited) * 2 >= self.own_now) {
                self.side
                    .next
                    .window_update(*id, u32::try_from(std::mem::take(&mut half.uncredited)).unwrap());
            }
        }
        if self.uncredited > 0 && (eager || self.uncredited >= DEFAULT_WINDOW as usize / 4) {
            self.window += signed(self.uncredited);
            self.side.next.window_update(0, u32::try_from(std::mem::take(&mut self.uncredited)).unwrap());
        }
    }

    /// Takes what came.
    fn take(&mut self, out: &Out, eager: bool) {
        match out {
            Out::Data { id, bytes, end } => {
                let half = self.streams.get_mut(id).expect("DATA of a stream that is not there");
                assert!(!half.finished, "DATA after the end of {id}");
                half.received += bytes.len();
                half.uncredited += bytes.len();
                half.finished = *end;
                self.uncredited += bytes.len();
                self.window -= signed(bytes.len());
                assert!(self.window >= 0, "more than the connection's window");
                assert!(signed(half.uncredited) <= self.own_initial, "more than the window of {id}");
                self.give(eager);
            }
            Out::Headers { id, end, .. } => {
                if let Some(half) = self.streams.get_mut(id) {
                    half.finished |= *end;
                }
            }
            Out::Credit(0, credit) => self.room += i64::from(*credit),
            Out::Credit(id, credit) => {
                self.streams.get_mut(id).expect("credit of a stream that is not there").credit +=
                    i64::from(*credit);
            }
            Out::Settings(settings) => {
                for (setting, value) in settings {
                    if *setting == 4 {
                        self.initial = i64::from(*value);
                    }
                }
                self.side.next.settings_ack();
            }
            Out::SettingsAck | Out::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    HostSends(u32, usize),
    PluginSends(u32, usize),
    /// So many bytes of what a peer sent arrive.
    HostArrives(usize),
    PluginArrives(usize),
    HostReads(usize, bool),
    PluginReads(usize, bool),
    Own(usize),
    Narrow(u32),
}

fn step(streams: u32) -> impl Strategy<Value = Step> {
    let id = move || (0..streams).prop_map(|index| 2 * index + 1);
    prop_oneof![
        (id(), 1usize..30_000).prop_map(|(id, most)| Step::HostSends(id, most)),
        (id(), 1usize..30_000).prop_map(|(id, most)| Step::PluginSends(id, most)),
        (1usize..60_000).prop_map(Step::HostArrives),
        (1usize..60_000).prop_map(Step::PluginArrives),
        (1usize..60_000, any::<bool>()).prop_map(|(most, eager)| Step::HostReads(most, eager)),
        (1usize..60_000, any::<bool>()).prop_map(|(most, eager)| Step::PluginReads(most, eager)),
        (0usize..20_000).prop_map(Step::Own),
        (1000u32..200_000).prop_map(Step::Narrow),
    ]
}

/// The relay, two peers, and a stream of ours.
struct World {
    bench: Bench,
    host: Peer,
    plugin: Peer,
    own: u32,
    own_sent: usize,
}

impl World {
    fn new(requests: &[(usize, usize)], settings: &[(u16, u32)]) -> Self {
        let own = 2 * u32::try_from(requests.len()).unwrap() + 1;
        let mut world = Self {
            bench: Bench::silent(Limits::default()),
            host: Peer::new(false),
            plugin: Peer::new(true),
            own,
            own_sent: 0,
        };
        world.host.side.next.raw(PREFACE);
        world.host.side.next.settings([]);
        for (index, (up, _)) in requests.iter().enumerate() {
            let id = 2 * u32::try_from(index).unwrap() + 1;
            let head = block(&[(":method", "POST"), (":scheme", "http"), (":path", "/a")]);
            world.host.side.next.headers(id, &head, false);
            world.host.streams.insert(id, Half { left: *up, ..Half::default() });
        }
        let head = block(&[(":method", "POST"), (":scheme", "http"), (":path", "/own")]);
        world.host.side.next.headers(own, &head, false);
        world.host.streams.insert(own, Half { ended: true, ..Half::default() });
        world.plugin.side.next.settings(settings.iter().copied());
        if let Some((_, window)) = settings.iter().find(|(id, _)| *id == 4) {
            world.plugin.own_initial = i64::from(*window);
            world.plugin.own_now = i64::from(*window);
        }
        world
    }

    fn step(&mut self, step: &Step, requests: &[(usize, usize)]) {
        match *step {
            Step::HostSends(id, most) => self.host.send(id, most),
            Step::PluginSends(id, most) => self.plugin.send(id, most),
            Step::HostArrives(count) => {
                let bytes = arriving(&mut self.host, count);
                self.bench.connection.host_read(self.bench.now, &bytes);
            }
            Step::PluginArrives(count) => {
                if !self.bench.connection.is_bound() {
                    self.bench.connection.bind(self.bench.now);
                }
                let bytes = arriving(&mut self.plugin, count);
                self.bench.connection.plugin_read(self.bench.now, &bytes);
            }
            Step::HostReads(most, eager) => {
                let bytes = self.bench.connection.to_host();
                let bytes = bytes[..bytes.len().min(most)].to_vec();
                self.bench.connection.host_took(bytes.len());
                for out in self.host.side.read(&bytes) {
                    self.host.take(&out, eager);
                }
            }
            Step::PluginReads(most, eager) => {
                let bytes = self.bench.connection.to_plugin();
                let mut bytes = bytes[..bytes.len().min(most.max(PREFACE.len()))].to_vec();
                self.bench.connection.plugin_took(bytes.len());
                if !self.bench.preface_read && !bytes.is_empty() {
                    bytes.drain(..PREFACE.len());
                    self.bench.preface_read = true;
                }
                for out in self.plugin.side.read(&bytes) {
                    if let Out::Headers { id, .. } = out {
                        let left = requests[id as usize / 2].1;
                        self.plugin.streams.insert(id, Half { left, ..Half::default() });
                        self.plugin.side.next.headers(id, &block(&[(":status", "200")]), false);
                    }
                    self.plugin.take(&out, eager);
                }
            }
            Step::Own(length) => {
                if self.bench.connection.has_room(self.own) == Some(true) {
                    self.bench.connection.send(self.own, &vec![0; length]);
                    self.own_sent += length + 5;
                }
            }
            Step::Narrow(window) => {
                // The host may be sent by the widest it ever announced, until it has the acknowledgement.
                self.host.side.next.settings([(4, window)]);
                self.host.own_initial = self.host.own_initial.max(i64::from(window));
                self.host.own_now = i64::from(window);
                self.host.give(false);
            }
        }
        let up = &self.bench.connection.up;
        assert!(up.queued() as u64 <= up.debt() + up.room() as u64);
        let down = &self.bench.connection.down;
        assert!(down.queued() as u64 <= down.debt() + down.room() as u64);
    }

    /// Whether both peers have got, and said, all of every stream. A plugin that said all may have much of a request to come yet.
    fn is_done(&self) -> bool {
        let calls = (1..self.own).step_by(2);
        let over = |half: &Half| half.finished && half.ended;
        calls
            .into_iter()
            .all(|id| over(&self.host.streams[&id]) && self.plugin.streams.get(&id).is_some_and(over))
            && self.host.streams[&self.own].received == self.own_sent
    }

    /// The bytes that came to either peer.
    fn received(&self) -> usize {
        let halves = self.host.streams.values().chain(self.plugin.streams.values());
        halves.map(|half| half.received).sum()
    }
}

fn arriving(peer: &mut Peer, count: usize) -> Vec<u8> {
    peer.outgoing.extend_from_slice(peer.side.next.chunk());
    let written = peer.side.next.len();
    peer.side.next.advance(written);
    peer.outgoing.drain(..count.min(peer.outgoing.len())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn honest_peers_get_what_the_other_sent(
        requests in proptest::collection::vec((0usize..150_000, 0usize..150_000), 1..6),
        steps in proptest::collection::vec(step(6), 0..300),
        plugin_window in prop_oneof![Just(None), (1u32..60).prop_map(Some), (1u32..200_000).prop_map(Some)],
    ) {
        let settings: Vec<(u16, u32)> = plugin_window.map(|window| (4, window)).into_iter().collect();
        let mut world = World::new(&requests, &settings);
        for step in &steps {
            world.step(step, &requests);
        }
        // And now everybody does what is left: byte by byte, where a window is that narrow.
        let mut idle = 0;
        while !world.is_done() {
            let before = world.received();
            for id in (1..world.own).step_by(2) {
                world.step(&Step::HostSends(id, usize::MAX), &requests);
                world.step(&Step::PluginSends(id, usize::MAX), &requests);
            }
            world.step(&Step::HostArrives(usize::MAX), &requests);
            world.step(&Step::PluginReads(usize::MAX, false), &requests);
            world.step(&Step::PluginArrives(usize::MAX), &requests);
            world.step(&Step::HostReads(usize::MAX, false), &requests);
            idle = if world.received() == before { idle + 1 } else { 0 };
            // Rounds that carry heads, ends and credit alone are few.
            assert!(idle < 20, "stuck: {:?}\n{:?}", world.host.streams, world.plugin.streams);
        }
        for (index, (up, down)) in requests.iter().enumerate() {
            let id = 2 * u32::try_from(index).unwrap() + 1;
            prop_assert_eq!(world.plugin.streams[&id].received, *up);
            prop_assert_eq!(world.host.streams[&id].received, *down);
        }
        prop_assert_eq!(world.bench.violated(), []);
        prop_assert_eq!(world.bench.ended().len(), requests.len());
        prop_assert_eq!((world.bench.connection.up.queued(), world.bench.connection.down.queued()), (0, 0));
        prop_assert_eq!(world.bench.connection.receive(world.own), Received::Nothing);
    }

    /// What comes out, without where credit was given in one frame or in two.
    #[test]
    fn bytes_cut_anywhere_give_the_same(cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let places = |length| cuts.iter().map(|cut| cut.index(length)).collect();
        prop_assert!(conversation(places) == conversation(|_| Vec::new()));
    }

    #[test]
    fn no_frames_of_any_peer_are_too_much(
        frames in proptest::collection::vec((any::<bool>(), 0u8..12, any::<u8>(), 0u32..9, proptest::collection::vec(any::<u8>(), 0..40)), 0..60),
        valid in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let mut bench = Bench::with(Limits::default());
        for (index, (of_host, kind, flags, stream, payload)) in frames.into_iter().enumerate() {
            if valid[index] {
                // Else hardly a stream would ever be opened.
                let path = ["/a", "/own", "/no"][usize::from(flags) % 3];
                bench.request(2 * u32::try_from(index).unwrap() + 1, path, flags & 1 == 1);
                bench.host();
                bench.plugin.next.headers(stream | 1, &block(&[(":status", "200")]), false);
            }
            if index == 5 {
                bench.connection.bind(bench.now);
                bench.plugin.next.settings([]);
            }
            if index % 7 == 0 {
                bench.pass(Duration::from_secs(4));
            }
            if of_host {
                bench.host.next.frame(kind.into(), flags, stream, &payload);
            } else {
                bench.plugin.next.frame(kind.into(), flags, stream, &payload);
            }
            bench.host();
            if bench.connection.is_bound() {
                bench.plugin();
            }
            while let Some((id, ..)) = bench.connection.opened() {
                bench.connection.send(id, &payload);
                let _ = bench.connection.receive(id);
            }
        }
        bench.connection.plugin_closed(bench.now, &Status::unavailable("x"));
        bench.host_reads();
        bench.connection.host_closed(bench.now);
        prop_assert_eq!(bench.connection.calls(), 0);
        prop_assert_eq!((bench.connection.up.queued(), bench.budget.waiting(), bench.budget.bytes()), (0, 0, 0));
    }

    #[test]
    fn no_bytes_of_any_peer_are_too_much(
        host in proptest::collection::vec(any::<u8>(), 0..400),
        plugin in proptest::collection::vec(any::<u8>(), 0..400),
        preface in any::<bool>(),
    ) {
        let mut bench = if preface { Bench::bound() } else { Bench::silent(Limits::default()) };
        bench.connection.host_read(bench.now, &host);
        bench.connection.plugin_read(bench.now, &plugin);
    }
}

/// A fixed conversation whose bytes are cut at `cuts` of their length: what each side got, stream by stream.
fn conversation(cuts: impl Fn(usize) -> Vec<usize>) -> [BTreeMap<u32, Vec<Out>>; 2] {
    let mut bench = Bench::bound();
    let big = "x".repeat(20_000);
    bench.request_with(1, "/a", &[("big", &big)], false);
    bench.host.next.data(1, &vec![1; 20_000], false);
    bench.request(3, "/own", false);
    bench.host.next.data(3, b"\0\0\0\0\x02hi", true);
    bench.host.next.frame(Kind::Data, flag::PADDED, 1, &[2, b'x', 0, 0]);
    bench.host.next.window_update(1, 77);
    bench.host.next.ping(b"12345678", false);
    bench.host.next.settings([(4, 70_000)]);
    bench.host.next.data(1, b"end", true);
    bench.request(5, "/b", true);
    bench.host.next.reset(5, ErrorCode::CANCEL);
    bench.request(7, "/no", true);
    bench.answer(1);
    bench.plugin.next.data(1, &vec![2; 30_000], false);
    bench.plugin.next.window_update(1, 1000);
    bench.trailers(1);
    bench.answer(5);
    bench.plugin.next.data(5, b"late", true);
    bench.plugin.next.settings_ack();
    let mut out = [BTreeMap::new(), BTreeMap::new()];
    let (host, plugin) = (bench.host.next.chunk().to_vec(), bench.plugin.next.chunk().to_vec());
    for (bytes, of_host) in [(host, true), (plugin, false)] {
        let mut places = cuts(bytes.len());
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        for ends in places.windows(2) {
            let piece = &bytes[ends[0]..ends[1]];
            if of_host {
                bench.connection.host_read(bench.now, piece);
            } else {
                bench.connection.plugin_read(bench.now, piece);
            }
            let seen = [bench.host_reads(), bench.plugin_reads()];
            for (all, seen) in out.iter_mut().zip(seen) {
                for out in seen {
                    note(all, out);
                }
            }
        }
    }
    out
}

/// Notes a frame with its stream's: credit first, as one.
fn note(all: &mut BTreeMap<u32, Vec<Out>>, out: Out) {
    match out {
        Out::Credit(id, more) => {
            let of_stream = all.entry(id).or_default();
            match of_stream.first_mut() {
                Some(Out::Credit(_, credit)) => *credit += more,
                _ => of_stream.insert(0, Out::Credit(id, more)),
            }
        }
        Out::Headers { id, .. } | Out::Data { id, .. } | Out::Reset(id, _) => {
            all.entry(id).or_default().push(out);
        }
        _ => all.entry(0).or_default().push(out),
    }
}

#[test]
fn bytes_cut_at_each_place_in_turn_and_at_all_give_the_same() {
    let whole = conversation(|_| Vec::new());
    assert!(conversation(|length| (0..length).collect()) == whole);
    // Heads of frames and blocks are within these; the rest is much of the same.
    for place in (0..2000).chain((2000..70_000).step_by(501)) {
        assert!(conversation(|length| vec![place.min(length)]) == whole, "cut at {place}");
    }
}
