//! The plugin under a host that starts it itself: go-plugin's client. Also the test of that host, `tests/hosts/generic`.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::path::Path;

use plugward_tests::real::{GenericHost, HostOptions, LIMIT, Load, Start, gone, kill, starts};

const MOUNT: &str = "numbers";

const LOAD: Load = Load { callers: 8, rate: None, deadline: LIMIT };

#[tokio::test]
async fn a_host_starts_it_loads_it_and_starts_it_again() {
    let start = Start::program(Path::new(env!("CARGO_BIN_EXE_counter-plugin")), &[], 1);
    let Some(host) = GenericHost::start(&starts([(MOUNT, start)]), &HostOptions::default()) else { return };
    let plugin = host.client(MOUNT).start().await.unwrap();
    assert_eq!(host.increment(MOUNT, "hello", 2, Some(LIMIT)).await, Ok(2));
    let load = host.load(MOUNT, &LOAD).await.unwrap();
    load.until_answered(100).await;
    let (pace, tally) = (load.pace().await, load.stop().await);
    assert_eq!((tally.failures(), tally.lost, tally.repeated), (0, 0, 0), "{tally:?}");
    assert!(pace.rate >= 100.0 / pace.elapsed.as_secs_f64() && pace.p50 <= pace.p99, "{pace:?}");

    // Nobody takes the place of a process that ends: hosts start another client.
    kill(plugin.pid);
    gone(plugin.pid).await;
    host.client(MOUNT).kill().await.unwrap();
    assert_eq!(host.get(MOUNT, "hello", Some(LIMIT)).await, Ok(0));

    let cycles = host.client(MOUNT).cycles(2, 2).await.unwrap();
    for cycle in cycles {
        assert!(cycle.failure.is_none() && cycle.killed.graceful && cycle.start < cycle.answer, "{cycle:?}");
    }
}
