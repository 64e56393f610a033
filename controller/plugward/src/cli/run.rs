//! `plugward run`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use plugward_attach::accounts::Accounts;

use super::Failed;
use crate::app::{self, Settings};
use crate::controller::Tuning;
use crate::directories::Surroundings;
use crate::names::ClusterId;
use crate::open_files;
use crate::service::Service;
use crate::systemd::{DescriptorStore, ServiceManager, Watchdog};
use crate::telemetry::{self, LogFormat};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A directory with manifests (*.yaml, *.yml, *.json). May be given several times.
    #[arg(
        long,
        value_name = "DIR",
        env = "PLUGWARD_MANIFESTS",
        value_delimiter = ':',
        default_value = "/etc/plugward/manifests"
    )]
    manifests: Vec<PathBuf>,

    /// Where the controller keeps what it must know again after a restart
    /// [default: /var/lib/plugward, or plugward in $XDG_STATE_HOME for users]
    #[arg(long, value_name = "DIR", env = "PLUGWARD_STATE_DIR")]
    state_dir: Option<PathBuf>,

    /// Where the controller makes its sockets [default: /run/plugward, or plugward in $XDG_RUNTIME_DIR for users]
    #[arg(long, value_name = "DIR", env = "PLUGWARD_RUN_DIR")]
    run_dir: Option<PathBuf>,

    /// Names the controller and all it owns [default: the stored one, or a new one]
    #[arg(long, value_name = "ID", env = "PLUGWARD_CLUSTER_ID")]
    cluster_id: Option<ClusterId>,

    /// The group that may use the sockets, by name or number.
    #[arg(long, value_name = "GROUP", env = "PLUGWARD_SOCKET_GROUP")]
    socket_group: Option<String>,

    /// Stop the plugins when the controller stops. They run on otherwise, and the next controller takes them over.
    #[arg(long, env = "PLUGWARD_DRAIN_ON_EXIT")]
    drain_on_exit: bool,

    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, value_name = "ADDRESS", env = "PLUGWARD_METRICS_ADDRESS", default_value = "127.0.0.1:9760")]
    metrics_address: String,

    /// How often a plugin's container is asked what CPU and memory it uses, at the most, while metrics are read; 0s for never.
    #[arg(long, value_name = "DURATION", env = "PLUGWARD_STATS_INTERVAL", default_value = "30s")]
    stats_interval: plugward_api::Duration,

    /// What is logged: a level (info), or targets with levels (plugward=debug,info).
    #[arg(long, value_name = "FILTER", env = "PLUGWARD_LOG", default_value = "info")]
    log: String,

    /// How a line of the log looks.
    #[arg(long, value_name = "FORMAT", env = "PLUGWARD_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
}

pub(super) fn run(arguments: Arguments) -> Result<ExitCode, Failed> {
    telemetry::init(&arguments.log, arguments.log_format)?;
    open_files::allow_all();
    // Before there are other threads: what systemd hands over is taken out of the environment.
    let manager = ServiceManager::from_environment()?;
    let watchdog = Watchdog::from_environment()?;
    let store = DescriptorStore::from_environment(manager.clone());
    let surroundings = Surroundings::of_process();
    let settings = Settings {
        manifests: arguments.manifests.iter().map(std::path::absolute).collect::<Result<_, _>>()?,
        // Engines are told of paths below it: they must not depend on where we are.
        run_directory: std::path::absolute(
            arguments.run_dir.map_or_else(|| surroundings.run_directory(), Ok)?,
        )?,
        state_directory: std::path::absolute(
            arguments.state_dir.map_or_else(|| surroundings.state_directory(), Ok)?,
        )?,
        cluster: arguments.cluster_id,
        socket_group: arguments.socket_group.map(|group| group_number(&group)).transpose()?,
        drain_on_exit: arguments.drain_on_exit,
        metrics_address: arguments.metrics_address,
        service: Service { manager, watchdog, store },
        tuning: Tuning { usage: period(arguments.stats_interval), ..Tuning::default() },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(app::run(settings))?;
    // A blocked thread (a file system that hangs) must not keep the process.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// A span of time, unless it is none.
fn period(interval: plugward_api::Duration) -> Option<Duration> {
    Some(interval.get()).filter(|interval| !interval.is_zero())
}

/// The number of a group given by name or number.
fn group_number(group: &str) -> Result<u32, Failed> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    Accounts::Groups
        .number_of(group)?
        .ok_or_else(|| format!("there is no group {group:?}: make it, or give --socket-group another").into())
}
