//! Logs: to standard error, as text for people or as JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A filter that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("--log {filter:?} is no filter: use a level (info), or targets with levels (plugward=debug,info)")]
pub struct InvalidFilter {
    filter: String,
    source: ParseError,
}

/// Starts logging.
///
/// # Errors
/// When the filter cannot be understood.
pub fn init(filter: &str, format: LogFormat) -> Result<(), InvalidFilter> {
    // The engine client logs whole requests below this level, with the environment of containers.
    let capped = format!("{filter},{}", plugward_engine::docker::LOG_CAP);
    let filter =
        EnvFilter::try_new(&capped).map_err(|source| InvalidFilter { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
