//! Logs: to standard error, as text for people, as JSON for machines, or as the journal takes them.

use std::fmt;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use rustix::fs::fstat;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

#[cfg(test)]
mod catalogue;
#[cfg(test)]
pub(crate) mod kept;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people. Where standard error is systemd's journal, without the time, and with the level where the journal looks for it.
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
    let stderr = std::io::stderr();
    let colours = stderr.is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text if is_journal(stderr, std::env::var("JOURNAL_STREAM").ok().as_deref()) => {
            builder.with_ansi(false).event_format(Journal::default()).init();
        }
        LogFormat::Text => builder.with_ansi(colours).init(),
    }
    Ok(())
}

/// Whether a stream is systemd's journal: `journal` holds the device and the inode of that, as `systemd.exec(5)` says. A child
/// that has another standard error has the variable all the same.
fn is_journal(stream: impl AsFd, journal: Option<&str>) -> bool {
    let Some((device, inode)) = journal.and_then(|journal| journal.split_once(':')) else { return false };
    fstat(stream).is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

/// Lines for the journal: it has the time, and takes the level from the number in front (`sd-daemon(3)`).
struct Journal(Format<Full, ()>);

impl Default for Journal {
    fn default() -> Self {
        Self(Format::default().without_time().with_level(false))
    }
}

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::kept::KeptLog;
    use super::*;

    #[test]
    fn the_journal_is_known_by_its_stream() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stat = fstat(&file).unwrap();
        let this = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_journal(&file, Some(&this)));
        assert!(!is_journal(File::open("/dev/null").unwrap(), Some(&this)));
        for other in [None, Some(""), Some("1"), Some("1:2")] {
            assert!(!is_journal(&file, other), "{other:?}");
        }
    }

    #[test]
    fn lines_for_the_journal_have_their_level_in_front_and_no_time() {
        let log = KeptLog::default();
        let builder = tracing_subscriber::fmt().with_ansi(false).event_format(Journal::default());
        let subscriber = builder.with_writer(log.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "plugward", slot = "shared", "container is over");
            tracing::info!(target: "plugward", "ready");
        });
        assert_eq!(log.text(), "<4>plugward: container is over slot=\"shared\"\n<6>plugward: ready\n");
    }
}
