use serde_json::json;

use super::*;

#[test]
fn every_restart_reason_is_written_as_it_is_named_in_metrics() {
    for reason in RestartReason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
    }
    let distinct: std::collections::BTreeSet<_> = RestartReason::ALL.into_iter().collect();
    assert_eq!(distinct.len(), RestartReason::ALL.len());
}

#[test]
fn every_phase_is_written_as_it_is_named() {
    let phases = [
        Phase::Pending,
        Phase::Starting,
        Phase::Ready,
        Phase::Degraded,
        Phase::Updating,
        Phase::BackingOff,
        Phase::Idle,
        Phase::Terminating,
    ];
    for phase in phases {
        assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
    }
}

#[test]
fn a_status_reads_back_as_it_was_written() {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let mut status =
        InstanceStatus { phase: Phase::BackingOff, observed_generation: 3, ..Default::default() };
    status.conditions.set(crate::Condition {
        condition_type: InstanceCondition::Ready,
        status: crate::ConditionStatus::False,
        reason: "BackingOff".into(),
        message: "the plugin printed no handshake line".into(),
        last_transition_time: now,
        observed_generation: 3,
    });
    status.slots.push(SlotStatus {
        name: "shared".to_owned(),
        container_id: Some("0123".to_owned()),
        restarts: 2,
        restarts_by_reason: [(RestartReason::OomKilled, 2)].into(),
        mounts: vec!["orders".to_owned()],
        backoff_until: Some(now),
        last_exit: Some(LastExit {
            reason: RestartReason::OomKilled,
            code: Some(137),
            oom_killed: true,
            message: "killed for its memory".to_owned(),
            finished_at: now,
            output: vec!["panic: out of memory".to_owned()],
        }),
        start_times: StartTimes { create: Some(0.25), start: Some(0.5), handshake: None },
        ..Default::default()
    });
    status.events.push(RecordedEvent {
        event_type: EventType::Warning,
        reason: "BackOff".into(),
        message: "waiting 400ms".to_owned(),
        count: 2,
        first_seen: now,
        last_seen: now,
    });
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["slots"][0]["restartsByReason"], json!({ "oom_killed": 2 }));
    assert_eq!(json["slots"][0]["lastExit"]["oomKilled"], true);
    assert_eq!(json["slots"][0].get("containerName"), None);
    assert_eq!(serde_json::from_value::<InstanceStatus>(json).unwrap(), status);
}

#[test]
fn a_status_of_an_older_version_can_be_read() {
    assert_eq!(serde_json::from_str::<InstanceStatus>("{}").unwrap(), InstanceStatus::default());
    assert_eq!(serde_json::from_str::<RuntimeStatus>("{}").unwrap(), RuntimeStatus::default());
}
