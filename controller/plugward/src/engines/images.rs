//! What an engine said of its images, for a while.
//!
//! A current engine takes ten milliseconds to say what an image is, and ten thousand instances may be of one image. So an answer
//! is kept until the engine tells of any change of its images; and, since what it tells may be lost, not for long. That there is
//! no such image is not kept: somebody waits for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plugward_engine::{Engine, EngineError, Image};
use tokio::time::Instant;

/// How long an answer is believed.
const BELIEVED: Duration = Duration::from_secs(10);

/// The images of one engine.
#[derive(Debug, Default)]
pub(super) struct Images {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Grows with every change of the engine's images: an answer to a question from before it is worth nothing after it.
    changes: u64,
    images: HashMap<String, (Image, Instant)>,
}

// === impl Images ===

impl Images {
    /// The image that a reference names.
    pub(super) async fn inspect(
        &self,
        engine: &dyn Engine,
        reference: &str,
    ) -> Result<Option<Image>, EngineError> {
        let before = {
            let known = self.lock();
            if let Some((image, until)) = known.images.get(reference)
                && Instant::now() < *until
            {
                return Ok(Some(image.clone()));
            }
            known.changes
        };
        let found = engine.inspect_image(reference).await?;
        let mut known = self.lock();
        let now = Instant::now();
        known.images.retain(|_, (_, until)| now < *until);
        if let Some(image) = &found
            && known.changes == before
        {
            known.images.insert(reference.to_owned(), (image.clone(), now + BELIEVED));
        }
        Ok(found)
    }

    /// The engine's images may have changed.
    pub(super) fn changed(&self) {
        let mut known = self.lock();
        known.changes += 1;
        known.images.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Whatever is left out of it by a panic is asked for again.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use plugward_engine::simulated::{Script, Settings, SimulatedEngine};

    use super::*;

    const NAME: &str = "example/plugin:1";

    fn add(engine: &SimulatedEngine) -> String {
        engine.add_image(NAME, |_| Script::new())
    }

    async fn id(images: &Images, engine: &SimulatedEngine) -> Option<String> {
        images.inspect(engine, NAME).await.unwrap().map(|image| image.id)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_until_the_images_change() {
        let (engine, images) = (SimulatedEngine::new(Settings::default()), Images::default());
        let before = add(&engine);
        assert_eq!(id(&images, &engine).await, Some(before.clone()));
        let moved = add(&engine);
        assert_eq!(id(&images, &engine).await, Some(before));
        images.changed();
        assert_eq!(id(&images, &engine).await, Some(moved));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_a_while_only() {
        let (engine, images) = (SimulatedEngine::new(Settings::default()), Images::default());
        let before = add(&engine);
        assert_eq!(id(&images, &engine).await, Some(before.clone()));
        let moved = add(&engine);
        tokio::time::advance(BELIEVED / 2).await;
        assert_eq!(id(&images, &engine).await, Some(before));
        tokio::time::advance(BELIEVED).await;
        assert_eq!(id(&images, &engine).await, Some(moved));
    }

    #[tokio::test(start_paused = true)]
    async fn that_there_is_no_such_image_is_asked_again() {
        let (engine, images) = (SimulatedEngine::new(Settings::default()), Images::default());
        assert_eq!(id(&images, &engine).await, None);
        let added = add(&engine);
        assert_eq!(id(&images, &engine).await, Some(added));
    }
}
