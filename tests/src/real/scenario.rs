//! Playing a test on engines.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::join_all;

use super::engine::TestEngine;
use super::world::World;

/// Plays a test on each engine, at the same time.
///
/// # Panics
/// When it fails on one. What there is to see is printed then.
pub async fn on_each_engine<F>(test: impl Fn(Arc<World>) -> F)
where
    F: Future<Output = ()>,
{
    let engines = TestEngine::all().await;
    let played = engines.iter().map(|engine| play(World::new(engine.clone(), &engines), &test));
    judge(join_all(played).await);
}

/// Plays a test on each engine, at the same time, also on the one that runs without root's rights. They need only these images.
///
/// # Panics
/// When it fails on one.
pub async fn on_every_engine<F>(images: &[&str], test: impl Fn(Arc<World>) -> F)
where
    F: Future<Output = ()>,
{
    let engines = TestEngine::named(images).await;
    let played = engines.iter().map(|engine| play(World::new(engine.clone(), &engines), &test));
    judge(join_all(played).await);
}

/// Plays a test on the first engine: one of what has nothing to do with how engines differ.
///
/// # Panics
/// When it fails.
pub async fn on_one_engine<F>(test: impl Fn(Arc<World>) -> F)
where
    F: Future<Output = ()>,
{
    let engines = TestEngine::all().await;
    if let Some(engine) = engines.first() {
        judge(vec![play(World::new(engine.clone(), &engines), &test).await]);
    }
}

/// Plays a test on the engine that runs without root's rights.
///
/// # Panics
/// When it fails.
pub async fn on_the_rootless_engine<F>(test: impl Fn(Arc<World>) -> F)
where
    F: Future<Output = ()>,
{
    if let Some(engine) = TestEngine::rootless().await {
        judge(vec![play(World::new(engine.clone(), &[engine]), &test).await]);
    }
}

/// Plays a test in a world, and clears the world away however that ends. Names the engine if it failed.
pub(super) async fn play<F>(world: World, test: &impl Fn(Arc<World>) -> F) -> Option<String>
where
    F: Future<Output = ()>,
{
    let world = Arc::new(world);
    // What a failed test leaves half done is only looked at, and thrown away.
    let outcome = AssertUnwindSafe(test(world.clone())).catch_unwind().await;
    let failed = outcome.is_err().then(|| world.engine.name.clone());
    if failed.is_some() {
        eprintln!("{}", world.report().await);
    }
    world.clear_away().await;
    failed
}

fn judge(outcomes: Vec<Option<String>>) {
    let failed: Vec<String> = outcomes.into_iter().flatten().collect();
    assert!(failed.is_empty(), "failed on the engines {}", failed.join(" and "));
}

/// Waits until no other test has what this gives: for those that keep a machine so busy that go-plugin's own limits of five seconds
/// could pass in another of them.
pub async fn busy() -> tokio::sync::MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ONE_AT_A_TIME.lock().await
}
