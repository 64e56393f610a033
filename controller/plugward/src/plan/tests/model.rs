//! A model of the world that carries out plans, and properties of all plans that it can be brought into.

use std::iter::repeat_n;
use std::time::Duration;

use plugward_api::RestartReason;
use plugward_api::image::PullPolicy;
use plugward_api::instance::UpdateStrategy;
use plugward_engine::ContainerState;
use proptest::prelude::*;

use super::scene::{Scene, at, exited, running, sighting};
use crate::names::SlotName;
use crate::plan::{
    Activation, Before, ImageSight, Plan, PullSight, ServiceSight, SessionSight, Step, TrialFault,
    TrialSight, Which, plan,
};
use crate::slot::{End, Start};

/// What may happen between two looks.
#[derive(Debug, Clone)]
enum Happening {
    /// The container of the current start ends.
    Ends { code: i64, after: i64 },
    /// It is removed from outside.
    Removed,
    /// The conversation becomes ready.
    Ready,
    /// The conversation fails.
    Fails(RestartReason),
    /// The record is edited.
    Edited,
    /// Somebody asks for a new container.
    Renewed,
    /// The record names the other engine.
    Moved,
    /// The image goes or comes.
    Image(bool),
    /// The record says whether it may be pulled.
    Policy(PullPolicy),
    /// A pull that is under way ends, well or not.
    PullEnds(bool),
    /// The turn to replace comes or goes.
    Turn(bool),
    /// The controller starts anew: conversations are gone.
    Restarted,
    /// The last call of a container that is withdrawn ends.
    Drained,
    /// The outgoing container ends.
    OutgoingEnds,
    /// The record says how to replace.
    Strategy(UpdateStrategy),
    /// The record says to run on demand, and requests wait or do not.
    OnDemand { needed: bool },
    /// The record says to run at all times.
    Eager,
    /// What was tried is not known any more, and the next trial goes well or not.
    Untried { well: bool },
    /// The plan is cut off after this many steps.
    CutOff(usize),
    /// Time passes.
    Later(i64),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        1 => (prop_oneof![Just(0i64), Just(1), Just(137)], 0i64..30)
            .prop_map(|(code, after)| Happening::Ends { code, after }),
        1 => Just(Happening::Removed),
        3 => Just(Happening::Ready),
        1 => prop_oneof![
            Just(RestartReason::HandshakeFailed),
            Just(RestartReason::Unhealthy),
            Just(RestartReason::NotAdoptable)
        ]
        .prop_map(Happening::Fails),
        1 => Just(Happening::Edited),
        1 => Just(Happening::Renewed),
        1 => Just(Happening::Moved),
        1 => any::<bool>().prop_map(Happening::Image),
        1 => prop_oneof![Just(PullPolicy::Never), Just(PullPolicy::IfNotPresent), Just(PullPolicy::Always)]
            .prop_map(Happening::Policy),
        2 => any::<bool>().prop_map(Happening::PullEnds),
        1 => any::<bool>().prop_map(Happening::Turn),
        1 => Just(Happening::Restarted),
        3 => Just(Happening::Drained),
        1 => Just(Happening::OutgoingEnds),
        1 => prop_oneof![Just(UpdateStrategy::Surge), Just(UpdateStrategy::Recreate)]
            .prop_map(Happening::Strategy),
        1 => any::<bool>().prop_map(|needed| Happening::OnDemand { needed }),
        1 => Just(Happening::Eager),
        1 => any::<bool>().prop_map(|well| Happening::Untried { well }),
        1 => (0usize..8).prop_map(Happening::CutOff),
        1 => (1i64..700).prop_map(Happening::Later),
    ];
    proptest::collection::vec(one, 0..40)
}

struct World {
    scene: Scene,
    edits: u32,
    containers_made: u32,
    cut_off: Option<usize>,
    trial_fails: bool,
}

impl World {
    fn new() -> Self {
        let mut scene = Scene::new();
        scene.situation.may_replace = true;
        Self { scene, edits: 0, containers_made: 0, cut_off: None, trial_fails: false }
    }

    fn happen(&mut self, happening: &Happening) {
        let now = self.scene.situation.now;
        let name = self.current().map(|start| start.container.clone());
        let outgoing = self.scene.stored().outgoing.as_ref().map(|start| start.container.clone());
        let sight = self.scene.sight();
        let leaving =
            sight.containers.iter().position(|container| Some(&container.name) == outgoing.as_ref());
        let container = sight.containers.iter_mut().find(|container| Some(&container.name) == name.as_ref());
        match (happening, container) {
            (Happening::Ends { code, after }, Some(container)) if container.runs() => {
                container.state = exited(*code, *after);
                if let ContainerState::Exited(exit) = &mut container.state {
                    exit.finished_at = now;
                }
                container.session = SessionSight::None;
                container.service = ServiceSight::None;
            }
            (Happening::Removed, Some(_)) => {
                sight.containers.retain(|seen| Some(&seen.name) != name.as_ref());
            }
            (Happening::Ready, Some(container)) if container.session == SessionSight::Connecting => {
                container.session = SessionSight::Ready { handshake: "line".into(), since: now };
                container.service = ServiceSight::Serving;
                if let Some(leaving) = leaving
                    && sight.containers[leaving].service == ServiceSight::Serving
                {
                    sight.containers[leaving].service = ServiceSight::Draining;
                }
            }
            (Happening::Fails(reason), Some(container)) if container.session == SessionSight::Connecting => {
                container.session =
                    SessionSight::Failed { reason: *reason, message: "words".into(), since: now };
            }
            (Happening::Edited, _) => {
                self.edits += 1;
                let hash = format!("v1-{:04}", self.edits);
                let target = self.scene.target();
                target.hash = crate::recipe::SpecHash::from_label(hash);
                target.edit.instance += 1;
            }
            (Happening::Renewed, _) => self.scene.target().edit.renewal += 1,
            (Happening::Moved, _) => {
                self.scene.target().engine = Scene::new().moved().target().engine.clone();
            }
            (Happening::Image(there), _) => {
                self.scene.target().image =
                    if *there { ImageSight::Found { id: "sha256:feed".into() } } else { ImageSight::Missing };
            }
            (Happening::Policy(policy), _) => {
                std::sync::Arc::make_mut(&mut self.scene.target().recipe).pull_policy = *policy;
            }
            (Happening::PullEnds(well), _) => self.end_pull(*well),
            (Happening::Turn(may), _) => self.scene.situation.may_replace = *may,
            (Happening::Restarted, _) => {
                for container in &mut sight.containers {
                    container.session = SessionSight::None;
                    container.service = ServiceSight::None;
                }
            }
            (Happening::Drained, _) => {
                for container in &mut sight.containers {
                    if container.service == ServiceSight::Draining {
                        container.service = ServiceSight::Drained;
                    }
                }
            }
            (Happening::OutgoingEnds, _) => {
                if let Some(leaving) = leaving {
                    let container = &mut sight.containers[leaving];
                    container.state = exited(137, 0);
                    if let ContainerState::Exited(exit) = &mut container.state {
                        exit.finished_at = now;
                    }
                    container.session = SessionSight::None;
                    container.service = ServiceSight::None;
                }
            }
            (Happening::Strategy(strategy), _) => self.scene.target().strategy = *strategy,
            (Happening::OnDemand { needed }, _) => {
                self.scene.target().activation = Activation::OnDemand {
                    needed: *needed,
                    idle_since: now,
                    idle_timeout: Duration::from_secs(60),
                };
            }
            (Happening::Untried { well }, _) => {
                self.trial_fails = !well;
                self.scene.target().trial = TrialSight::Due;
            }
            (Happening::Eager, _) => self.scene.target().activation = Activation::Eager,
            (Happening::CutOff(steps), _) => self.cut_off = Some(*steps),
            (Happening::Later(seconds), _) => {
                self.scene.situation.now += jiff::SignedDuration::from_secs(*seconds);
            }
            _ => {}
        }
    }

    /// The pull that is under way, if one is, ends.
    fn end_pull(&mut self, well: bool) {
        let now = self.scene.situation.now;
        let target = self.scene.target();
        if !matches!(target.pull, PullSight::Running { .. }) {
            return;
        }
        if well {
            target.image = ImageSight::Found { id: "sha256:feed".into() };
            target.pull = PullSight::Done { at: now };
        } else {
            let retry_at = now + jiff::SignedDuration::from_secs(20);
            target.pull = PullSight::Failed { message: "words".into(), retry_at };
        }
    }

    fn current(&mut self) -> Option<Start> {
        self.scene.stored().current.clone()
    }

    /// Carries out a plan, or its first steps.
    fn carry_out(&mut self, plan: &Plan) {
        let steps = self.cut_off.take().unwrap_or(usize::MAX);
        for step in plan.steps.iter().take(steps) {
            self.step(step);
            self.check();
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Prepare { start, .. } => {
                let made = self.scene.start(start.number, start.hash.as_str(), &start.engine.id);
                assert_eq!(made.container, start.container, "the name follows from what is stored");
                let fallback = matches!(start.before, Before::FellBack(_));
                let stored = self.scene.stored();
                let before = stored.current.replace(Start { fallback, renewal: start.renewal, ..made });
                stored.starts = start.number;
                stored.failures = start.failures;
                match &start.before {
                    Before::Replaced => {
                        stored.updating = true;
                        stored.outgoing = stored.outgoing.take().or(before.map(Box::new));
                    }
                    Before::Ended(ended) => *stored.restarts.entry(ended.reason).or_default() += 1,
                    Before::EndedEarlier(reason) => *stored.restarts.entry(*reason).or_default() += 1,
                    Before::FellBack(ended) => {
                        *stored.restarts.entry(ended.reason).or_default() += 1;
                        stored.updating = false;
                        stored.outgoing = None;
                    }
                    Before::Nothing => {}
                }
            }
            Step::Pull { .. } => {
                let since = self.scene.situation.now;
                self.scene.target().pull = PullSight::Running { since };
            }
            Step::Try { .. } => {
                let retry_at = self.scene.situation.now + jiff::SignedDuration::from_secs(30);
                self.scene.target().trial = if self.trial_fails {
                    TrialSight::Failed { fault: TrialFault::Unseen("words".into()), retry_at }
                } else {
                    TrialSight::Passed
                };
            }
            Step::Create { .. } => {
                let start = self.current().expect("a start is stored before it is made");
                // One that is fallen back to has run: a trial is of what is wanted instead.
                let may_run = start.fallback || self.scene.target().trial == TrialSight::Passed;
                assert!(may_run, "what cannot run is not made");
                if !self.scene.sight().containers.iter().any(|container| container.name == start.container) {
                    self.containers_made += 1;
                    let id = format!("c{}", self.containers_made);
                    let made = sighting(&start, &id, ContainerState::Created);
                    self.scene.sight().containers.push(made);
                }
            }
            Step::Start { .. } => {
                let start = self.current().unwrap();
                self.scene.stored().current.as_mut().unwrap().created = true;
                self.container(&start.container).state = running();
            }
            Step::Converse { which, .. } => {
                let stored = self.scene.stored();
                let start = match which {
                    Which::Current => stored.current.clone().unwrap(),
                    Which::Outgoing => *stored.outgoing.clone().unwrap(),
                };
                self.container(&start.container).session = SessionSight::Connecting;
            }
            Step::RecordReady { since, .. } => {
                let stored = self.scene.stored();
                stored.updating = false;
                stored.current.as_mut().unwrap().ready_at = Some(*since);
            }
            Step::RecordEnd { end, retry_at, edit, .. } => {
                let now = self.scene.situation.now;
                let stored = self.scene.stored();
                stored.failures = end.failures;
                stored.current.as_mut().unwrap().end =
                    Some(End { reason: end.reason, at: now, retry_at: *retry_at, edit: *edit });
            }
            Step::Promote { .. } => unreachable!("there are no spares"),
            Step::Withdraw { container } => {
                self.container(&container.name).service = ServiceSight::Draining;
            }
            Step::Sleep { .. } => {
                let stored = self.scene.stored();
                (stored.current, stored.outgoing, stored.updating) = (None, None, false);
            }
            Step::ForgetFailures { .. } => self.scene.stored().failures = 0,
            Step::Halt { container } => {
                let halted = self.container(&container.name);
                assert!(
                    matches!(halted.service, ServiceSight::None | ServiceSight::Drained),
                    "calls may be under way in {}",
                    container.name
                );
                halted.state = exited(0, 0);
            }
            Step::Remove { container, .. } => {
                self.scene.sight().containers.retain(|seen| seen.id != container.id);
            }
            Step::DropOutgoing { .. } => self.scene.stored().outgoing = None,
            Step::Forget { .. } => {
                self.scene.situation.slots.remove(&SlotName::Shared);
            }
        }
    }

    fn container(&mut self, name: &str) -> &mut crate::plan::Sighting {
        self.scene.sight().containers.iter_mut().find(|container| container.name == name).unwrap()
    }

    /// Two containers of the slot run only while one follows the other.
    fn check(&mut self) {
        if self.scene.situation.slots.is_empty() {
            return;
        }
        let following = self.scene.stored().outgoing.is_some();
        let running: Vec<_> =
            self.scene.sight().containers.iter().filter(|container| container.runs()).collect();
        assert!(running.len() <= 1 + usize::from(following), "{running:?}");
    }

    /// Carries out plans until there is nothing to do.
    fn settle(&mut self) {
        for _ in 0..10 {
            let next = plan(&self.scene.situation);
            if next.steps.is_empty() {
                return;
            }
            self.carry_out(&next);
        }
        panic!("plans without end:\n{}", plan(&self.scene.situation));
    }
}

proptest! {
    #[test]
    fn whatever_happens_plans_come_to_an_end_and_keep_one_container(happenings in happenings()) {
        let mut world = World::new();
        for happening in &happenings {
            world.happen(happening);
            world.settle();
        }
    }

    #[test]
    fn whatever_happened_a_wanted_slot_ends_up_ready(happenings in happenings()) {
        let mut world = World::new();
        for happening in &happenings {
            world.happen(happening);
            world.settle();
        }
        world.cut_off = None;
        world.happen(&Happening::Eager);
        world.happen(&Happening::Untried { well: true });
        // An end that was under way backs off once more at the most, and one that had fallen back is replaced again.
        let rounds = [Happening::Image(true), Happening::Turn(true)].into_iter().chain(repeat_n(Happening::Later(1000), 4));
        for happening in rounds {
            let pulled = Happening::PullEnds(true);
            for happening in [happening, pulled, Happening::Drained, Happening::Ready, Happening::Drained] {
                world.happen(&happening);
                world.settle();
            }
        }
        let (wanted, renewal) = (world.scene.target().hash.clone(), world.scene.target().edit.renewal);
        let sight = world.scene.sight().clone();
        let start = sight.stored.current.as_ref().unwrap();
        prop_assert!(start.ready_at.is_some() && start.end.is_none());
        prop_assert_eq!(&start.hash, &wanted);
        prop_assert_eq!(start.renewal, renewal);
        prop_assert_eq!(sight.containers.len(), 1);
        prop_assert!(sight.stored.outgoing.is_none());
    }

    #[test]
    fn an_unwanted_slot_is_forgotten_whatever_happened(happenings in happenings()) {
        let mut world = World::new();
        for happening in &happenings {
            world.happen(happening);
            world.settle();
        }
        world.cut_off = None;
        world.scene.situation.targets.clear();
        let withdrawal = plan(&world.scene.situation);
        world.carry_out(&withdrawal);
        if !world.scene.situation.slots.is_empty() {
            world.happen(&Happening::Drained);
            let last = plan(&world.scene.situation);
            world.carry_out(&last);
        }
        prop_assert!(world.scene.situation.slots.is_empty());
    }
}

#[test]
fn the_same_situation_gives_the_same_plan() {
    let scene = Scene::new().ready().container(exited(1, 11));
    assert_eq!(plan(&scene.situation).to_string(), plan(&scene.situation).to_string());
    assert!(at(1) < at(2));
}
