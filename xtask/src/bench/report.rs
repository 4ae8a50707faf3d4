//! The figures, as a table for people and as JSON for the next run.

use std::time::Duration;

use serde_json::json;

use super::measure::Measured;

/// A figure to reach, and whether it was.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    pub(crate) wanted: String,
    pub(crate) reached: bool,
}

#[derive(Debug)]
struct Line {
    shape: String,
    target: String,
    value: String,
    verdict: Option<Verdict>,
}

/// What was measured so far; each line is also shown as it comes.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Line>);

pub(crate) fn millis(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

impl Report {
    /// One value.
    pub(crate) fn figure(&mut self, target: &str, shape: &str, value: impl Into<String>, verdict: Option<Verdict>) {
        let line = Line { shape: shape.to_owned(), target: target.to_owned(), value: value.into(), verdict };
        eprintln!("{}", text(&line));
        self.0.push(line);
    }

    /// A stretch of load.
    pub(crate) fn stretch(&mut self, target: &str, shape: &str, measured: &Measured, verdict: Option<Verdict>) {
        let cpu = |total: Duration| format!("{:.0} us", measured.each(total).as_secs_f64() * 1e6);
        let value = format!(
            "{:.0}/s, p50 {}, p99 {}, server CPU {} each (generator {})",
            measured.rate(),
            millis(measured.percentile(0.5)),
            millis(measured.percentile(0.99)),
            measured.server_cpu.map_or("unknown".to_owned(), cpu),
            cpu(measured.own_cpu),
        );
        self.figure(target, shape, value, verdict);
    }

    /// Everything once more, shape by shape, so that servers stand side by side.
    pub(crate) fn print(&self) {
        let mut shapes: Vec<&str> = Vec::new();
        for line in &self.0 {
            if !shapes.contains(&line.shape.as_str()) {
                shapes.push(&line.shape);
            }
        }
        println!();
        for shape in shapes {
            println!("{shape}");
            for line in self.0.iter().filter(|l| l.shape == shape) {
                println!("    {:<28} {}{}", line.target, line.value, verdict(line));
            }
        }
    }

    pub(crate) fn json(&self) -> String {
        let lines = self.0.iter().map(|l| {
            json!({
                "shape": l.shape, "server": l.target, "value": l.value,
                "wanted": l.verdict.as_ref().map(|v| &v.wanted), "reached": l.verdict.as_ref().map(|v| v.reached),
            })
        });
        serde_json::Value::Array(lines.collect()).to_string()
    }
}

fn verdict(line: &Line) -> String {
    match &line.verdict {
        Some(v) => format!("   [{}: {}]", v.wanted, if v.reached { "reached" } else { "NOT REACHED" }),
        None => String::new(),
    }
}

fn text(line: &Line) -> String {
    format!("{}: {}: {}{}", line.target, line.shape, line.value, verdict(line))
}
