//! Who comes to the attach socket and is no launcher, or one that the controller does not know, costs nobody else anything.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use plugward_attach::socket::{self, MAX_PACKET};
use plugward_attach::{FromController, FromLauncher};
use plugward_tests::real::{
    DatabaseHost, HostOptions, LIMIT, NewUser, World, copy_for_all, database, launcher, on_one_engine, starts,
};
use serde_json::{Value, json};

use super::attach::controller;

const USER: NewUser<'_> = NewUser { password: "first", statements: &[], deadline: LIMIT };

/// Connections that say nothing.
const CROWD: usize = 1_000;

/// Launchers of another user.
const STRANGERS: usize = 50;

/// A user whom the machine does not know.
const UNKNOWN: u32 = 4_242;

/// The attach socket of the world's only cluster.
fn place(world: &World) -> std::path::PathBuf {
    let clusters = std::fs::read_dir(world.path("r")).unwrap();
    clusters
        .map(|cluster| cluster.unwrap().path().join("attach.sock"))
        .find(|socket| socket.exists())
        .unwrap()
}

/// What the controller says next. `None` when it has ended the connection.
fn hears(controller: &OwnedFd) -> io::Result<Option<FromController>> {
    let mut buffer = vec![0; MAX_PACKET];
    let received = socket::receive(controller, &mut buffer)?;
    Ok(received.map(|(length, _)| FromController::decode(&buffer[..length]).unwrap()))
}

fn says(world: &World, packets: &[&[u8]]) -> Option<FromController> {
    let controller = socket::connect(&place(world)).unwrap();
    for packet in packets {
        // It may have heard enough.
        let _ = socket::send(&controller, packet, &[]);
    }
    hears(&controller).unwrap_or_default()
}

fn hello(versions: (u16, u16), instance: &str, resumes: bool) -> Vec<u8> {
    FromLauncher::Hello { versions, instance: instance.to_owned(), resumes }.encode()
}

fn refused(answer: Option<FromController>) -> String {
    match answer {
        Some(
            FromController::Refuse { message } | FromController::Exit { code: 1, message: Some(message) },
        ) => message,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_launcher_is_refused_with_words_and_costs_others_nothing() {
    on_one_engine(|world| async move {
        controller(&world, database("db").attachable(&["root"]), "none").await;
        let mounts = starts([("db", world.attach("db", 6))]);
        let Some(host) = DatabaseHost::start(&mounts, &HostOptions::default()) else { return };
        host.open("orders", "db").await.unwrap();
        host.initialize("orders", &json!({ "label": "one" })).await.unwrap();

        let ask =
            |packets: Vec<Vec<u8>>| says(&world, &packets.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for (packet, word) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "plugward-attach"),
            (vec![0xff; MAX_PACKET], "plugward-attach"),
            (FromLauncher::Environment { variables: Vec::new() }.encode(), "greeting"),
            (hello((1, 1), "no-such-plugin", false), "no-such-plugin"),
            (hello((1, 1), "../../etc", false), "../../etc"),
            (hello((2, 7), "db", false), "install both from the same release"),
            // It kept nothing.
            (hello((1, 1), "db", true), "kept nothing"),
        ] {
            let said = refused(ask(vec![packet]));
            assert!(said.contains(word) && !said.contains('\n'), "{said}");
        }
        // Greeted, and then silent about what it was asked.
        let greeted = ask(vec![hello((1, 1), "db", false)]);
        assert!(matches!(greeted, Some(FromController::Ask { version: 1, .. })), "{greeted:?}");
        // A session's middle is not its beginning.
        let listening = FromLauncher::Dialled { id: 1 }.encode();
        let answer = ask(vec![hello((1, 1), "db", false), listening]);
        assert!(matches!(answer, Some(FromController::Ask { .. })), "{answer:?}");

        host.new_user("orders", &USER).await.unwrap();
        let metrics = world.metrics().await;
        for reason in ["bad_request", "unknown_instance", "launcher_version"] {
            let counted = metrics.get(&format!("plugward_attach_refused_total{{reason=\"{reason}\"}}"));
            assert!(counted.is_some_and(|count| count >= 1.0), "{reason}");
        }
        world.until_sessions(1).await;
    })
    .await;
}

#[tokio::test]
async fn who_says_nothing_is_waited_for_a_moment_and_a_crowd_keeps_no_host_away() {
    on_one_engine(|world| async move {
        world.open_to_all();
        controller(&world, database("db").attachable(&["root"]), "none").await;
        let before = world.held();
        let place = place(&world);
        let crowd: Vec<OwnedFd> = (0..CROWD).map(|_| socket::connect(&place).unwrap()).collect();
        // Another user's are told at once that they may not.
        let (_place, launcher) = copy_for_all(&launcher());
        let mut strangers = Vec::new();
        for _ in 0..STRANGERS {
            let mut command = Command::new(&launcher);
            command.arg("db").env("PLUGWARD_RUN_DIR", world.path("r")).uid(UNKNOWN).gid(UNKNOWN);
            strangers.push(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        }
        for stranger in strangers {
            let said = stranger.wait_with_output().unwrap();
            let stderr = String::from_utf8(said.stderr).unwrap();
            assert_eq!((said.status.code(), said.stdout.len()), (Some(1), 0), "{stderr}");
            assert!(stderr.contains("spec.attach.users"), "{stderr}");
        }

        let mounts = starts([("db", world.attach("db", 6))]);
        let Some(host) = DatabaseHost::start(&mounts, &HostOptions::default()) else { return };
        host.open("orders", "db").await.unwrap();
        host.initialize("orders", &json!({ "label": "one" })).await.unwrap();
        host.new_user("orders", &USER).await.unwrap();
        host.close("orders").await.unwrap();
        // All of them are turned away in time, though they stay.
        world
            .wait("the crowd costs nothing any more", async || {
                (world.held().files <= before.files).then_some(())
            })
            .await;
        assert_eq!(world.sessions().await, [Value::Null; 0]);
        drop(crowd);
    })
    .await;
}
