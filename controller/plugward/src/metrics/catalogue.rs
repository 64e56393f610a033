//! All families of series. `deploy/metrics.md` is made from this.

use super::family::{Family, Kind};

/// The catalogue in sections, each with a title.
#[cfg(test)]
pub(crate) const SECTIONS: [(&str, &[&Family]); 6] = [
    (
        "Plugins",
        &[
            &RESTARTS,
            &MULTIPLEXED_MOUNTS,
            &PHASE,
            &SLOTS,
            &SPARES,
            &START_TIME,
            &FAILURES,
            &BACKOFF,
            &IMAGE,
            &OUTPUT_LOST,
            &STARTS,
            &PROBES,
            &CPU_USED,
            &CPU_LIMIT,
            &MEMORY_USED,
            &MEMORY_LIMIT,
            &PIDS,
            &PIDS_LIMIT,
        ],
    ),
    (
        "Requests",
        &[&REQUESTS, &REQUEST_SECONDS, &HOLD_SECONDS, &IN_FLIGHT, &WAITING, &REFUSED, &REPLAYS, &BYTES],
    ),
    (
        "Hosts that attach",
        &[&ATTACH_SESSIONS, &ATTACHED, &ATTACH_SECONDS, &ATTACH_REFUSED, &ATTACH_ENDED, &ATTACH_RESUMED],
    ),
    (
        "The loop",
        &[
            &RECONCILES,
            &RECONCILE_SECONDS,
            &QUEUE_DEPTH,
            &QUEUE_ADDS,
            &QUEUE_RETRIES,
            &QUEUE_SECONDS,
            &UNFINISHED,
            &LONGEST,
        ],
    ),
    (
        "Manifests and engines",
        &[
            &MANIFEST_FILES,
            &MANIFEST_RECORDS,
            &MANIFEST_ERRORS,
            &ENGINE_UP,
            &ENGINE_CALLS,
            &ENGINE_SECONDS,
            &ENGINE_EVENTS,
            &RESYNCS,
            &WATCHES,
        ],
    ),
    (
        "The program",
        &[&BUILD, &CPU, &MEMORY, &VIRTUAL_MEMORY, &DESCRIPTORS, &MOST_DESCRIPTORS, &THREADS, &PROCESS_START],
    ),
];

const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
    Family { name, kind: Kind::Counter, help, labels }
}

const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
    Family { name, kind: Kind::Gauge, help, labels }
}

const fn histogram(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
    Family { name, kind: Kind::Histogram, help, labels }
}

pub(super) static RESTARTS: Family = counter(
    "plugward_plugin_restarts_total",
    "Containers replaced because they ended or were judged dead.",
    &["plugin_instance", "reason"],
);
pub(super) static MULTIPLEXED_MOUNTS: Family = gauge(
    "plugward_plugin_multiplexed_mounts",
    "Declared mounts that the slot's ready container serves.",
    &["plugin_instance", "slot"],
);
pub(super) static PHASE: Family = gauge(
    "plugward_plugin_phase",
    "1 for the phase that the instance is in, 0 for the others.",
    &["plugin_instance", "phase"],
);
pub(super) static SLOTS: Family = gauge(
    "plugward_plugin_slots",
    "Places for containers that serve: those that are wanted, and those whose container is ready.",
    &["plugin_instance", "state"],
);
pub(super) static SPARES: Family = gauge(
    "plugward_plugin_spares",
    "Places for containers that stand by: those that are wanted, and those whose container is ready.",
    &["plugin_instance", "state"],
);
pub(super) static START_TIME: Family = gauge(
    "plugward_plugin_start_time_seconds",
    "When the slot's container was started, in seconds since 1970.",
    &["plugin_instance", "slot"],
);
pub(super) static FAILURES: Family = gauge(
    "plugward_plugin_consecutive_failures",
    "Failures in a row, by which the wait before the next start has grown.",
    &["plugin_instance", "slot"],
);
pub(super) static BACKOFF: Family = gauge(
    "plugward_plugin_backoff_seconds",
    "Seconds until the next start of a slot that failed; 0 where none is waited for.",
    &["plugin_instance", "slot"],
);
pub(super) static IMAGE: Family = gauge(
    "plugward_plugin_image_info",
    "1, with the ID of the image that the slot's container was made from.",
    &["plugin_instance", "slot", "image_id"],
);
pub(super) static OUTPUT_LOST: Family = counter(
    "plugward_plugin_output_lost_total",
    "Pieces of plugins' output that hosts lost which read it too slowly.",
    &["plugin_instance"],
);
pub(super) static STARTS: Family = histogram(
    "plugward_plugin_start_duration_seconds",
    "How long the phases of starts took that came to their end.",
    &["phase"],
);
pub(super) static PROBES: Family = counter(
    "plugward_plugin_probes_total",
    "Questions whether a plugin still answers, by what came of them.",
    &["plugin_instance", "result"],
);
pub(super) static CPU_USED: Family = counter(
    "plugward_plugin_cpu_seconds_total",
    "Seconds of CPU that the slot's container used since it was started.",
    &["plugin_instance", "slot"],
);
pub(super) static CPU_LIMIT: Family = gauge(
    "plugward_plugin_cpu_limit_cores",
    "CPUs that the slot's container may use, where that is limited.",
    &["plugin_instance", "slot"],
);
pub(super) static MEMORY_USED: Family = gauge(
    "plugward_plugin_memory_bytes",
    "Memory that the slot's container uses, without what is only cached of files.",
    &["plugin_instance", "slot"],
);
pub(super) static MEMORY_LIMIT: Family = gauge(
    "plugward_plugin_memory_limit_bytes",
    "Memory that the slot's container may use, where that is limited.",
    &["plugin_instance", "slot"],
);
pub(super) static PIDS: Family = gauge(
    "plugward_plugin_pids",
    "Processes and threads in the slot's container.",
    &["plugin_instance", "slot"],
);
pub(super) static PIDS_LIMIT: Family = gauge(
    "plugward_plugin_pids_limit",
    "Processes and threads that the slot's container may have, where that is limited.",
    &["plugin_instance", "slot"],
);

pub(super) static REQUESTS: Family = counter(
    "plugward_requests_total",
    "Requests of hosts that ended, by what they are to the plugin and by gRPC's code.",
    &["plugin_instance", "mount", "class", "code"],
);
pub(super) static REQUEST_SECONDS: Family = histogram(
    "plugward_request_duration_seconds",
    "How long requests took from their first frame to their last, their wait for the plugin included.",
    &["plugin_instance", "mount"],
);
pub(super) static HOLD_SECONDS: Family = Family {
    name: "plugward_request_hold_seconds",
    kind: Kind::Summary,
    help: "How long requests that had to waited for the plugin to be usable.",
    labels: &["plugin_instance", "mount"],
};
pub(super) static IN_FLIGHT: Family =
    gauge("plugward_requests_in_flight", "Requests that the plugin has.", &["plugin_instance", "mount"]);
pub(super) static WAITING: Family = gauge(
    "plugward_requests_waiting",
    "Requests that wait for the plugin to be usable.",
    &["plugin_instance", "mount"],
);
pub(super) static REFUSED: Family = counter(
    "plugward_requests_refused_total",
    "Requests that no plugin saw, and that hosts were told to try again at once, as gRPC's libraries do by themselves.",
    &["plugin_instance", "mount"],
);
pub(super) static REPLAYS: Family = counter(
    "plugward_replays_total",
    "Calls that prime a plugin, made again for its hosts after it was restarted.",
    &["plugin_instance", "result"],
);
pub(super) static BYTES: Family = counter(
    "plugward_request_bytes_total",
    "Bytes of requests and of their answers, without what HTTP/2 adds.",
    &["plugin_instance", "mount", "direction"],
);

pub(super) static ATTACH_SESSIONS: Family = gauge(
    "plugward_attach_sessions",
    "Sessions of hosts that started the launcher, by what they use.",
    &["plugin_instance", "kind"],
);
pub(super) static ATTACHED: Family = counter(
    "plugward_attach_total",
    "Sessions that were begun: the host was given its handshake line.",
    &["plugin_instance", "kind"],
);
pub(super) static ATTACH_SECONDS: Family = histogram(
    "plugward_attach_duration_seconds",
    "How long it took from the launcher's connection to the handshake line.",
    &["plugin_instance"],
);
pub(super) static ATTACH_REFUSED: Family =
    counter("plugward_attach_refused_total", "Launchers that were refused, by the reason.", &["reason"]);
pub(super) static ATTACH_ENDED: Family = counter(
    "plugward_attach_ended_total",
    "Sessions that ended, by the reason.",
    &["plugin_instance", "reason"],
);
pub(super) static ATTACH_RESUMED: Family = counter(
    "plugward_attach_resumed_total",
    "Sessions that went on after a restart of the controller.",
    &["plugin_instance"],
);

pub(super) static RECONCILES: Family =
    counter("plugward_reconcile_total", "Reconciles of instances, by result.", &["result"]);
pub(super) static RECONCILE_SECONDS: Family =
    histogram("plugward_reconcile_duration_seconds", "How long reconciles took.", &["result"]);
pub(super) static QUEUE_DEPTH: Family =
    gauge("plugward_workqueue_depth", "Instances in the work queue, by what they do.", &["state"]);
pub(super) static QUEUE_ADDS: Family =
    counter("plugward_workqueue_adds_total", "Requests that the work queue took.", &["priority"]);
pub(super) static QUEUE_RETRIES: Family =
    counter("plugward_workqueue_retries_total", "Retries after failed reconciles.", &[]);
pub(super) static QUEUE_SECONDS: Family = histogram(
    "plugward_workqueue_queue_duration_seconds",
    "How long requests waited after they were due.",
    &[],
);
pub(super) static UNFINISHED: Family = gauge(
    "plugward_workqueue_unfinished_work_seconds",
    "How long the reconciles that run have run, together.",
    &[],
);
pub(super) static LONGEST: Family = gauge(
    "plugward_workqueue_longest_running_processor_seconds",
    "How long the reconcile has run that has run longest.",
    &[],
);

pub(super) static MANIFEST_FILES: Family =
    gauge("plugward_manifest_files", "Manifest files, by whether they can be used.", &["state"]);
pub(super) static MANIFEST_RECORDS: Family =
    gauge("plugward_manifest_records", "Records in manifest files, by kind.", &["kind"]);
pub(super) static MANIFEST_ERRORS: Family =
    gauge("plugward_manifest_errors", "Errors in manifest files and directories that stand now.", &[]);
pub(super) static ENGINE_UP: Family =
    gauge("plugward_engine_up", "Whether the engine of a runtime answers.", &["plugin_runtime"]);
pub(super) static ENGINE_CALLS: Family =
    counter("plugward_engine_calls_total", "Calls to engines, by result.", &["operation", "result"]);
pub(super) static ENGINE_SECONDS: Family =
    histogram("plugward_engine_call_duration_seconds", "How long calls to engines took.", &["operation"]);
pub(super) static ENGINE_EVENTS: Family = counter(
    "plugward_engine_events_total",
    "Events that engines told of plugins' containers and of images.",
    &["action"],
);
pub(super) static RESYNCS: Family = counter(
    "plugward_engine_resyncs_total",
    "Lists of all containers of an engine that were compared with what was known.",
    &[],
);
pub(super) static WATCHES: Family = counter(
    "plugward_engine_watch_restarts_total",
    "Times that an engine was lost that had answered, and had to be looked at anew.",
    &[],
);

pub(super) static BUILD: Family =
    gauge("plugward_build_info", "1, with the version of the program.", &["version"]);

pub(super) static CPU: Family =
    counter("process_cpu_seconds_total", "Seconds of CPU that the controller used.", &[]);
pub(super) static MEMORY: Family =
    gauge("process_resident_memory_bytes", "Memory of the controller that is in RAM.", &[]);
pub(super) static VIRTUAL_MEMORY: Family =
    gauge("process_virtual_memory_bytes", "Addresses that the controller has, used or not.", &[]);
pub(super) static DESCRIPTORS: Family =
    gauge("process_open_fds", "Files and sockets that the controller has open.", &[]);
pub(super) static MOST_DESCRIPTORS: Family =
    gauge("process_max_fds", "Files and sockets that the controller may have open.", &[]);
pub(super) static THREADS: Family = gauge("process_threads", "Threads of the controller.", &[]);
pub(super) static PROCESS_START: Family =
    gauge("process_start_time_seconds", "When the controller was started, in seconds since 1970.", &[]);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;

    /// The catalogue as people read it.
    fn document() -> String {
        let mut text = String::from(
            "# Metrics\n\nWhat plugward tells Prometheus at `http://ADDRESS/metrics` (`--metrics-address`, default `127.0.0.1:9760`). \
             Made from the program's catalogue: do not edit.\n\n\
             Labels are closed sets, or the names of records: a record's series go with it. Series of closed sets are there from the \
             start, at zero; of `code`, `OK` and `Unavailable` are.\n",
        );
        for (title, families) in SECTIONS {
            let _ = write!(
                text,
                "\n## {title}\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n"
            );
            for Family { name, kind, help, labels } in families {
                let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
                let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
                let _ = writeln!(text, "| `{name}` | {} | {labels} | {help} |", kind.as_str());
            }
        }
        text
    }

    #[test]
    fn the_documentation_is_of_this_catalogue() {
        crate::golden::check("../../deploy/metrics.md", &document());
    }

    #[test]
    fn names_say_what_they_are() {
        let all: Vec<&Family> = SECTIONS.iter().flat_map(|(_, families)| families.iter().copied()).collect();
        let names: BTreeSet<&str> = all.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), all.len());
        for Family { name, kind, help, .. } in all {
            assert!(name.starts_with("plugward_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(help.ends_with('.') && help.len() < 130, "{name}: {help}");
        }
    }
}
