//! What calls may expect that wait, and what hosts may cost.

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::super::mount::CONNECTIONS;
use super::super::*;
use super::support::*;

#[tokio::test]
async fn too_many_calls_that_wait_are_answered_at_once() {
    let world = World::with(&["orders"], |terms| terms.hold.max_requests = 2);
    let host = world.host("orders");
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let mut host = host.another();
            tokio::spawn(async move { host.call("Plain", "x").await })
        })
        .collect();
    world.until_waiting(2).await;
    let status = limited(host.another().call("Plain", "x")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    world.up(1);
    for waiting in waiting {
        assert_eq!(limited(waiting).await.unwrap().unwrap(), "p1 x");
    }
}

#[tokio::test]
async fn a_call_for_which_the_next_try_is_too_late_is_told_so_at_once() {
    let world = World::new(&["orders"]);
    let at = Timestamp::now() + Duration::from_secs(30);
    world.prospect(Prospect::Later { reason: "exited 1 five times".into(), at });
    let mut host = world.host("orders");
    let status = limited(host.call_within("Plain", "x", Some("10S"))).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let told = status.message();
    assert!(told.starts_with(&format!("exited 1 five times; the next try is at {at:.0} (in ")), "{told}");
    // With more time it waits, until that is too late, too.
    let waiting = tokio::spawn({
        let mut host = host.clone();
        async move { host.call_within("Plain", "y", Some("50S")).await }
    });
    world.until_waiting(1).await;
    let at = at + Duration::from_secs(60);
    world.prospect(Prospect::Later { reason: "exited 1 six times".into(), at });
    let status = limited(waiting).await.unwrap().unwrap_err();
    assert!(status.message().starts_with("exited 1 six times"), "{}", status.message());
}

#[tokio::test]
async fn a_call_that_waited_as_long_as_it_might_is_told_why() {
    let world = World::with(&["orders"], |terms| terms.hold.timeout = Duration::from_millis(50));
    let mut host = world.host("orders");
    for (prospect, why) in [
        (Prospect::Coming, "no container of the plugin was ready within 50ms"),
        (Prospect::Asleep, "no container of the plugin was ready within 50ms"),
        (Prospect::Blocked { reason: "the image is missing".into() }, "the image is missing"),
    ] {
        world.prospect(prospect);
        let status = limited(host.call("Plain", "x")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, why));
    }
}

#[tokio::test]
async fn calls_that_may_not_wait_are_served_where_there_is_a_container() {
    let world = World::with(&["orders"], |terms| terms.hold.timeout = Duration::ZERO);
    let mut host = world.host("orders");
    assert_eq!(limited(host.call("Plain", "x")).await.unwrap_err().code(), tonic::Code::Unavailable);
    world.up(1);
    assert_eq!(host.call("Plain", "y").await.unwrap(), "p1 y");
}

#[tokio::test]
async fn a_host_beyond_the_limit_waits_until_another_leaves() {
    let world = World::new(&["orders"]);
    world.up(1);
    let mut hosts = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut host = world.host("orders");
        host.call("Plain", "x").await.unwrap();
        hosts.push(host);
    }
    let mut late = world.host("orders");
    let waiting = tokio::spawn(async move { late.call("Plain", "late").await });
    hosts[0].call("Plain", "x").await.unwrap();
    assert!(!waiting.is_finished());
    hosts.pop();
    assert_eq!(limited(waiting).await.unwrap().unwrap(), "p1 late");
}

#[tokio::test]
async fn a_host_that_breaks_the_rules_loses_its_connection_and_the_others_do_not() {
    let world = World::new(&["orders"]);
    world.up(1);
    let mut host = world.host("orders");
    host.call("Plain", "x").await.unwrap();
    for _ in 0..2 {
        let mut hostile = UnixStream::connect(world.socket("orders")).await.unwrap();
        hostile.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut said = Vec::new();
        limited(hostile.read_to_end(&mut said)).await.unwrap();
        assert!(!said.is_empty(), "SETTINGS, and a GOAWAY that says why");
    }
    assert_eq!(host.call("Plain", "y").await.unwrap(), "p1 y");
    // It has the same process: it waits for a moment, and is served.
    assert_eq!(limited(host.another().call("Plain", "z")).await.unwrap(), "p1 z");
}
