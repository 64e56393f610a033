//! `plugward-bench`: how fast the program is, told as ratios within one run. `hack/bench` builds and runs it.
//!
//! ```text
//! plugward-bench [start] [runtimes] [gateway] [standby] [attach] [fleet] [idle] [soak]
//! ```
//!
//! | work | measured |
//! | --- | --- |
//! | `start` | a manifest is dropped → ready, and a container is killed → ready again, against the same container made by hand through the same API |
//! | `runtimes` | the same under each OCI runtime of each engine, if it is named |
//! | `gateway` | calls and streams through a mount socket, against the plugin's own socket, a byte pump and nginx; calls that call back, against the plugin as a process of its host's; a plugin is killed → the next call is answered; memory of idle mounts |
//! | `standby` | a plugin that has a spare is killed → the next call is answered |
//! | `attach` | a host attaches, against the same plugin as its process; calls through its session, against the same; its container is killed → the next call is answered, with a spare and without |
//! | `fleet` | 10,000 instances on a simulated engine: until all are ready, over a restart of the controller, memory |
//! | `idle` | memory and wake-ups of a controller whose plugins run |
//! | `soak` | thirty plugins under load that are killed, edited and replaced for half an hour (`PLUGWARD_SOAK_MINUTES`): what grows, what is lost; if it is named |
//!
//! `start`, `runtimes`, `gateway`, `standby`, `attach`, `idle` and `soak` want an engine in `PLUGWARD_TEST_ENGINES`, as the tests do, and the program in `PLUGWARD_BIN`;
//! `gateway` wants nginx, Go, and the counter's program in `PLUGWARD_BENCH_COUNTER`; `attach` Go and that program, and the launcher in
//! `PLUGWARD_ATTACH_BIN`.
//!
//! Times vary from machine to machine and from day to day; what is compared with a goal is a ratio of two that were
//! taken in turns, or a figure that does not depend on the machine's speed.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program for a terminal; a measurement that cannot go on has failed"
)]

mod attach;
mod fleet;
mod gateway;
mod idle;
mod process;
mod raw;
mod soak;
mod start;
mod table;
mod turns;

use std::process::ExitCode;

use table::Row;

#[tokio::main]
async fn main() -> ExitCode {
    let mut given: Vec<String> = std::env::args().skip(1).collect();
    if let Some(part) = given.first().and_then(|argument| fleet::Part::of(argument)) {
        part.run().await;
        return ExitCode::SUCCESS;
    }
    if let [argument, socket, slot_file] = given.as_slice()
        && argument == gateway::pump::ARGUMENT
    {
        gateway::pump::run(socket.into(), slot_file.into()).await;
        return ExitCode::SUCCESS;
    }
    if given.is_empty() {
        given = ["start", "gateway", "standby", "attach", "fleet", "idle"].map(ToOwned::to_owned).into();
    }
    let mut rows: Vec<Row> = Vec::new();
    for work in &given {
        match work.as_str() {
            "start" => rows.extend(start::measure().await),
            "runtimes" => rows.extend(start::measure_runtimes().await),
            "gateway" => rows.extend(gateway::measure().await),
            "standby" => rows.extend(gateway::measure_standby().await),
            "attach" => rows.extend(attach::measure().await),
            "fleet" => rows.extend(fleet::measure()),
            "idle" => rows.extend(idle::measure().await),
            "soak" => rows.extend(soak::measure().await),
            other => {
                eprintln!(
                    "error: there is no work {other}: start, runtimes, gateway, standby, attach, fleet, idle and soak are there"
                );
                return ExitCode::from(2);
            }
        }
    }
    print!("{}", table::render(&rows));
    ExitCode::SUCCESS
}
