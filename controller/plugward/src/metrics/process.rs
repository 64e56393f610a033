//! The series of the program's own process, under the names that all of Prometheus' libraries give them.

use std::io;

use procfs::process::{LimitValue, Process};
use procfs::{ProcError, WithCurrentSystemInfo};

use super::catalogue::{CPU, DESCRIPTORS, MEMORY, MOST_DESCRIPTORS, PROCESS_START, THREADS, VIRTUAL_MEMORY};
use super::family::number;

/// What the system says of the process.
struct Sight {
    cpu_seconds: f64,
    memory_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
    descriptors: u64,
    most_descriptors: Option<u64>,
    started_at: f64,
}

impl Sight {
    fn look() -> Result<Self, ProcError> {
        let myself = Process::myself()?;
        let stat = myself.stat()?;
        let seconds = |ticks: u64| number(ticks) / number(procfs::ticks_per_second());
        Ok(Self {
            cpu_seconds: seconds(stat.utime + stat.stime),
            memory_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            threads: u64::try_from(stat.num_threads).unwrap_or_default(),
            descriptors: myself.fd_count()? as u64,
            most_descriptors: match myself.limits()?.max_open_files.soft_limit {
                LimitValue::Unlimited => None,
                LimitValue::Value(most) => Some(most),
            },
            started_at: number(procfs::boot_time_secs()?) + seconds(stat.starttime),
        })
    }
}

/// Writes them. Where the system does not tell of processes there are none.
pub(super) fn write(to: &mut Vec<u8>) -> io::Result<()> {
    let sight = match Sight::look() {
        Ok(sight) => sight,
        Err(error) => {
            tracing::debug!(%error, "the system says nothing of this process");
            return Ok(());
        }
    };
    for (family, value) in [
        (&CPU, Some(sight.cpu_seconds)),
        (&MEMORY, Some(number(sight.memory_bytes))),
        (&VIRTUAL_MEMORY, Some(number(sight.virtual_bytes))),
        (&THREADS, Some(number(sight.threads))),
        (&DESCRIPTORS, Some(number(sight.descriptors))),
        (&MOST_DESCRIPTORS, sight.most_descriptors.map(number)),
        (&PROCESS_START, Some(sight.started_at)),
    ] {
        if let Some(value) = value {
            family.head(to)?;
            family.line(to, &[], value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_seen_as_it_is() {
        let sight = Sight::look().unwrap();
        assert!(sight.memory_bytes > 1 << 20 && sight.virtual_bytes > sight.memory_bytes);
        assert!(sight.descriptors >= 3 && sight.threads >= 1);
        let now = jiff::Timestamp::now().as_duration().as_secs_f64();
        assert!((now - 3600.0 * 24.0..=now + 1.0).contains(&sight.started_at), "{} {now}", sight.started_at);
    }
}
