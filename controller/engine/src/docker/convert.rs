//! Between the port's types and the API's. No bollard type leaves the adapter.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerMemoryStats, ContainerState as ApiState,
    ContainerStateStatusEnum, ContainerStatsResponse, ContainerSummary, ContainerSummaryStateEnum,
    EventMessage, EventMessageTypeEnum, HostConfig, HostConfigLogConfig, ImageInspect, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, RestartPolicy, RestartPolicyNameEnum,
    SystemInfo,
};
use jiff::Timestamp;

use crate::container::{
    Bind, Container, ContainerId, ContainerSpec, ContainerState, Exit, Listed, Phase, Seccomp, Security,
};
use crate::event::{Event, EventKind};
use crate::image::Image;
use crate::info::EngineInfo;
use crate::usage::Usage;

/// An answer that lacks what every engine gives.
pub(super) struct Missing(pub(super) &'static str);

/// Attributes that engines add to the labels of a container in its events.
const EVENT_ATTRIBUTES: [&str; 6] = ["image", "name", "exitCode", "signal", "execDuration", "oldName"];

pub(super) fn create_body(spec: &ContainerSpec) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: non_empty(&spec.entrypoint),
        cmd: non_empty(&spec.args),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        tty: Some(false),
        // Whatever the image asks for: `Engine::stop` promises SIGTERM.
        stop_signal: Some("SIGTERM".to_owned()),
        host_config: Some(host_config(spec)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ContainerSpec) -> HostConfig {
    let memory = spec.resources.memory_bytes.map(to_i64);
    HostConfig {
        runtime: Some(spec.oci_runtime.clone()),
        network_mode: Some(spec.network.clone()),
        memory,
        // The limit with swap: the same as without, so there is none.
        memory_swap: memory,
        nano_cpus: spec.resources.nano_cpus.map(to_i64),
        pids_limit: spec.resources.pids.map(to_i64),
        mounts: Some(spec.binds.iter().map(mount).collect()),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), spec.log.max_size_bytes.to_string()),
                ("max-file".to_owned(), spec.log.max_files.max(1).to_string()),
            ])),
        }),
        group_add: Some(spec.groups.iter().map(ToString::to_string).collect()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(spec.capabilities.clone()),
        security_opt: Some(security_options(&spec.security)).filter(|options| !options.is_empty()),
        readonly_rootfs: Some(spec.security.read_only_root),
        tmpfs: Some(spec.tmpfs.iter().map(|target| tmpfs(target)).collect())
            .filter(|mounts: &HashMap<_, _>| !mounts.is_empty()),
        cgroup_parent: spec.cgroup_parent.clone(),
        // Restarts and removals are ours to decide, and a daemon-wide `init` is not ours to inherit: the plugin is
        // to be the process that signals reach.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        auto_remove: Some(false),
        init: Some(false),
        privileged: Some(false),
        ..HostConfig::default()
    }
}

fn security_options(security: &Security) -> Vec<String> {
    let seccomp = match &security.seccomp {
        Seccomp::Default => None,
        Seccomp::Unconfined => Some("seccomp=unconfined".to_owned()),
        Seccomp::Profile(profile) => Some(format!("seccomp={profile}")),
    };
    security.no_new_privileges.then(|| "no-new-privileges".to_owned()).into_iter().chain(seccomp).collect()
}

fn tmpfs(target: &Path) -> (String, String) {
    (target.to_string_lossy().into_owned(), "mode=1777".to_owned())
}

fn mount(bind: &Bind) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(bind.source.to_string_lossy().into_owned()),
        target: Some(bind.target.to_string_lossy().into_owned()),
        read_only: Some(false),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

pub(super) fn listed(summary: ContainerSummary) -> Result<Listed, Missing> {
    let names = summary.names.unwrap_or_default();
    // A container that others link to has a name per link, each with another slash.
    let name = names
        .iter()
        .filter_map(|name| name.strip_prefix('/'))
        .find(|name| !name.contains('/'))
        .ok_or(Missing("Names"))?;
    Ok(Listed {
        id: ContainerId::new(summary.id.ok_or(Missing("Id"))?),
        name: name.to_owned(),
        labels: summary.labels.unwrap_or_default().into_iter().collect(),
        phase: match summary.state.ok_or(Missing("State"))? {
            ContainerSummaryStateEnum::CREATED => Phase::Created,
            // `stopping` has been announced by the newest API; the process still lives.
            ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING => Phase::Running,
            ContainerSummaryStateEnum::PAUSED => Phase::Paused,
            ContainerSummaryStateEnum::RESTARTING => Phase::Restarting,
            ContainerSummaryStateEnum::REMOVING => Phase::Removing,
            ContainerSummaryStateEnum::EXITED => Phase::Exited,
            ContainerSummaryStateEnum::DEAD => Phase::Dead,
            ContainerSummaryStateEnum::EMPTY => return Err(Missing("State")),
        },
    })
}

pub(super) fn container(answer: ContainerInspectResponse) -> Result<Container, Missing> {
    let created_at = answer.created.as_deref().and_then(time).ok_or(Missing("Created"))?;
    let name = answer.name.ok_or(Missing("Name"))?;
    Ok(Container {
        id: ContainerId::new(answer.id.ok_or(Missing("Id"))?),
        name: name.trim_start_matches('/').to_owned(),
        labels: answer.config.and_then(|config| config.labels).unwrap_or_default().into_iter().collect(),
        image_id: answer.image.ok_or(Missing("Image"))?,
        created_at,
        state: state(answer.state.ok_or(Missing("State"))?, created_at)?,
    })
}

fn state(state: ApiState, created_at: Timestamp) -> Result<ContainerState, Missing> {
    use ContainerStateStatusEnum as Status;
    let status = state.status.ok_or(Missing("State.Status"))?;
    let started_at = state.started_at.as_deref().and_then(time);
    let error = state.error.unwrap_or_default();
    let exit = |error: String| Exit {
        code: state.exit_code.unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        error,
        finished_at: state.finished_at.as_deref().and_then(time).unwrap_or(created_at),
    };
    Ok(match status {
        // A first start that failed leaves a container `created`, with an error.
        Status::CREATED if error.is_empty() => ContainerState::Created,
        Status::CREATED | Status::EXITED | Status::DEAD => ContainerState::Exited(exit(error)),
        Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING => ContainerState::Running {
            started_at: started_at.ok_or(Missing("State.StartedAt"))?,
            pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
            paused: status == Status::PAUSED,
        },
        Status::REMOVING => ContainerState::Removing,
        Status::EMPTY => return Err(Missing("State.Status")),
    })
}

pub(super) fn image(answer: ImageInspect) -> Result<Image, Missing> {
    let config = answer.config.unwrap_or_default();
    Ok(Image {
        id: answer.id.ok_or(Missing("Id"))?,
        repo_digests: answer.repo_digests.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
    })
}

/// What an engine measured, `None` when there was nothing to measure. It says so by a time before there were computers.
pub(super) fn usage(answer: ContainerStatsResponse) -> Option<Usage> {
    const NEVER: &str = "0001-";
    answer.read.filter(|at| !at.starts_with(NEVER))?;
    let cpu = answer.cpu_stats.and_then(|cpu| cpu.cpu_usage).and_then(|usage| usage.total_usage);
    Some(Usage {
        cpu: cpu.map(Duration::from_nanos),
        memory: answer.memory_stats.as_ref().and_then(working_set),
        pids: answer.pids_stats.and_then(|pids| pids.current),
    })
}

/// Memory without what is cached of files and was not used lately, as docker's own command shows it: the kernel takes that back whenever
/// it likes. What it is called depends on the version of control groups.
fn working_set(memory: &ContainerMemoryStats) -> Option<u64> {
    let details = memory.stats.as_ref();
    let inactive = ["total_inactive_file", "inactive_file"]
        .into_iter()
        .find_map(|name| details?.get(name))
        .copied()
        .unwrap_or_default();
    memory.usage.map(|usage| usage.saturating_sub(inactive))
}

pub(super) fn info(answer: SystemInfo, api_version: String) -> Result<EngineInfo, Missing> {
    let mut oci_runtimes: Vec<String> = answer.runtimes.unwrap_or_default().into_keys().collect();
    oci_runtimes.sort();
    Ok(EngineInfo {
        id: answer.id.filter(|id| !id.is_empty()).ok_or(Missing("ID"))?.into(),
        version: answer.server_version.unwrap_or_default(),
        api_version,
        time: answer.system_time.as_deref().and_then(time).ok_or(Missing("SystemTime"))?,
        oci_runtimes,
        cgroup_driver: answer.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default(),
        rootless: answer
            .security_options
            .unwrap_or_default()
            .iter()
            .any(|option| option.split(',').any(|part| part == "name=rootless")),
        user: None,
        memlock_limit: None,
    })
}

/// `None` for an event that is not of a container or an image.
pub(super) fn event(message: EventMessage) -> Result<Option<Event>, Missing> {
    let at = message
        .time_nano
        .and_then(|nanos| Timestamp::from_nanosecond(i128::from(nanos)).ok())
        .ok_or(Missing("timeNano"))?;
    let action = message.action.ok_or(Missing("Action"))?;
    let actor = message.actor.ok_or(Missing("Actor"))?;
    let id = actor.id.ok_or(Missing("Actor.ID"))?;
    let kind = match message.typ {
        Some(EventMessageTypeEnum::CONTAINER) => {
            let mut labels: BTreeMap<String, String> =
                actor.attributes.unwrap_or_default().into_iter().collect();
            for attribute in EVENT_ATTRIBUTES {
                labels.remove(attribute);
            }
            EventKind::Container { id: ContainerId::new(id), labels, action }
        }
        Some(EventMessageTypeEnum::IMAGE) => EventKind::Image { reference: id, action },
        _ => return Ok(None),
    };
    Ok(Some(Event { at, kind }))
}

/// A time as the API takes it: seconds and nanoseconds.
pub(super) fn unix_time(time: Timestamp) -> String {
    // `since` is never before 1970.
    let since_epoch = Duration::try_from(time.as_duration()).unwrap_or_default();
    format!("{}.{:09}", since_epoch.as_secs(), since_epoch.subsec_nanos())
}

/// A time as the API gives it. Go's zero time means never.
fn time(text: &str) -> Option<Timestamp> {
    let time: Timestamp = text.parse().ok()?;
    (time > Timestamp::UNIX_EPOCH).then_some(time)
}

fn non_empty(words: &[String]) -> Option<Vec<String>> {
    (!words.is_empty()).then(|| words.to_vec())
}

/// The API's numbers are signed; a limit beyond them is none that a machine could reach.
fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
