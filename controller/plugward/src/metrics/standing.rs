//! The series that say how instances stand: they are made of their statuses whenever they are asked for.

use std::io;

use jiff::Timestamp;
use plugward_api::{InstanceStatus, Name, Phase, SlotStatus};

use super::catalogue::{BACKOFF, FAILURES, IMAGE, MULTIPLEXED_MOUNTS, PHASE, SLOTS, SPARES, START_TIME};
use super::family::{Family, number};

/// How an instance stands, as far as series say it.
#[derive(Debug)]
pub struct Standing {
    instance: Name,
    phase: Phase,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    name: String,
    spare: bool,
    ready: bool,
    mounts: usize,
    started_at: Option<Timestamp>,
    failures: u32,
    /// In seconds.
    backoff_left: f64,
    image_id: Option<String>,
}

// === impl Standing ===

impl Standing {
    /// What is to be said of an instance's status.
    pub fn of(instance: &Name, status: &InstanceStatus, now: Timestamp) -> Self {
        let slot = |slot: &SlotStatus| Slot {
            name: slot.name.clone(),
            spare: slot.name.starts_with("spare-"),
            ready: slot.ready_at.is_some(),
            mounts: slot.mounts.len(),
            started_at: slot.started_at,
            failures: slot.failures,
            backoff_left: slot
                .backoff_until
                .map_or(0.0, |until| until.duration_since(now).as_secs_f64().max(0.0)),
            image_id: slot.image_id.clone(),
        };
        Self {
            instance: instance.clone(),
            phase: status.phase,
            slots: status.slots.iter().map(slot).collect(),
        }
    }

    fn places(&self, spare: bool) -> [(&'static str, usize); 2] {
        let those = || self.slots.iter().filter(|slot| slot.spare == spare);
        [("wanted", those().count()), ("ready", those().filter(|slot| slot.ready).count())]
    }
}

/// The number that a family has for a slot, if any.
type Value = fn(&Slot) -> Option<f64>;

/// Families of a number for each slot, where there is one.
const OF_SLOTS: [(&Family, Value); 4] = [
    (&MULTIPLEXED_MOUNTS, |slot| Some(number(slot.mounts as u64))),
    (&START_TIME, |slot| slot.started_at.map(|at| at.as_duration().as_secs_f64())),
    (&FAILURES, |slot| Some(f64::from(slot.failures))),
    (&BACKOFF, |slot| Some(slot.backoff_left)),
];

/// Writes the series of all of them.
pub(super) fn write(all: &[Standing], to: &mut Vec<u8>) -> io::Result<()> {
    PHASE.head(to)?;
    for Standing { instance, phase, .. } in all {
        for each in Phase::ALL {
            PHASE.line(to, &[instance.as_str(), each.as_str()], f64::from(u8::from(each == *phase)))?;
        }
    }
    for (family, spare) in [(&SLOTS, false), (&SPARES, true)] {
        family.head(to)?;
        for standing in all {
            for (state, count) in standing.places(spare) {
                family.line(to, &[standing.instance.as_str(), state], number(count as u64))?;
            }
        }
    }
    let each_slot = || all.iter().flat_map(|one| one.slots.iter().map(|slot| (one.instance.as_str(), slot)));
    for (family, value) in OF_SLOTS {
        family.head(to)?;
        for (instance, slot) in each_slot() {
            if let Some(value) = value(slot) {
                family.line(to, &[instance, &slot.name], value)?;
            }
        }
    }
    IMAGE.head(to)?;
    for (instance, slot) in each_slot() {
        if let Some(image_id) = &slot.image_id {
            IMAGE.line(to, &[instance, &slot.name, image_id], 1.0)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lines(slots: Vec<SlotStatus>, phase: Phase) -> Vec<String> {
        let status = InstanceStatus { phase, slots, ..InstanceStatus::default() };
        let mut text = Vec::new();
        write(&[Standing::of(&"orders".parse().unwrap(), &status, at(100))], &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let series = text.lines().filter(|line| !line.starts_with('#'));
        series
            .map(|line| line.replace("plugin_instance=\"orders\",", "").replace("plugward_plugin_", ""))
            .collect()
    }

    #[test]
    fn an_instance_is_in_one_phase() {
        let lines = lines(Vec::new(), Phase::BackingOff);
        let phases: Vec<&String> = lines.iter().filter(|line| line.starts_with("phase")).collect();
        assert_eq!(phases.len(), Phase::ALL.len());
        let is = |line: &&&String| line.ends_with(" 1");
        assert_eq!(phases.iter().filter(is).collect::<Vec<_>>(), [&"phase{phase=\"BackingOff\"} 1"]);
    }

    #[test]
    fn spares_are_counted_beside_what_serves() {
        let ready =
            |name: &str, ready_at| SlotStatus { name: name.into(), ready_at, ..SlotStatus::default() };
        let lines = lines(vec![ready("shared", Some(at(5))), ready("spare-0", None)], Phase::Ready);
        for line in [
            "slots{state=\"wanted\"} 1",
            "slots{state=\"ready\"} 1",
            "spares{state=\"wanted\"} 1",
            "spares{state=\"ready\"} 0",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line}: {lines:?}");
        }
    }

    #[test]
    fn a_back_off_is_told_as_the_time_that_is_left() {
        let slot = SlotStatus {
            name: "mount-a".into(),
            mounts: vec!["a".into()],
            failures: 3,
            started_at: Some(at(90)),
            backoff_until: Some(at(112)),
            image_id: Some("sha256:1".into()),
            ..SlotStatus::default()
        };
        let after =
            SlotStatus { name: "mount-b".into(), backoff_until: Some(at(99)), ..SlotStatus::default() };
        let lines = lines(vec![slot, after], Phase::BackingOff);
        for line in [
            "backoff_seconds{slot=\"mount-a\"} 12",
            "backoff_seconds{slot=\"mount-b\"} 0",
            "consecutive_failures{slot=\"mount-a\"} 3",
            "start_time_seconds{slot=\"mount-a\"} 90",
            "image_info{slot=\"mount-a\",image_id=\"sha256:1\"} 1",
            "multiplexed_mounts{slot=\"mount-a\"} 1",
            "multiplexed_mounts{slot=\"mount-b\"} 0",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line}: {lines:?}");
        }
        assert!(!lines.iter().any(|line| line.starts_with("start_time_seconds{slot=\"mount-b\"")));
    }
}
