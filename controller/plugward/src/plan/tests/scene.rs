//! Situations, built as prose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use plugward_api::RestartReason;
use plugward_api::image::PullPolicy;
use plugward_api::instance::UpdateStrategy;
use plugward_api::status::{LastExit, StartTimes};
use plugward_engine::{ContainerId, ContainerState, Exit};

use crate::names::{SlotName, container_name};
use crate::plan::{
    Absence, Activation, DirectorySight, EngineSight, ImageSight, PullSight, ServiceSight, SessionSight,
    Sighting, Situation, SlotSight, Target, TrialSight,
};
use crate::recipe::{
    BrokerMode, ContainerRecipe, LogRecipe, Protocol, Recipe, RestartPolicy, SecurityRecipe, SpecHash,
};
use crate::slot::{Edit, End, EngineRef, Making, Slot, Start, StoredIdentity};

/// A time of the scene: so many seconds after its beginning. It is 100 now.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

pub(super) fn running() -> ContainerState {
    ContainerState::Running { started_at: at(2), pid: 7, paused: false }
}

pub(super) fn exited(code: i64, when: i64) -> ContainerState {
    ContainerState::Exited(Exit { code, oom_killed: false, error: String::new(), finished_at: at(when) })
}

/// The engine could not start it.
pub(super) fn refused(error: &str) -> ContainerState {
    ContainerState::Exited(Exit { code: 128, oom_killed: false, error: error.into(), finished_at: at(50) })
}

pub(super) fn engine(id: &str) -> EngineRef {
    EngineRef { id: id.into(), host: None }
}

pub(super) fn recipe() -> Recipe {
    Recipe {
        container: ContainerRecipe {
            image: "example/counter:1".into(),
            image_id: None,
            command: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            mlock: false,
            protocol: Protocol::Database,
            broker: BrokerMode::default(),
            oci_runtime: "runc".into(),
            network: None,
            socket_directory: None,
            rootless: false,
            nano_cpus: None,
            memory_bytes: None,
            pids: None,
            cgroup_parent: None,
            security: SecurityRecipe::default(),
            log: LogRecipe::default(),
        },
        start_timeout: Duration::from_secs(60),
        restart: RestartPolicy {
            initial: Duration::from_millis(200),
            max: Duration::from_secs(300),
            reset_after: Duration::from_secs(600),
        },
        pull_policy: PullPolicy::Never,
        broker_is_open: false,
        labels: Vec::new(),
    }
}

/// An instance `orders` with one slot, its image on one engine.
pub(crate) struct Scene {
    pub(super) situation: Situation,
}

impl Scene {
    /// Nothing was started yet.
    pub(crate) fn new() -> Self {
        let target = Target {
            edit: Edit { instance: 1, runtime: 1, renewal: 0 },
            recipe: Arc::new(recipe()),
            hash: SpecHash::from_label("v1-aaaa"),
            engine: EngineSight::Up {
                engine: engine("ENGINE-A"),
                oci_runtimes: vec!["runc".into()],
                cgroup_driver: "cgroupfs".into(),
                memlock_limit: None,
                absence: None,
            },
            directory: DirectorySight::Usable,
            trial: TrialSight::Passed,
            image: ImageSight::Found { id: "sha256:feed".into() },
            pull: PullSight::None,
            mounts: vec!["orders".parse().unwrap()],
            strategy: UpdateStrategy::Recreate,
            activation: Activation::Eager,
        };
        Self {
            situation: Situation {
                now: at(100),
                random: 0,
                cluster: "k3x9q2ab".parse().unwrap(),
                instance: "orders".parse().unwrap(),
                targets: BTreeMap::from([(SlotName::Shared, target)]),
                slots: BTreeMap::new(),
                unseen: BTreeSet::new(),
                latest_start: 0,
                may_replace: false,
            },
        }
    }

    pub(super) fn target(&mut self) -> &mut Target {
        self.situation.targets.get_mut(&SlotName::Shared).unwrap()
    }

    pub(super) fn sight(&mut self) -> &mut SlotSight {
        self.situation.slots.entry(SlotName::Shared).or_default()
    }

    pub(super) fn stored(&mut self) -> &mut Slot {
        Arc::make_mut(&mut self.sight().stored)
    }

    fn current(&mut self) -> &mut Start {
        self.stored().current.as_mut().unwrap()
    }

    /// A start is stored, and nothing of it is known to be made.
    pub(super) fn intended(mut self) -> Self {
        let start = self.start(1, "v1-aaaa", "ENGINE-A");
        let stored = self.stored();
        stored.starts = 1;
        stored.current = Some(start);
        self
    }

    /// A container is ready since second 10.
    pub(super) fn ready(self) -> Self {
        let mut scene = self.intended().container(running());
        let start = scene.current();
        start.created = true;
        start.handshake = Some("1|1|unix|/x|grpc".into());
        start.ready_at = Some(at(10));
        scene.session(SessionSight::Ready { handshake: "1|1|unix|/x|grpc".into(), since: at(10) });
        scene.service(ServiceSight::Serving);
        scene
    }

    /// Its plugin has one connection, which all share.
    pub(super) fn sharing_its_connection(mut self) -> Self {
        let start = self.current();
        Arc::make_mut(&mut start.recipe).container.broker = BrokerMode::PreferShared;
        start.handshake = Some("1|1|unix|/x|grpc||true".into());
        self
    }

    /// The container of the current start does this.
    pub(super) fn container(mut self, state: ContainerState) -> Self {
        let start = self.current().clone();
        let sighting = sighting(&start, "c1", state);
        self.sight().containers = vec![sighting];
        self
    }

    /// The last start failed at second 90, three in a row; the next may come at `until`.
    pub(super) fn backing_off(self, until: i64) -> Self {
        let mut scene = self.intended().container(exited(1, 90));
        scene.stored().failures = 3;
        let start = scene.current();
        start.created = true;
        start.end = Some(End {
            reason: RestartReason::Exited,
            at: at(90),
            retry_at: at(until),
            edit: Edit { instance: 1, runtime: 1, renewal: 0 },
        });
        scene
    }

    /// What the container does for hosts.
    pub(super) fn service(&mut self, service: ServiceSight) {
        self.sight().containers[0].service = service;
    }

    pub(super) fn session(&mut self, session: SessionSight) {
        self.sight().containers[0].session = session;
    }

    /// The container before the current one was killed then, and nothing more is known of it.
    pub(super) fn died_last(&mut self, when: i64) {
        self.stored().last_exit = Some(LastExit {
            reason: RestartReason::Killed,
            code: Some(137),
            oom_killed: false,
            message: String::new(),
            finished_at: at(when),
            output: Vec::new(),
        });
    }

    /// Its image may be pulled.
    pub(super) fn pulls(mut self, policy: PullPolicy) -> Self {
        Arc::make_mut(&mut self.target().recipe).pull_policy = policy;
        self
    }

    pub(super) fn oci_runtimes(&mut self, names: &[&str]) {
        if let EngineSight::Up { oci_runtimes, .. } = &mut self.target().engine {
            *oci_runtimes = names.iter().map(|name| (*name).to_owned()).collect();
        }
    }

    /// The engine is rootless, and lets nobody lock more memory than this.
    pub(super) fn memlock_limit(&mut self, bytes: u64) {
        if let EngineSight::Up { memlock_limit, .. } = &mut self.target().engine {
            *memlock_limit = Some(bytes);
        }
    }

    /// The engine was away between these seconds.
    pub(super) fn absence(&mut self, from: i64, to: i64) {
        if let EngineSight::Up { absence, .. } = &mut self.target().engine {
            *absence = Some(Absence { from: at(from), to: at(to) });
        }
    }

    pub(super) fn engine_down(mut self) -> Self {
        self.target().engine = EngineSight::Down { message: "connection refused".into() };
        self.target().image = ImageSight::Unknown;
        self.situation.unseen.insert("ENGINE-A".into());
        self.sight().containers.clear();
        self
    }

    /// The record wants another container than the one that runs.
    pub(super) fn edited(mut self) -> Self {
        self.target().hash = SpecHash::from_label("v1-bbbb");
        self.target().edit.instance = 2;
        self
    }

    /// Somebody asked for a new container.
    pub(super) fn renewed(mut self) -> Self {
        self.target().edit.renewal += 1;
        self
    }

    /// An update was stored, and the controller ended before anything else.
    pub(super) fn replaced(mut self) -> Self {
        self = self.edited();
        let next = self.start(2, "v1-bbbb", "ENGINE-A");
        let stored = self.stored();
        stored.outgoing = stored.current.replace(next).map(Box::new);
        stored.starts = 2;
        stored.updating = true;
        self
    }

    /// An update replaces nothing before it serves.
    pub(super) fn surge(mut self) -> Self {
        self.target().strategy = UpdateStrategy::Surge;
        self
    }

    /// The container of the current start stands beside the outgoing one.
    pub(super) fn successor(mut self, state: ContainerState) -> Self {
        let start = self.current();
        start.created = true;
        let mut container = sighting(start, "c2", state);
        container.session = SessionSight::Connecting;
        self.sight().containers.push(container);
        self
    }

    pub(super) fn successor_session(&mut self, session: SessionSight, service: ServiceSight) {
        if service != ServiceSight::Priming {
            self.current().ready_at = Some(at(60));
            self.stored().updating = false;
        }
        let container = &mut self.sight().containers[1];
        container.session = session;
        container.service = service;
    }

    /// One spare is wanted.
    pub(super) fn spare_wanted(mut self) -> Self {
        let target = Target { mounts: Vec::new(), ..self.target().clone() };
        self.situation.targets.insert(SlotName::Spare(1), target);
        self
    }

    /// The spare is there.
    pub(super) fn spare_ready(mut self) -> Self {
        let name = "plugward-orders-spare-1-aaaaa";
        let mut start = Start { container: name.into(), ..self.start(1, "v1-aaaa", "ENGINE-A") };
        start.created = true;
        start.ready_at = Some(at(20));
        let mut container = sighting(&start, "s1", running());
        container.session = SessionSight::Ready { handshake: "1|1|unix|/x|grpc".into(), since: at(20) };
        container.service = ServiceSight::Serving;
        let stored = Slot { starts: 1, current: Some(start), ..Slot::default() };
        let sight = SlotSight { stored: Arc::new(stored), containers: vec![container] };
        self.situation.slots.insert(SlotName::Spare(1), sight);
        self
    }

    /// The spare's container.
    pub(super) fn spare(&mut self) -> &mut Sighting {
        &mut self.situation.slots.get_mut(&SlotName::Spare(1)).unwrap().containers[0]
    }

    /// The record names another engine.
    pub(super) fn moved(mut self) -> Self {
        self.target().engine = EngineSight::Up {
            engine: engine("ENGINE-B"),
            oci_runtimes: vec!["runc".into()],
            cgroup_driver: "cgroupfs".into(),
            memlock_limit: None,
            absence: None,
        };
        self
    }

    /// A container was started on the other engine.
    pub(super) fn moved_to_new(mut self, ready: bool) -> Self {
        self = self.moved();
        let mut next = self.start(2, "v1-aaaa", "ENGINE-B");
        next.created = true;
        let mut container = sighting(&next, "c2", running());
        container.session = SessionSight::Connecting;
        if ready {
            // Hosts went over to it.
            self.service(ServiceSight::Drained);
            next.ready_at = Some(at(20));
            container.session = SessionSight::Ready { handshake: "1|1|unix|/x|grpc".into(), since: at(20) };
            container.service = ServiceSight::Serving;
        }
        let sight = self.sight();
        sight.containers.push(container);
        let stored = self.stored();
        stored.outgoing = stored.current.replace(next).map(Box::new);
        stored.starts = 2;
        stored.updating = !ready;
        self
    }

    /// A container with the slot's labels that no stored start made.
    pub(super) fn stray(mut self, state: ContainerState) -> Self {
        let mut stray = sighting(&self.start(9, "v1-cccc", "ENGINE-A"), "stray", state);
        stray.name = "plugward-orders-shared-stray".into();
        self.sight().containers.push(stray);
        self
    }

    pub(crate) fn start(&self, number: u64, hash: &str, on: &str) -> Start {
        let name = container_name(
            &self.situation.cluster,
            &self.situation.instance,
            &SlotName::Shared,
            hash,
            number,
        );
        Start {
            number,
            directory: format!("/run/plugins/{name}").into(),
            container: name,
            engine: engine(on),
            recipe: recipe().into(),
            hash: SpecHash::from_label(hash),
            group: None,
            group_inside: None,
            identity: StoredIdentity::new("pem"),
            at: at(1),
            created: false,
            made: Making::default(),
            handshake: None,
            ready_at: None,
            renewal: 0,
            fallback: false,
            end: None,
            times: StartTimes::default(),
        }
    }
}

pub(super) fn sighting(start: &Start, id: &str, state: ContainerState) -> Sighting {
    Sighting {
        engine: start.engine.clone(),
        id: ContainerId::new(id),
        name: start.container.clone(),
        hash: start.hash.clone(),
        image_id: "sha256:feed".into(),
        state,
        session: SessionSight::None,
        service: ServiceSight::None,
        took_over: None,
    }
}
