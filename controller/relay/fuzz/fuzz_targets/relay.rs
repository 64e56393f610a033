//! One connection with a host and a plugin that send anything. The input is a list of steps: an octet that says which, and for bytes
//! another with their number.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use plugward_relay::{
    Amendments, Connection, Decision, Ended, HoldBudget, Limits, Observe, Peer, Policy, Rate, Received,
    Request, Stop, Violation,
    frame::{Output, PREFACE, Reader},
    grpc::{Code, Status},
};

/// What becomes of a request is in its path. Counts calls that were begun and not ended.
#[derive(Default)]
struct Counting {
    calls: usize,
}

impl Policy for Counting {
    type Call = ();

    fn request(&mut self, request: &Request<'_>) -> Decision<()> {
        match request.path().len() % 4 {
            0 => return Decision::Answer(Status::new(Code::Aborted, "no")),
            1 => {
                self.calls += 1;
                return Decision::Serve(());
            }
            _ => {}
        }
        self.calls += 1;
        Decision::Pass { call: (), observe: Observe { request: Some(10), answer: Some(10) } }
    }

    fn forward(&mut self, (): &mut (), _: &Request<'_>, amendments: &mut Amendments) -> Result<(), Stop> {
        amendments.set("id", b"7");
        Ok(())
    }

    fn may_go_on(&mut self, (): &mut (), _: Duration) -> Result<(), Status> {
        Ok(())
    }

    fn may_wait(&mut self, (): &mut (), _: Option<Duration>) -> Result<Duration, Status> {
        Ok(Duration::from_secs(30))
    }

    fn waited(&mut self, (): &()) -> Status {
        Status::unavailable("too long")
    }

    fn ended(&mut self, (): (), _: Ended) {
        self.calls -= 1;
    }

    fn violated(&mut self, _: Peer, _: Violation) {}
}

fuzz_target!(|input: &[u8]| {
    let few = Rate { burst: 200, per_second: 1 };
    let limits =
        Limits { resets: few, control_frames: few, window: 100_000, unread: 200_000, ..Limits::default() };
    let budget = HoldBudget::new(8, 100_000);
    let mut now = Instant::now();
    let mut connection = Connection::new(Counting::default(), limits, budget.clone(), now);
    let mut hello = Output::default();
    hello.raw(PREFACE);
    hello.settings([]);
    connection.host_read(now, hello.chunk());
    let mut host = Reader::default();
    let mut served = Vec::new();
    let mut rest = input;
    while let Some(&step) = rest.split_off_first() {
        match step % 12 {
            0..=3 => {
                let Some(&count) = rest.split_off_first() else { break };
                let Some(bytes) = rest.split_off(..usize::from(count).min(rest.len())) else { break };
                if step % 2 == 0 {
                    connection.host_read(now, bytes);
                } else {
                    connection.plugin_read(now, bytes);
                }
            }
            4 => connection.bind(now),
            5 => {
                let count = connection.to_host().len() / usize::from(1 + step / 64);
                // What we write is always whole and valid.
                let mut bytes = &connection.to_host()[..count];
                while host.next(&mut bytes).expect("we write no frame that is too long").is_some() {}
                connection.host_took(count);
            }
            6 => connection.plugin_took(connection.to_plugin().len() / usize::from(1 + step / 64)),
            7 => {
                now += Duration::from_millis(100 * u64::from(step));
                if connection.deadline().is_some_and(|deadline| deadline <= now) {
                    connection.on_deadline(now);
                }
            }
            8 => connection.plugin_closed(now, &Status::unavailable("closed")),
            9 => connection.drain(now),
            10 => {
                while let Some((id, ..)) = connection.opened() {
                    served.push(id);
                }
                for &id in &served {
                    while let Received::Message(message) = connection.receive(id) {
                        connection.send(id, &message);
                    }
                }
            }
            _ => connection.fail_held(now, &Status::unavailable("failed")),
        }
        assert!(connection.waiting() <= 8);
        assert!(connection.to_host().len() < 600_000 && connection.to_plugin().len() < 600_000);
    }
    connection.host_closed(now);
    assert_eq!((connection.calls(), connection.policy().calls), (0, 0));
    assert_eq!((budget.waiting(), budget.bytes()), (0, 0));
});
