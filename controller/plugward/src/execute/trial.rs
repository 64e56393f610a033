//! Trying whether a container can run: see [`crate::trial`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plugward_api::status::EventType;
use plugward_engine::container::{Bind, LogRotation, Resources, Security};
use plugward_engine::{ContainerId, ContainerSpec, Created, Engine, EngineError, ErrorKind, FileKind};

use super::Run;
use crate::engines::LiveEngine;
use crate::errors::chain;
use crate::failure::ReconcileError;
use crate::names::{PLUGIN_SIDE_DIRECTORY, cluster_selector, label, trial_name};
use crate::plan::{TrialFault, TrialSight};
use crate::recipe::Recipe;
use crate::sharing::{MakeError, Sign};
use crate::slot::EngineRef;
use crate::trial::{Answer, Program, Question, Trials, may_lock};

/// How long what may change is believed.
const BELIEVED: std::time::Duration = std::time::Duration::from_secs(30);

/// Links that are followed to a program.
const LINKS: u32 = 8;

/// How programs begin that the kernel runs by themselves.
const PROGRAM: &[u8] = b"\x7fELF";

impl Run<'_> {
    /// Finds out what is not known of a container that is made so.
    pub(super) async fn try_out(
        &self,
        engine: &EngineRef,
        image: &str,
        recipe: &Recipe,
    ) -> Result<(), ReconcileError> {
        let lost = || ReconcileError::EngineLost(engine.id.to_string());
        let engines = &self.executor.engines;
        let live = engines.answering(&engine.id).ok_or_else(lost)?;
        let Some(found) = live.engine.inspect_image(image).await? else {
            engines.doubt_images(&engine.id);
            return Ok(());
        };
        let question = self.executor.sharing.question(&recipe.container, &found);
        let _others_wait = live.trials.begin().await;
        let now = self.executor.clock.now();
        let known = match live.trials.sight(&question, now) {
            TrialSight::Passed => true,
            TrialSight::Failed { retry_at, .. } => now < retry_at,
            TrialSight::Due => false,
        };
        if known {
            return Ok(());
        }
        // It is there when the engine comes back, whatever happens to us.
        engines.remember(engine).await?;
        let account = self.executor.account(engine)?;
        let name = trial_name(self.situation.random);
        let sign = match self.executor.sharing.show_sign(&recipe.container, &account, &name) {
            Ok(sign) => sign,
            Err(MakeError::Directory { path, source }) => {
                return Err(ReconcileError::Directory { path, source });
            }
            // The start says it.
            Err(MakeError::Foreign { .. } | MakeError::NoLists { .. }) => {
                self.doubt(&live.trials, &question);
                return Ok(());
            }
        };
        let looked = self.look(&live, image, recipe, &name, &sign, &question).await;
        live.trials.looks_into(None);
        sign.take_down()?;
        looked
    }

    async fn look(
        &self,
        live: &LiveEngine,
        image: &str,
        recipe: &Recipe,
        name: &str,
        sign: &Sign,
        question: &Question,
    ) -> Result<(), ReconcileError> {
        live.trials.looks_into(Some(name));
        let id = match live.engine.create(name, &self.trial_spec(image, recipe, sign)).await {
            Ok(Created::Created { id, .. }) => id,
            // Another name is tried next.
            Ok(Created::AlreadyExists) => return Ok(()),
            Err(error) => return self.not_made(live, question, error),
        };
        let looked = self.look_into(live, &id, sign, question).await;
        // It is removed with the next list, if not now.
        if let Err(error) = live.engine.remove(&id).await {
            tracing::warn!(container = name, error = chain(&error), "a container of a trial stays for now");
        }
        looked
    }

    async fn look_into(
        &self,
        live: &LiveEngine,
        id: &ContainerId,
        sign: &Sign,
        question: &Question,
    ) -> Result<(), ReconcileError> {
        let path = Path::new(PLUGIN_SIDE_DIRECTORY).join(Sign::NAME);
        let seen = live.engine.read(id, &path, sign.text.len()).await?;
        if seen.is_some_and(|file| file.content == sign.text.as_bytes()) {
            live.trials.learn_directory(&question.directory, Answer::GOOD);
        } else if live.engine.inspect(id.as_str()).await?.is_some() {
            self.unseen(live, question);
        } else {
            // Somebody has removed it, which shows nothing.
            return Ok(());
        }
        if let Some(program) = &question.program {
            let fault = cannot_lock(&*live.engine, id, program).await?.then(|| program.cannot_lock());
            // An image never changes.
            live.trials.learn_program(program, Answer { fault, until: None });
        }
        Ok(())
    }

    fn not_made(
        &self,
        live: &LiveEngine,
        question: &Question,
        error: EngineError,
    ) -> Result<(), ReconcileError> {
        match error.kind {
            ErrorKind::NoSuchSource => {
                tracing::debug!(error = chain(&error), "the engine does not see a directory");
                self.unseen(live, question);
                Ok(())
            }
            // The plugin's own container will not be made either, which says why.
            ErrorKind::Refused | ErrorKind::Conflict | ErrorKind::Internal => {
                self.doubt(&live.trials, question);
                Ok(())
            }
            ErrorKind::NoSuchImage => {
                self.executor.engines.doubt_images(&live.reference.id);
                Err(error.into())
            }
            ErrorKind::Unreachable
            | ErrorKind::TimedOut
            | ErrorKind::UnknownRuntime
            | ErrorKind::NotFound
            | ErrorKind::Incompatible => Err(error.into()),
        }
    }

    fn unseen(&self, live: &LiveEngine, question: &Question) {
        let directory = self.executor.sharing.mounted(&question.directory).display().to_string();
        let message = format!(
            "the engine does not see the directory {directory} of this controller, in which plugins make their sockets: a controller in a \
             container needs that directory of the engine's machine mounted at the same path (docker run -v {directory}:{directory}), or \
             another one that is, which --run-dir or the runtime's engine.socketDirectory names; an engine on another machine cannot be used"
        );
        self.executor.book.event(self.instance, EventType::Warning, "SocketDirectoryUnseen", message.clone());
        let fault = Some(TrialFault::Unseen(message));
        live.trials
            .learn_directory(&question.directory, Answer { fault, until: Some(self.believed_until()) });
    }

    /// Nothing was found out, and a start is to be tried all the same.
    fn doubt(&self, trials: &Trials, question: &Question) {
        let answer = Answer { fault: None, until: Some(self.believed_until()) };
        trials.learn_directory(&question.directory, answer.clone());
        if let Some(program) = &question.program {
            trials.learn_program(program, answer);
        }
    }

    fn believed_until(&self) -> jiff::Timestamp {
        self.executor.clock.now().saturating_add(BELIEVED).unwrap_or(jiff::Timestamp::MAX)
    }

    /// As the plugin's container, but for all that concerns only one that runs.
    fn trial_spec(&self, image: &str, recipe: &Recipe, sign: &Sign) -> ContainerSpec {
        let container = &recipe.container;
        let mut labels: BTreeMap<String, String> = cluster_selector(&self.executor.cluster);
        labels.insert(label::TRIAL.to_owned(), "true".to_owned());
        labels.insert(label::PID.to_owned(), std::process::id().to_string());
        ContainerSpec {
            image: image.to_owned(),
            entrypoint: container.command.clone(),
            args: container.args.clone(),
            env: Vec::new(),
            labels,
            oci_runtime: container.oci_runtime.clone(),
            network: "none".to_owned(),
            resources: Resources::default(),
            binds: vec![Bind {
                source: sign.directory.clone(),
                target: PathBuf::from(PLUGIN_SIDE_DIRECTORY),
            }],
            log: LogRotation {
                max_size_bytes: container.log.max_size_bytes,
                max_files: container.log.max_files,
            },
            groups: Vec::new(),
            capabilities: Vec::new(),
            security: Security::default(),
            tmpfs: Vec::new(),
            cgroup_parent: None,
        }
    }
}

/// Whether it is certain that a program may not lock its memory. What is not there, or is run by another program, says nothing.
async fn cannot_lock(engine: &dyn Engine, id: &ContainerId, program: &Program) -> Result<bool, EngineError> {
    let mut path = program.path.clone();
    for _ in 0..LINKS {
        let Some(file) = engine.read(id, &path, PROGRAM.len()).await? else { return Ok(false) };
        match file.kind {
            FileKind::Link(target) => path = path.parent().unwrap_or(&path).join(target),
            FileKind::Regular => {
                return Ok(file.content == PROGRAM && !may_lock(file.capability.as_deref()));
            }
            FileKind::Directory | FileKind::Other => return Ok(false),
        }
    }
    Ok(false)
}
