mod spares;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use litemap::LiteMap;
use plugward_relay::grpc::Status;
use proptest::prelude::*;

use super::*;
use crate::gateway::multiplex::HostId;
use crate::gateway::priming::{KeptCall, Role, Telling};
use crate::slot::EngineRef;

const INITIALIZE: &str = "/t.P/Initialize";
const CLOSE: &str = "/t.P/Close";

fn name(text: &str) -> MountName {
    text.parse().unwrap()
}

fn rules() -> PrimingRules {
    let priming = plugward_api::instance::Priming {
        method: INITIALIZE.parse().unwrap(),
        until: Some(CLOSE.parse().unwrap()),
    };
    PrimingRules::of(plugward_api::PluginType::Custom, &[priming])
}

fn place(start: u64) -> Place {
    Place {
        engine: EngineRef { id: "engine".into(), host: None },
        id: plugward_engine::ContainerId::new(format!("container-{start}")),
        name: format!("plugward-db-shared-{start}"),
    }
}

fn call(message: u8) -> KeptCall {
    KeptCall::of(Vec::new(), Some(&[0, 0, 0, 0, 1, message])).unwrap()
}

fn message(call: &KeptCall) -> u8 {
    call.message()[0]
}

fn seats(mounts: &[&str]) -> Seats {
    recalling(mounts, None)
}

fn recalling(mounts: &[&str], start: Option<u64>) -> Seats {
    let mut seats = Seats::default();
    let mounts = mounts.iter().map(|mount| (name(mount), SlotName::Shared)).collect();
    seats.assign(&mounts, &rules(), |_| start);
    seats
}

fn up(seats: &mut Seats, start: u64) -> Serial {
    seats.up(&SlotName::Shared, start, &place(start), true, 100 + start)
}

/// A host initialises a mount's plugin.
fn prime(seats: &mut Seats, serial: Serial, mount: &str, message: u8) {
    seats.priming_begun(serial, &name(mount)).unwrap();
    let done = Primed::Done(Ok(call(message)));
    seats.priming_ended(serial, &name(mount), &HostId::NONE, INITIALIZE, done).unwrap();
}

/// A container is told what it is to be told, and takes it or not.
fn tell(
    seats: &mut Seats,
    serial: Serial,
    mount: &str,
    result: &Result<(), Status>,
    now: Timestamp,
) -> usize {
    let Work::Tell(tellings) = seats.work(serial, &name(mount), now) else { return 0 };
    for telling in &tellings {
        seats.told(serial, &name(mount), telling, result.clone(), now, |_| Duration::from_secs(1));
    }
    tellings.len()
}

fn refused() -> Result<(), Status> {
    Err(Status::unavailable("no database"))
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[test]
fn the_first_container_is_seated_at_once_and_a_later_one_follows() {
    let mut seats = seats(&["a"]);
    assert_eq!(seats.route(&name("a")), Some(Route::Empty));
    let first = up(&mut seats, 1);
    assert_eq!(seats.route(&name("a")), Some(Route::To(first)));
    seats.line_begun(first);
    let second = up(&mut seats, 2);
    assert_eq!(seats.route(&name("a")), Some(Route::To(second)));
    assert_eq!(seats.take_orders(), [Order::Drain(first)]);
    assert_eq!(seats.sight(&place(1)), ServiceSight::Draining);
    assert_eq!((seats.mounts_served(&place(1)), seats.mounts_served(&place(2))), (0, 1));
    seats.line_ended(first);
    assert_eq!(seats.sight(&place(1)), ServiceSight::Drained);
    seats.down(&place(1));
    assert_eq!(seats.sight(&place(1)), ServiceSight::None);
    assert_eq!(up(&mut seats, 2), second, "told again");
    assert_eq!(seats.take_orders(), []);
}

#[test]
fn a_container_follows_when_it_was_told_of_all_mounts() {
    let mut seats = seats(&["a", "b"]);
    let first = up(&mut seats, 1);
    prime(&mut seats, first, "a", 1);
    prime(&mut seats, first, "b", 2);
    let second = up(&mut seats, 2);
    assert_eq!(seats.take_orders(), [Order::Tell(second, name("a")), Order::Tell(second, name("b"))]);
    assert_eq!(tell(&mut seats, second, "a", &Ok(()), NOW), 1);
    assert_eq!(seats.route(&name("a")), Some(Route::To(first)), "one is missing");
    assert_eq!(seats.sight(&place(2)), ServiceSight::Priming);
    tell(&mut seats, second, "b", &refused(), NOW);
    assert!(matches!(seats.sight(&place(2)), ServiceSight::PrimingFailed { .. }));
    assert_eq!(seats.sight(&place(1)), ServiceSight::Serving);
    // What its host says meanwhile is told, too.
    prime(&mut seats, first, "a", 3);
    tell(&mut seats, second, "b", &Ok(()), NOW + Duration::from_secs(1));
    assert_eq!(seats.route(&name("b")), Some(Route::To(first)));
    let Work::Tell(tellings) = seats.work(second, &name("a"), NOW) else { panic!("nothing to tell") };
    assert_eq!(message(&tellings[0].calls[0].1), 3);
    seats.told(second, &name("a"), &tellings[0], Ok(()), NOW, |_| Duration::ZERO);
    assert_eq!(seats.route(&name("a")), Some(Route::To(second)));
    assert_eq!(seats.take_orders(), [Order::Drain(first)]);
}

#[test]
fn on_an_empty_seat_a_mount_does_not_wait_for_another() {
    let mut seats = seats(&["a", "b"]);
    let first = up(&mut seats, 1);
    prime(&mut seats, first, "a", 1);
    prime(&mut seats, first, "b", 2);
    seats.down(&place(1));
    assert_eq!(seats.route(&name("a")), Some(Route::Empty));
    let second = up(&mut seats, 2);
    assert_eq!(seats.route(&name("a")), Some(Route::Telling));
    tell(&mut seats, second, "a", &Ok(()), NOW);
    tell(&mut seats, second, "b", &refused(), NOW);
    assert_eq!(seats.route(&name("a")), Some(Route::To(second)));
    assert!(matches!(seats.route(&name("b")), Some(Route::Failing(failure)) if failure.attempts == 1));
    assert!(
        matches!(seats.work(second, &name("b"), NOW), Work::Until(at) if at == NOW + Duration::from_secs(1))
    );
    assert_eq!(seats.mounts_served(&place(2)), 1);
    // Its host makes the call itself.
    prime(&mut seats, second, "b", 3);
    assert_eq!(seats.route(&name("b")), Some(Route::To(second)));
    assert!(matches!(seats.work(second, &name("b"), NOW), Work::Done));
    assert_eq!(seats.sight(&place(2)), ServiceSight::Serving);
}

#[test]
fn a_container_that_lost_its_conversation_goes_on_as_it_was() {
    let mut seats = seats(&["a"]);
    let first = up(&mut seats, 1);
    prime(&mut seats, first, "a", 1);
    seats.down(&place(1));
    assert_eq!(seats.sight(&place(1)), ServiceSight::None);
    assert_eq!(up(&mut seats, 1), first);
    assert_eq!(seats.route(&name("a")), Some(Route::To(first)));
    assert_eq!(seats.take_orders(), []);
}

#[test]
fn a_priming_call_under_way_keeps_the_seat() {
    let mut seats = seats(&["a"]);
    let first = up(&mut seats, 1);
    seats.priming_begun(first, &name("a"));
    let second = up(&mut seats, 2);
    assert_eq!(seats.route(&name("a")), Some(Route::To(first)));
    seats.priming_ended(first, &name("a"), &HostId::NONE, INITIALIZE, Primed::Done(Ok(call(1)))).unwrap();
    assert_eq!(seats.route(&name("a")), Some(Route::To(first)));
    tell(&mut seats, second, "a", &Ok(()), NOW);
    assert_eq!(seats.route(&name("a")), Some(Route::To(second)));
}

#[test]
fn nothing_is_told_while_a_host_tells_it_itself() {
    let mut seats = seats(&["a"]);
    let first = up(&mut seats, 1);
    prime(&mut seats, first, "a", 1);
    seats.withdraw(&place(1));
    let second = up(&mut seats, 2);
    seats.priming_begun(second, &name("a"));
    assert!(matches!(seats.work(second, &name("a"), NOW), Work::Change));
    seats.priming_ended(second, &name("a"), &HostId::NONE, INITIALIZE, Primed::Failed).unwrap();
    assert!(matches!(seats.work(second, &name("a"), NOW), Work::Tell(_)));
}

#[test]
fn what_a_host_tells_beside_an_older_call_is_told_once_more() {
    let mut seats = seats(&["a"]);
    let first = up(&mut seats, 1);
    prime(&mut seats, first, "a", 1);
    seats.down(&place(1));
    let second = up(&mut seats, 2);
    let Work::Tell(older) = seats.work(second, &name("a"), NOW) else { panic!("nothing to tell") };
    seats.priming_begun(second, &name("a"));
    seats.told(second, &name("a"), &older[0], Ok(()), NOW, |_| Duration::ZERO);
    seats.priming_ended(second, &name("a"), &HostId::NONE, INITIALIZE, Primed::Done(Ok(call(2)))).unwrap();
    assert_eq!(
        seats.admits(second, &name("a"), &HostId::NONE, Role::Work),
        Err(Denial::Telling),
        "which of the two came last?"
    );
    let Work::Tell(newer) = seats.work(second, &name("a"), NOW) else { panic!("nothing to tell") };
    assert_eq!(message(&newer[0].calls[0].1), 2);
    seats.told(second, &name("a"), &newer[0], Ok(()), NOW, |_| Duration::ZERO);
    assert_eq!(seats.admits(second, &name("a"), &HostId::NONE, Role::Work), Ok(()));
}

#[test]
fn what_a_host_tells_is_nothing_to_the_other_mounts_of_its_container() {
    let mut seats = seats(&["a", "b"]);
    let first = up(&mut seats, 1);
    prime(&mut seats, first, "a", 1);
    seats.down(&place(1));
    let second = up(&mut seats, 2);
    seats.priming_begun(second, &name("b"));
    tell(&mut seats, second, "a", &Ok(()), NOW);
    seats.priming_ended(second, &name("b"), &HostId::NONE, INITIALIZE, Primed::Done(Ok(call(3)))).unwrap();
    prime(&mut seats, second, "a", 2);
    assert_eq!(seats.admits(second, &name("a"), &HostId::NONE, Role::Work), Ok(()));
    assert_eq!(seats.admits(second, &name("b"), &HostId::NONE, Role::Work), Ok(()));
}

#[test]
fn what_is_not_known_lets_only_those_calls_pass_that_a_plugin_answers_in_any_state() {
    let mut seats = recalling(&["a"], Some(1));
    let adopted = up(&mut seats, 1);
    assert_eq!(seats.admits(adopted, &name("a"), &HostId::NONE, Role::Work), Ok(()));
    assert_eq!(seats.admits_all(&name("a")), adopted);
    let second = up(&mut seats, 2);
    assert_eq!(seats.route(&name("a")), Some(Route::To(adopted)), "it would serve worse");
    assert_eq!(seats.sight(&place(2)), ServiceSight::PrimingUnknown { mounts: vec![name("a")] });
    seats.down(&place(1));
    assert_eq!(seats.route(&name("a")), Some(Route::To(second)));
    assert_eq!(seats.admits_all(&name("a")), 0);
    assert_eq!(seats.admits(second, &name("a"), &HostId::NONE, Role::Work), Err(Denial::Unknown));
    for role in [Role::Primes, Role::Prelude, Role::Ends] {
        assert_eq!(seats.admits(second, &name("a"), &HostId::NONE, role), Ok(()));
    }
    assert!(!seats.is_unprimed(&name("a")));
    prime(&mut seats, second, "a", 1);
    assert_eq!(seats.admits(second, &name("a"), &HostId::NONE, Role::Work), Ok(()));
    assert_eq!(seats.admits_all(&name("a")), second);
}

#[test]
fn what_was_told_beside_a_hosts_call_counts_even_if_it_was_undone_meanwhile() {
    let mut seats = seats(&["a"]);
    let (a, none) = (name("a"), HostId::NONE);
    let first = up(&mut seats, 1);
    prime(&mut seats, first, "a", 0);
    let second = up(&mut seats, 2);
    let Work::Tell(tellings) = seats.work(second, &a, NOW) else { panic!("nothing to tell") };
    seats.priming_begun(second, &a);
    seats.told(second, &a, &tellings[0], Ok(()), NOW, |_| Duration::from_secs(1));
    // A host that still has a connection to the first undoes there what the second was just told.
    seats.priming_begun(first, &a);
    seats.priming_ended(first, &a, &none, CLOSE, Primed::Undone).unwrap();
    seats.priming_ended(second, &a, &none, INITIALIZE, Primed::Done(Ok(call(1)))).unwrap();
    assert_eq!(
        seats.admits(second, &a, &none, Role::Work),
        Err(Denial::Telling),
        "which came last, nobody knows"
    );
}

#[test]
fn a_container_that_is_left_sends_those_elsewhere_whom_it_was_not_told_of() {
    let mut seats = seats(&["a"]);
    let (a, one, two) = (name("a"), HostId::named("one"), HostId::named("two"));
    let first = up(&mut seats, 1);
    seats.priming_begun(first, &a);
    seats.priming_ended(first, &a, &one, INITIALIZE, Primed::Done(Ok(call(1)))).unwrap();
    let second = up(&mut seats, 2);
    tell(&mut seats, second, "a", &Ok(()), NOW);
    assert_eq!(seats.seated(&a), Some(second));
    seats.priming_begun(second, &a);
    seats.priming_ended(second, &a, &two, INITIALIZE, Primed::Done(Ok(call(2)))).unwrap();
    assert_eq!(seats.admits(first, &a, &one, Role::Work), Ok(()), "it is as good as before for those");
    assert_eq!(seats.admits(first, &a, &two, Role::Work), Err(Denial::Leaving));
}

#[test]
fn the_failure_of_one_user_is_not_the_others() {
    let mut seats = seats(&["a"]);
    let (one, two) = (HostId::named("one"), HostId::named("two"));
    let first = up(&mut seats, 1);
    for host in [&one, &two] {
        seats.priming_begun(first, &name("a"));
        seats.priming_ended(first, &name("a"), host, INITIALIZE, Primed::Done(Ok(call(1)))).unwrap();
    }
    seats.down(&place(1));
    let second = up(&mut seats, 2);
    let Work::Tell(tellings) = seats.work(second, &name("a"), NOW) else { panic!("nothing to tell") };
    let wait = |_| Duration::from_secs(1);
    seats.told(second, &name("a"), &tellings[0], refused(), NOW, wait);
    assert_eq!(seats.route(&name("a")), Some(Route::Telling));
    assert_eq!(seats.told(second, &name("a"), &tellings[1], Ok(()), NOW, wait), None);
    assert_eq!(seats.route(&name("a")), Some(Route::To(second)));
    assert!(matches!(
        seats.admits(second, &name("a"), &tellings[0].host, Role::Work),
        Err(Denial::Failing(_))
    ));
    assert_eq!(seats.admits(second, &name("a"), &tellings[1].host, Role::Work), Ok(()));
    assert_eq!(seats.admits_all(&name("a")), 0);
}

#[test]
fn a_mount_that_moves_is_told_where_it_goes_and_no_more_where_it_was() {
    let mut seats = seats(&["a", "b"]);
    let shared = up(&mut seats, 1);
    prime(&mut seats, shared, "a", 1);
    let own = SlotName::Mount(name("a"));
    let follower = seats.up(&own, 1, &place(50), true, 50);
    assert_eq!(seats.route(&name("a")), Some(Route::To(shared)));
    let mounts = LiteMap::from_iter([(name("a"), own), (name("b"), SlotName::Shared)]);
    seats.assign(&mounts, &rules(), |_| None);
    assert_eq!(seats.route(&name("a")), Some(Route::Telling));
    prime(&mut seats, shared, "a", 2);
    assert!(matches!(seats.work(shared, &name("a"), NOW), Work::Done));
    tell(&mut seats, follower, "a", &Ok(()), NOW);
    assert_eq!(seats.route(&name("a")), Some(Route::To(follower)));
    assert_eq!(seats.route(&name("b")), Some(Route::To(shared)));
}

#[test]
fn a_container_that_does_not_tell_mounts_apart_serves_one_alone() {
    let mut seats = seats(&["a"]);
    let shared = seats.up(&SlotName::Shared, 1, &place(1), false, 101);
    prime(&mut seats, shared, "a", 1);
    assert_eq!(seats.route(&name("a")), Some(Route::To(shared)));

    let both = [name("a"), name("b")].map(|mount| (mount, SlotName::Shared));
    seats.assign(&both.iter().cloned().collect(), &rules(), |_| None);
    assert_eq!(seats.route(&name("a")), Some(Route::Empty));
    assert_eq!(seats.route(&name("b")), Some(Route::Empty));
    let next = seats.up(&SlotName::Shared, 2, &place(2), false, 102);
    assert!(
        !seats.take_orders().iter().any(|order| matches!(order, Order::Tell(..))),
        "it would be told both"
    );

    seats.assign(&both.into_iter().take(1).collect(), &rules(), |_| None);
    assert_eq!(seats.take_orders(), [Order::Tell(next, name("a"))]);
    tell(&mut seats, next, "a", &Ok(()), NOW);
    assert_eq!(seats.route(&name("a")), Some(Route::To(next)));
}

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Up(u64),
    Down(u64),
    Withdraw(u64),
    /// A host with a connection to the seat, or to one that it still has, begins a priming call there.
    Begin {
        start: u64,
        mount: usize,
        user: usize,
    },
    End {
        done: bool,
        message: u8,
    },
    Close {
        start: u64,
        mount: usize,
        user: usize,
    },
    Tell {
        start: u64,
        mount: usize,
        takes: bool,
    },
    /// A container is told; what it says of it is heard later.
    Ask {
        start: u64,
        mount: usize,
    },
    Hear {
        takes: bool,
    },
    Time(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let start = 1u64..5;
    prop_oneof![
        3 => start.clone().prop_map(Step::Up),
        2 => start.clone().prop_map(Step::Down),
        1 => start.clone().prop_map(Step::Withdraw),
        4 => (start.clone(), 0usize..2, 0usize..2).prop_map(|(start, mount, user)| Step::Begin { start, mount, user }),
        4 => (any::<bool>(), any::<u8>()).prop_map(|(done, message)| Step::End { done, message }),
        1 => (start.clone(), 0usize..2, 0usize..2).prop_map(|(start, mount, user)| Step::Close { start, mount, user }),
        8 => (start, 0usize..2, prop::bool::weighted(0.8)).prop_map(|(start, mount, takes)| Step::Tell { start, mount, takes }),
        3 => (1u64..5, 0usize..2).prop_map(|(start, mount)| Step::Ask { start, mount }),
        3 => any::<bool>().prop_map(|takes| Step::Hear { takes }),
        1 => (1u64..3).prop_map(Step::Time),
    ]
}

const MOUNTS: [&str; 2] = ["a", "b"];

/// What plugins were told, and what hosts were told that they did.
#[derive(Default)]
struct Model {
    /// By container, mount and user.
    plugins: BTreeMap<(Serial, usize, usize), u8>,
    /// By mount and user.
    hosts: BTreeMap<(usize, usize), u8>,
    /// Begun and not ended, with what the container took of the same user meanwhile.
    under_way: Vec<(Serial, usize, usize, Option<u8>)>,
    /// Told and not heard of.
    asked: Vec<(Serial, usize, Telling)>,
}

fn user(index: usize) -> HostId {
    if index == 0 { HostId::NONE } else { HostId::named("one") }
}

impl Model {
    fn step(&mut self, seats: &mut Seats, step: Step, now: &mut Timestamp) {
        let serial = |start: u64| 100 + start;
        match step {
            Step::Up(start) => {
                up(seats, start);
            }
            Step::Down(start) => seats.down(&place(start)),
            Step::Withdraw(start) => seats.withdraw(&place(start)),
            Step::Begin { start, mount, user } => {
                if seats.is_up(serial(start))
                    && seats.priming_begun(serial(start), &name(MOUNTS[mount])).is_some()
                {
                    self.under_way.push((serial(start), mount, user, None));
                }
            }
            Step::End { done, message } => {
                let Some((serial, mount, index, beside)) = self.under_way.pop() else { return };
                let primed = if done {
                    // The worst is taken of what a plugin did at the same time.
                    self.plugins.insert((serial, mount, index), beside.unwrap_or(message));
                    self.hosts.insert((mount, index), message);
                    Primed::Done(Ok(call(message)))
                } else {
                    Primed::Failed
                };
                seats.priming_ended(serial, &name(MOUNTS[mount]), &user(index), INITIALIZE, primed).unwrap();
            }
            Step::Close { start, mount, user: index } => {
                if seats.is_up(serial(start))
                    && seats.priming_begun(serial(start), &name(MOUNTS[mount])).is_some()
                {
                    self.plugins.remove(&(serial(start), mount, index));
                    self.hosts.remove(&(mount, index));
                    let (mount, user) = (name(MOUNTS[mount]), user(index));
                    seats.priming_ended(serial(start), &mount, &user, CLOSE, Primed::Undone).unwrap();
                }
            }
            Step::Tell { start, mount, takes } => {
                self.tell(seats, serial(start), mount, takes, *now);
            }
            Step::Ask { start, mount } => {
                if !self.is_asked(serial(start), mount)
                    && let Work::Tell(tellings) = seats.work(serial(start), &name(MOUNTS[mount]), *now)
                {
                    self.asked.extend(tellings.into_iter().map(|telling| (serial(start), mount, telling)));
                }
            }
            Step::Hear { takes } => {
                let Some((serial, mount, telling)) = self.asked.pop() else { return };
                self.hear(seats, (serial, mount), &telling, takes, *now);
            }
            Step::Time(seconds) => *now += Duration::from_secs(seconds),
        }
    }

    /// Whether somebody tells a container of a mount: nobody else does, then.
    fn is_asked(&self, serial: Serial, mount: usize) -> bool {
        self.asked.iter().any(|(asked, of, _)| (*asked, *of) == (serial, mount))
    }

    fn tell(&mut self, seats: &mut Seats, serial: Serial, mount: usize, takes: bool, now: Timestamp) {
        if self.is_asked(serial, mount) {
            return;
        }
        let Work::Tell(tellings) = seats.work(serial, &name(MOUNTS[mount]), now) else { return };
        for telling in tellings {
            self.hear(seats, (serial, mount), &telling, takes, now);
        }
    }

    fn hear(
        &mut self,
        seats: &mut Seats,
        (serial, mount): (Serial, usize),
        telling: &Telling,
        takes: bool,
        now: Timestamp,
    ) {
        let result = if takes { Ok(()) } else { refused() };
        if takes {
            let index = usize::from(telling.host != HostId::NONE);
            let took = message(&telling.calls[0].1);
            self.plugins.insert((serial, mount, index), took);
            for (other, of, user, beside) in &mut self.under_way {
                if (*other, *of, *user) == (serial, mount, index) {
                    *beside = Some(took);
                }
            }
        }
        seats.told(serial, &name(MOUNTS[mount]), telling, result, now, |_| Duration::from_secs(1));
    }

    /// No call goes to a plugin that does not know what its user told last.
    fn check(&self, seats: &Seats) {
        for start in 1..5 {
            for (mount, mount_name) in MOUNTS.iter().enumerate() {
                for index in 0..2 {
                    let serial = 100 + start;
                    let admitted = seats.admits(serial, &name(mount_name), &user(index), Role::Work).is_ok();
                    let Some(said) = self.hosts.get(&(mount, index)).filter(|_| admitted) else { continue };
                    assert_eq!(
                        self.plugins.get(&(serial, mount, index)),
                        Some(said),
                        "{start} {mount} {index}"
                    );
                }
            }
        }
        let serving = seats.places().iter().filter(|place| seats.mounts_served(place) > 0).count();
        assert!(serving <= 1);
        for mount in MOUNTS {
            let to = seats.admits_all(&name(mount));
            for index in 0..2 {
                assert!(to == 0 || seats.admits(to, &name(mount), &user(index), Role::Work).is_ok());
            }
        }
    }
}

proptest! {
    #[test]
    fn no_call_reaches_a_plugin_that_was_not_told_and_every_wait_ends(
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let mut seats = seats(&MOUNTS);
        let (mut model, mut now) = (Model::default(), NOW);
        for step in steps {
            model.step(&mut seats, step, &mut now);
            model.check(&seats);
        }
        // Calls end, plugins take what they are told: then each mount has somewhere to go, where there is a container.
        while !model.under_way.is_empty() {
            model.step(&mut seats, Step::End { done: false, message: 0 }, &mut now);
        }
        while !model.asked.is_empty() {
            model.step(&mut seats, Step::Hear { takes: true }, &mut now);
            model.check(&seats);
        }
        let last = up(&mut seats, 9);
        now += Duration::from_secs(10);
        for mount in 0..2 {
            model.tell(&mut seats, last, mount, true, now);
            model.check(&seats);
        }
        for mount in MOUNTS {
            prop_assert_eq!(seats.route(&name(mount)), Some(Route::To(last)));
            prop_assert_eq!(seats.admits_all(&name(mount)), last);
        }
        for start in 1..5 {
            let sight = seats.sight(&place(start));
            prop_assert!(matches!(sight, ServiceSight::None | ServiceSight::Drained), "{start}: {sight:?}");
        }
    }
}
