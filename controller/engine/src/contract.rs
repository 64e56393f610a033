//! What an implementation of the port must do: one suite for all of them.
//!
//! The twin can be believed because it passes what real engines pass. A [`Harness`] brings an engine and an image
//! whose entrypoint is the *test program*, which does what its arguments say:
//!
//! | arguments | the program |
//! | --- | --- |
//! | `exit CODE` | exits |
//! | `sleep` | never ends; as the first process of a container it is deaf to SIGTERM |
//! | `heed CODE` | writes `ready` and a line's end, then never ends by itself; exits with the code on SIGTERM |
//! | `write OUT ERR` | writes the one to standard output and the other to standard error, as they are, and exits 0 |
//! | `flood LINES` | writes so many lines of 64 bytes, numbered in their first 8, to standard output and exits 0 |
//! | `print-env NAME` | writes the value of the variable and a line's end, and exits 0 |
//! | `touch PATH` | creates an empty file and exits 0 |
//! | `eat` | takes more and more memory, up to 256 MiB, and exits 0 |
//!
//! Each case works on containers with a label of its own, which are removed when it has ended, however it ended.

mod events;
mod lifecycle;
mod looking;
mod making;
mod output;
mod pulling;
mod reading;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use rand::Rng as _;

use crate::container::{
    Container, ContainerId, ContainerSpec, ContainerState, Exit, LogRotation, Resources, Security,
};
use crate::port::{Created, Engine, Started};

/// The label that marks the containers of one case.
const LABEL: &str = "dev.plugward.contract";

/// How long a state is waited for: never the measure of anything.
const PATIENCE: Duration = Duration::from_mins(2);

/// An engine to try, and what the suite needs around it.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// The engine.
    fn engine(&self) -> Arc<dyn Engine>;

    /// The name, with a tag, of an image whose entrypoint is the test program.
    fn image(&self) -> &str;

    /// The OCI runtime to use.
    fn oci_runtime(&self) -> &str;

    /// A directory that the engine's machine has, for binds. Removed by the harness.
    fn directory(&self) -> std::path::PathBuf;

    /// Gives the image another name and takes it away again, past the port.
    async fn tag_and_untag(&self, name: &str);

    /// Puts an image into a registry that the engine can pull from, and takes it from the engine, layers and all. Its name
    /// there, made of `part`; `None`, which the harness says, where there is no registry.
    async fn publish(&self, part: &str) -> Option<String>;

    /// Takes an image that was pulled from the engine again.
    async fn unpublish(&self, name: &str);
}

/// A case that did not hold.
#[derive(Debug)]
pub struct Failure {
    /// The case: a sentence.
    pub case: &'static str,
    /// What was found instead.
    pub message: String,
}

/// Tries every case, a few at a time. The cases that did not hold, none when the engine keeps the contract.
pub async fn run(harness: Arc<dyn Harness>) -> Vec<Failure> {
    /// As many as a small machine can start at once.
    const AT_ONCE: usize = 4;
    stream::iter(cases())
        .map(|case| try_one(case, Arc::clone(&harness)))
        .buffered(AT_ONCE)
        .flat_map(stream::iter)
        .collect()
        .await
}

/// The names of the cases.
pub fn names() -> Vec<&'static str> {
    cases().into_iter().map(|case| case.name).collect()
}

struct Case {
    name: &'static str,
    run: fn(Bench) -> BoxFuture<'static, ()>,
}

macro_rules! cases {
    ($($module:ident :: { $($name:ident,)* })*) => {
        vec![$($(Case { name: stringify!($name), run: |bench| Box::pin($module::$name(bench)) },)*)*]
    };
}

fn cases() -> Vec<Case> {
    cases! {
        making::{
            a_name_is_given_once,
            an_image_that_is_not_there_is_the_cause,
            a_runtime_that_is_not_known_is_the_cause,
            a_directory_that_the_engine_does_not_see_is_the_cause,
            what_an_engine_will_not_do_is_refused,
            a_container_can_be_made_from_an_images_id,
            limits_are_accepted,
            a_bound_directory_is_shared_with_the_machine,
            environment_and_labels_arrive_as_they_are,
        }
        lifecycle::{
            a_container_is_started_once,
            an_ended_container_can_be_started_again,
            exit_codes_come_through,
            a_killed_process_shows_its_signal,
            a_process_that_heeds_its_signal_stops_with_its_own_code,
            a_process_that_is_deaf_to_its_signal_is_killed_after_its_grace,
            what_does_not_run_is_stopped_already,
            containers_are_removed_in_every_state,
            of_many_removals_at_once_one_removes,
            a_start_that_fails_says_why_and_leaves_the_words_behind,
            a_network_that_is_not_there_is_refused,
            memory_beyond_the_limit_ends_the_process_and_says_so,
        }
        looking::{
            an_engine_says_who_it_is,
            an_image_is_found_by_its_names_and_its_id,
            a_list_has_what_carries_all_labels_in_every_state,
            a_container_is_found_by_its_name_and_its_id,
            times_follow_the_engines_clock,
            what_a_container_uses_is_told_while_it_runs,
        }
        pulling::{
            what_no_registry_has_cannot_be_pulled,
            a_registry_that_is_not_there_is_the_engines_trouble,
            a_pull_tells_how_far_it_is_and_brings_the_image,
        }
        reading::{
            a_file_that_is_bound_into_a_container_is_read_though_that_never_ran,
            a_directory_and_a_link_are_told_as_what_they_are,
            what_is_not_there_is_none,
        }
        output::{
            channels_are_kept_apart,
            following_goes_on_to_the_end_of_the_container,
            following_shows_what_is_written_while_the_process_lives,
            an_unfinished_last_line_comes_as_it_is,
            only_the_last_lines_are_read_on_demand,
            pieces_are_stamped_and_read_from_a_time_on,
            a_stamped_line_of_any_length_comes_whole,
            large_output_comes_whole,
            a_log_is_bounded_by_its_rotation,
            there_is_no_log_of_an_absent_container,
        }
        events::{
            a_life_is_told_in_order_with_its_labels,
            what_happened_since_a_time_is_told_first,
            what_happens_after_the_call_and_before_the_first_poll_is_told,
            others_are_not_told_of,
            images_are_told_of_whatever_the_labels,
        }
    }
}

async fn try_one(case: Case, harness: Arc<dyn Harness>) -> Vec<Failure> {
    let bench = Bench::new(harness);
    let mut failures = Vec::new();
    let mut fail = |message| failures.push(Failure { case: case.name, message });
    match tokio::time::timeout(PATIENCE, tokio::spawn((case.run)(bench.clone()))).await {
        Ok(Ok(())) => {}
        Ok(Err(join)) => fail(panic_message(join)),
        Err(_) => fail("took too long".to_owned()),
    }
    if let Err(error) = bench.clean().await {
        fail(format!("cleaning up: {error}"));
    }
    failures
}

fn panic_message(join: tokio::task::JoinError) -> String {
    let Ok(panic) = join.try_into_panic() else { return "was cancelled".to_owned() };
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(message), _) => message.clone(),
        (_, Some(message)) => (*message).to_owned(),
        (None, None) => "panicked".to_owned(),
    }
}

/// What one case works with.
#[derive(Clone)]
struct Bench {
    harness: Arc<dyn Harness>,
    engine: Arc<dyn Engine>,
    /// Unique to the case.
    tag: String,
}

impl Bench {
    fn new(harness: Arc<dyn Harness>) -> Self {
        let tag = format!("contract-{:012x}", rand::rng().random::<u64>() >> 16);
        Self { engine: harness.engine(), harness, tag }
    }

    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.tag)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(LABEL.to_owned(), self.tag.clone())])
    }

    /// A container of this case in which the test program gets these arguments.
    fn spec(&self, args: &[&str]) -> ContainerSpec {
        ContainerSpec {
            image: self.harness.image().to_owned(),
            entrypoint: Vec::new(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: Vec::new(),
            labels: self.labels(),
            oci_runtime: self.harness.oci_runtime().to_owned(),
            network: "none".to_owned(),
            resources: Resources::default(),
            binds: Vec::new(),
            log: LogRotation { max_size_bytes: 8 << 20, max_files: 2 },
            groups: Vec::new(),
            capabilities: Vec::new(),
            security: Security::default(),
            tmpfs: Vec::new(),
            cgroup_parent: None,
        }
    }

    async fn create(&self, part: &str, spec: &ContainerSpec) -> ContainerId {
        match self.engine.create(&self.name(part), spec).await {
            Ok(Created::Created { id, .. }) => id,
            other => panic!("create {part}: {other:?}"),
        }
    }

    /// A container whose program has been started with these arguments.
    async fn started(&self, part: &str, args: &[&str]) -> ContainerId {
        let id = self.create(part, &self.spec(args)).await;
        assert_eq!(self.engine.start(&id).await, Ok(Started::Started), "start {part}");
        id
    }

    async fn inspect(&self, id: &ContainerId) -> Container {
        match self.engine.inspect(id.as_str()).await {
            Ok(Some(container)) => container,
            other => panic!("inspect: {other:?}"),
        }
    }

    /// Waits for the end of the process.
    async fn exit(&self, id: &ContainerId) -> Exit {
        loop {
            if let ContainerState::Exited(exit) = self.inspect(id).await.state {
                return exit;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn clean(&self) -> Result<(), crate::EngineError> {
        for container in self.engine.list(&self.labels()).await? {
            self.engine.remove(&container.id).await?;
        }
        Ok(())
    }
}
