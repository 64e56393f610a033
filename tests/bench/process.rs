//! What Linux says of a process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

/// A process that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub(crate) i32);

/// How often the threads of a process were put on a processor, and how long they were there.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Context switches of each thread, voluntary or not.
    switches: BTreeMap<OsString, u64>,
    /// Time on processors, in clock ticks of 10 ms.
    pub(crate) ticks: u64,
}

// === impl Activity ===

impl Activity {
    /// Context switches since then, of the threads that are still there.
    pub(crate) fn switches_since(&self, before: &Self) -> u64 {
        let earlier = |thread| before.switches.get(thread).copied().unwrap_or_default();
        self.switches.iter().map(|(thread, switches)| switches - earlier(thread)).sum()
    }
}

// === impl Process ===

impl Process {
    /// Resident memory, in bytes.
    pub(crate) fn memory(self) -> u64 {
        field(&self.read("status"), "VmRSS:") << 10
    }

    /// How many files and sockets it has open.
    pub(crate) fn open_files(self) -> usize {
        fs::read_dir(self.path("fd")).expect("the process is ours").count()
    }

    /// Its largest resident memory since [`Process::forget_peak_memory`], in bytes.
    pub(crate) fn peak_memory(self) -> u64 {
        field(&self.read("status"), "VmHWM:") << 10
    }

    /// Makes its memory of now the largest (`proc_pid_clear_refs(5)`).
    pub(crate) fn forget_peak_memory(self) {
        fs::write(self.path("clear_refs"), "5").expect("the process is ours");
    }

    /// What it has done since it began.
    pub(crate) fn activity(self) -> Activity {
        let tasks = fs::read_dir(self.path("task")).expect("the process runs");
        let switches = tasks
            .flatten()
            .filter_map(|task| {
                let status = fs::read_to_string(task.path().join("status")).ok()?;
                let switches = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
                Some((task.file_name(), switches.map(|name| field(&status, name)).iter().sum()))
            })
            .collect();
        let stat = self.read("stat");
        let (_, after_name) = stat.rsplit_once(") ").expect("Linux says so");
        // The 14th and 15th field; the first after the name is the third.
        let ticks = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Activity { switches, ticks }
    }

    fn read(self, file: &str) -> String {
        fs::read_to_string(self.path(file)).expect("the process runs")
    }

    fn path(self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.0).into()
    }
}

/// The number behind a name at the begin of a line.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
