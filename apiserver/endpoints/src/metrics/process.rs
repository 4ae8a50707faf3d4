//! The process's own numbers, from `/proc`; what cannot be read is left out.

use std::fs::{read_dir, read_to_string};

use component::metrics::Text;

/// Ticks a second in `/proc`: fixed on Linux.
const TICKS: f64 = 100.0;
const PAGE_BYTES: f64 = 4096.0;

pub(super) fn write(out: &mut Text) {
    let mut gauge = |name: &str, help: &str, kind: &str, value: Option<f64>| one(out, name, help, kind, value);
    let fields = stat();
    let field = |number: usize| fields.get(number - 3).copied();
    let cpu = field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS);
    gauge("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", "counter", cpu);
    let limits = read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = |name: &str| {
        let line = limits.lines().find_map(|l| l.strip_prefix(name))?;
        let word = line.split_whitespace().next()?;
        if word == "unlimited" { Some(u64::MAX as f64) } else { word.parse().ok() }
    };
    gauge("process_max_fds", "Maximum number of open file descriptors.", "gauge", limit("Max open files"));
    let open = read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    gauge("process_open_fds", "Number of open file descriptors.", "gauge", open);
    let resident = field(24).map(|pages| pages * PAGE_BYTES);
    gauge("process_resident_memory_bytes", "Resident memory size in bytes.", "gauge", resident);
    gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", "gauge", field(23));
    let most = limit("Max address space");
    gauge("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.", "gauge", most);
    write_start(out);
}

/// When the process began.
pub(super) fn write_start(out: &mut Text) {
    let boot = read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let start = boot.zip(stat().get(22 - 3)).map(|(boot, ticks)| boot + ticks / TICKS);
    let help = "Start time of the process since unix epoch in seconds.";
    one(out, "process_start_time_seconds", help, "gauge", start);
}

fn one(out: &mut Text, name: &str, help: &str, kind: &str, value: Option<f64>) {
    if let Some(value) = value {
        out.head(name, help, kind);
        out.line(name, &[], &[], value);
    }
}

/// The fields of `/proc/self/stat` after the name, which may hold anything: field 3 of proc(5) is the first.
fn stat() -> Vec<f64> {
    let stat = read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
    rest.map(|fields| fields.map(|field| field.parse().unwrap_or_default()).collect()).unwrap_or_default()
}
