//! Why an instance is not as it should be, and what to do next.

use serde_json::Value;

use super::format::text;
use super::records;

/// Conditions from the cause to its effects.
const ORDER: [&str; 7] =
    ["Accepted", "RuntimeAvailable", "ImageVerified", "LimitsEnforced", "Progressing", "Healthy", "Ready"];

/// The condition that is the cause of all that is wrong with an instance.
pub(super) fn cause(object: &Value) -> Option<&Value> {
    ORDER
        .iter()
        .filter_map(|name| records::condition(object, name))
        .find(|found| text(found, "/status") == "False")
}

/// The same in words: its reason and its message.
pub(super) fn cause_in_words(object: &Value) -> Option<String> {
    let condition = cause(object)?;
    Some(match text(condition, "/message") {
        "" => text(condition, "/reason").to_owned(),
        message => format!("{}: {message}", text(condition, "/reason")),
    })
}

/// What to do about an instance: the next command, or what to change. `None` where nothing is wrong, or it is on its way.
pub(super) fn next_step(object: &Value) -> Option<String> {
    let name = text(object, "/metadata/name");
    let cause = cause(object)?;
    let runtime = Some(text(object, "/spec/runtime")).filter(|name| !name.is_empty()).unwrap_or("default");
    Some(match (text(cause, "/type"), text(cause, "/reason")) {
        (_, "Starting" | "Priming" | "Pulling" | "Updating" | "WaitingForTurn" | "Terminating") => {
            return None;
        }
        ("Accepted", _) => {
            "change its manifest as the message says: it is looked at again at once".to_owned()
        }
        (_, "RuntimeNotFound") => {
            "declare that PluginRuntime, or name another; `plugward get runtimes` shows what there is"
                .to_owned()
        }
        (_, "EngineUnreachable") => format!(
            "see whether its engine runs (docker -H HOST info); `plugward describe runtime {runtime}` says why it is not reached"
        ),
        ("RuntimeAvailable", _) => {
            format!("do what the message says; `plugward describe runtime {runtime}` shows its engine")
        }
        (_, "ImageNotFound") => {
            "put the image into the engine (docker pull), or set spec.image.pullPolicy: IfNotPresent"
                .to_owned()
        }
        (_, "PullFailed") => {
            format!(
                "it is tried again by itself; `plugward describe instance {name}` says when, and why it failed"
            )
        }
        (_, "BackingOff" | "UpdateFailed") => {
            format!("`plugward logs {name} --previous` shows what it wrote before it ended")
        }
        (_, "PrimingFailed") | ("Healthy", _) => format!("`plugward logs {name}` shows what it says of that"),
        _ => format!("do what the message says; `plugward events --for instance/{name}` shows how it came"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance(conditions: &[(&str, &str, &str)]) -> Value {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(name, status, reason)| json!({ "type": name, "status": status, "reason": reason }))
            .collect();
        json!({ "metadata": { "name": "orders" }, "status": { "conditions": conditions } })
    }

    #[test]
    fn the_cause_comes_before_its_effects() {
        let object = instance(&[
            ("Ready", "False", "BackingOff"),
            ("ImageVerified", "False", "ImageNotFound"),
            ("Accepted", "True", "Accepted"),
        ]);
        assert_eq!(text(cause(&object).unwrap(), "/reason"), "ImageNotFound");
        assert!(next_step(&object).unwrap().contains("pullPolicy"));
    }

    #[test]
    fn whoever_ended_said_why_to_its_log() {
        let object = instance(&[("Progressing", "False", "UpdateFailed"), ("Ready", "True", "Ready")]);
        assert!(next_step(&object).unwrap().contains("plugward logs orders --previous"));
    }

    #[test]
    fn what_is_well_or_on_its_way_needs_nothing_to_be_done() {
        assert_eq!(next_step(&instance(&[("Ready", "True", "Ready")])), None);
        assert_eq!(next_step(&instance(&[("Ready", "False", "Starting")])), None);
    }
}
