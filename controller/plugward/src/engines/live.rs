//! What can be asked of an engine that answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plugward_api::Name;
use plugward_engine::{Engine, EngineError, Image, Listed};

use super::changes::Changes;
use super::images::Images;
use super::pulls::{Begun, Pulls};
use crate::plan::PullSight;
use crate::slot::{Edit, EngineRef};
use crate::trial::Trials;

/// A link that answers.
#[derive(Clone)]
pub struct LiveEngine {
    /// Which it is.
    pub reference: EngineRef,
    /// The connection.
    pub engine: Arc<dyn Engine>,
    /// What trials there have shown.
    pub trials: Arc<Trials>,
    pub(super) images: Arc<Images>,
    pub(super) pulls: Arc<Pulls>,
    pub(super) changes: Arc<Changes>,
}

impl LiveEngine {
    /// The image that a reference names, as the engine said a moment ago or says now.
    ///
    /// # Errors
    /// When the engine does not say it.
    pub async fn image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        self.images.inspect(&*self.engine, reference).await
    }

    /// What an instance wants to be pulled here, as of an edit: these images and no others.
    pub fn want_pulled(&self, instance: &Name, edit: Edit, images: &BTreeSet<String>) {
        self.pulls.want(instance, edit, images);
    }

    /// How the pull of an image stands.
    pub fn pull(&self, image: &str) -> PullSight {
        self.pulls.sight(image)
    }

    /// Begins to pull an image, unless that is under way. `random` is for the delay after a failure.
    pub fn begin_pull(&self, image: &str, random: u64) -> Begun {
        self.pulls.begin(image, random)
    }

    /// The containers of an instance: those with these labels. They are known from now on, so that the next list of all is a reason to look
    /// again only where they have changed since.
    ///
    /// # Errors
    /// When the engine does not say it.
    pub async fn containers_of(
        &self,
        instance: &Name,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<Listed>, EngineError> {
        let containers = self.engine.list(labels).await?;
        self.changes.looked_at(instance, &containers);
        Ok(containers)
    }
}
