use super::*;

fn condition(status: ConditionStatus, reason: &str, second: i64) -> Condition<InstanceCondition> {
    Condition {
        condition_type: InstanceCondition::Ready,
        status,
        reason: reason.to_owned().into(),
        message: "".into(),
        last_transition_time: Timestamp::from_second(second).unwrap(),
        observed_generation: 1,
    }
}

#[test]
fn the_transition_time_changes_only_with_the_status() {
    let mut conditions = Conditions::new();
    assert!(conditions.set(condition(ConditionStatus::False, "Starting", 1)));
    assert!(conditions.set(condition(ConditionStatus::False, "HandshakeFailed", 2)));
    let known = conditions.get(InstanceCondition::Ready).unwrap();
    assert_eq!(known.reason, "HandshakeFailed");
    assert_eq!(known.last_transition_time.as_second(), 1);
    assert!(conditions.set(condition(ConditionStatus::True, "Serving", 3)));
    assert_eq!(conditions.get(InstanceCondition::Ready).unwrap().last_transition_time.as_second(), 3);
}

#[test]
fn setting_what_is_known_already_changes_nothing() {
    let mut conditions = Conditions::new();
    conditions.set(condition(ConditionStatus::True, "Serving", 1));
    let before = conditions.clone();
    assert!(!conditions.set(condition(ConditionStatus::True, "Serving", 2)));
    assert_eq!(conditions, before);
}

#[test]
fn conditions_are_kept_in_the_order_of_their_types() {
    let mut conditions = Conditions::new();
    conditions.set(condition(ConditionStatus::True, "Serving", 1));
    for condition_type in [InstanceCondition::Healthy, InstanceCondition::Accepted] {
        conditions.set(Condition { condition_type, ..condition(ConditionStatus::True, "Fine", 1) });
    }
    let types: Vec<_> = conditions.iter().map(|condition| condition.condition_type.as_str()).collect();
    assert_eq!(types, ["Accepted", "Healthy", "Ready"]);
    assert!(conditions.remove(InstanceCondition::Healthy));
    assert!(!conditions.remove(InstanceCondition::Healthy));
    assert!(conditions.is_true(InstanceCondition::Ready));
    assert!(!conditions.is_true(InstanceCondition::Healthy));
}

#[test]
fn a_condition_is_written_as_kubernetes_writes_it() {
    let json = serde_json::to_value(condition(ConditionStatus::True, "Serving", 0)).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "type": "Ready",
            "status": "True",
            "reason": "Serving",
            "message": "",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
            "observedGeneration": 1,
        })
    );
}
