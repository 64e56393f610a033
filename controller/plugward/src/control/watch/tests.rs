use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::timeout;

use super::*;

const KIND: Kind = Kind::PluginInstance;

#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeMap<Name, Value>>>);

impl Subject for Shelf {
    fn names(&self) -> Vec<Name> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn get(&self, name: &Name) -> Option<Value> {
        self.0.lock().unwrap().get(name).cloned()
    }
}

struct World {
    shelf: Shelf,
    news: broadcast::Sender<(Kind, Name)>,
    lines: mpsc::Receiver<Bytes>,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

impl World {
    fn new(names: &[&str]) -> Self {
        let shelf = Shelf::default();
        for text in names {
            shelf.0.lock().unwrap().insert(name(text), json!({ "metadata": { "name": text } }));
        }
        let (news, heard) = broadcast::channel(2);
        let (sender, lines) = mpsc::channel(1);
        let told = Told { kind: KIND.as_str(), hashes: BTreeMap::new(), lines: sender };
        tokio::spawn(Watch { kind: KIND, subject: shelf.clone(), told }.run(heard));
        Self { shelf, news, lines }
    }

    fn put(&self, text: &str, phase: &str) {
        let object = json!({ "metadata": { "name": text }, "phase": phase });
        self.shelf.0.lock().unwrap().insert(name(text), object);
        self.news.send((KIND, name(text))).unwrap();
    }

    fn remove(&self, text: &str) {
        self.shelf.0.lock().unwrap().remove(&name(text));
        self.news.send((KIND, name(text))).unwrap();
    }

    async fn line(&mut self) -> String {
        line(&self.lines.recv().await.unwrap())
    }

    async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_secs(60), self.lines.recv()).await.is_err()
    }
}

/// `TYPE NAME PHASE`
fn line(bytes: &[u8]) -> String {
    let line: Value = serde_json::from_slice(bytes).unwrap();
    let phase = line["object"]["phase"].as_str().unwrap_or_default();
    let text = line["object"]["metadata"]["name"].as_str().unwrap();
    format!("{} {text} {phase}", line["type"].as_str().unwrap()).trim_end().to_owned()
}

#[tokio::test(start_paused = true)]
async fn all_is_told_at_first_and_then_what_changes() {
    let mut world = World::new(&["a", "b"]);
    assert_eq!(world.line().await, "ADDED a");
    assert_eq!(world.line().await, "ADDED b");
    world.put("b", "Ready");
    assert_eq!(world.line().await, "MODIFIED b Ready");
    world.put("c", "Starting");
    assert_eq!(world.line().await, "ADDED c Starting");
    world.remove("a");
    assert_eq!(world.line().await, "DELETED a");
}

#[tokio::test(start_paused = true)]
async fn what_is_as_it_was_told_is_not_told_again() {
    let mut world = World::new(&["a"]);
    world.put("a", "Ready");
    assert!(world.line().await.starts_with("ADDED a"));
    while let Ok(Some(line)) = timeout(Duration::from_secs(1), world.lines.recv()).await {
        assert!(String::from_utf8_lossy(&line).contains("Ready"));
    }
    world.put("a", "Ready");
    world.remove("never-there");
    world.news.send((Kind::PluginRuntime, name("a"))).unwrap();
    assert!(world.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_how_things_stand_when_it_reads_on() {
    let mut world = World::new(&["a", "b"]);
    assert_eq!(world.line().await, "ADDED a");
    assert_eq!(world.line().await, "ADDED b");
    for number in 0..100 {
        world.put("a", &format!("{number}"));
        world.put("b", &format!("{number}"));
        tokio::task::yield_now().await;
    }
    world.remove("b");
    let mut told = Vec::new();
    while let Ok(line) = timeout(Duration::from_secs(60), world.line()).await {
        told.push(line);
    }
    assert!(told.len() < 20, "nothing is kept for it: {told:?}");
    assert!(told.contains(&"MODIFIED a 99".to_owned()), "{told:?}");
    assert_eq!(told.last().unwrap(), "DELETED b");
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_its_reader() {
    let world = World::new(&["a"]);
    let World { news, lines, .. } = world;
    drop(lines);
    timeout(Duration::from_secs(1), news.closed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_news_is_looked_at_again_until_its_reader_leaves() {
    let shelf = Shelf::default();
    let put = |text: &str, phase: &str| {
        let object = json!({ "metadata": { "name": text }, "phase": phase });
        shelf.0.lock().unwrap().insert(name(text), object);
    };
    put("a", "Starting");
    let (sender, mut lines) = mpsc::channel(1);
    let there = shelf.clone();
    let told = Told { kind: PluginSession::KIND, hashes: BTreeMap::new(), lines: sender };
    let watch = tokio::spawn(look_again(move || there.0.lock().unwrap().clone(), told));
    let mut next = async || timeout(Duration::from_secs(60), lines.recv()).await.unwrap().unwrap();
    assert_eq!(line(&next().await), "ADDED a Starting");
    assert!(timeout(3 * LOOK, next()).await.is_err(), "nothing is another");
    put("a", "Attached");
    assert_eq!(line(&next().await), "MODIFIED a Attached");
    shelf.0.lock().unwrap().clear();
    let gone = next().await;
    assert_eq!(line(&gone), "DELETED a");
    assert!(String::from_utf8_lossy(&gone).contains("\"kind\":\"PluginSession\""));
    drop(lines);
    timeout(Duration::from_secs(60), watch).await.unwrap().unwrap();
}
