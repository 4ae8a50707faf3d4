//! The figures: each line as it comes, then a table where servers stand side by side with their ratios, and JSON for the
//! next run. What is to be reached is data (`wanted.rs`), so a shape only measures and never judges.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::json;

use super::measure::Measured;
use super::wanted;

/// How servers are called whose figures are the measure.
pub(crate) const UPSTREAM: &str = "upstream";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Bytes,
    PerSecond,
    /// Percent of one core.
    Percent,
    Count,
}

type Name = Cow<'static, str>;

/// One measured quantity.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub(crate) name: Name,
    /// In the unit's base: seconds, bytes.
    pub(crate) number: f64,
    unit: Unit,
}

pub(crate) fn seconds(name: impl Into<Name>, time: Duration) -> Value {
    Value { name: name.into(), number: time.as_secs_f64(), unit: Unit::Seconds }
}

pub(crate) fn bytes(name: impl Into<Name>, bytes: u64) -> Value {
    Value { name: name.into(), number: bytes as f64, unit: Unit::Bytes }
}

pub(crate) fn percent(name: impl Into<Name>, number: f64) -> Value {
    Value { name: name.into(), number, unit: Unit::Percent }
}

/// So many a second.
pub(crate) fn rate(name: impl Into<Name>, number: usize, time: Duration) -> Value {
    Value { name: name.into(), number: number as f64 / time.as_secs_f64(), unit: Unit::PerSecond }
}

pub(crate) fn count(name: impl Into<Name>, number: usize) -> Value {
    Value { name: name.into(), number: number as f64, unit: Unit::Count }
}

impl Value {
    /// The number with its unit, and the name.
    fn text(&self) -> String {
        let Self { name, number, unit } = self;
        let (number, unit) = (*number, *unit);
        match unit {
            Unit::Seconds if number < 1e-5 => format!("{name} {:.1} us", number * 1e6),
            Unit::Seconds if number < 1e-3 => format!("{name} {:.0} us", number * 1e6),
            Unit::Seconds if number < 1e-2 => format!("{name} {:.2} ms", number * 1e3),
            Unit::Seconds => format!("{name} {:.0} ms", number * 1e3),
            Unit::Bytes => format!("{name} {:.1} MB", number / 1e6),
            Unit::PerSecond => format!("{name} {number:.0}/s"),
            Unit::Percent => format!("{name} {number:.1} % of a core"),
            Unit::Count => format!("{name} {number:.0}"),
        }
    }
}

#[derive(Debug)]
struct Line {
    shape: String,
    server: String,
    values: Vec<Value>,
}

impl Line {
    fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|v| v.name == name).map(|v| v.number)
    }
}

/// What was measured so far; each line is also shown as it comes.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Line>);

impl Report {
    /// What one shape gave on one server.
    pub(crate) fn line(&mut self, server: &str, shape: &str, values: Vec<Value>) {
        let line = Line { shape: shape.to_owned(), server: server.to_owned(), values };
        eprintln!("{server}: {shape}: {}", texts(&line));
        self.0.push(line);
    }

    /// A stretch of load.
    pub(crate) fn stretch(&mut self, server: &str, shape: &str, measured: &Measured) {
        let mut values = vec![
            rate("rate", measured.operations, measured.elapsed),
            seconds("p50", measured.percentile(0.5)),
            seconds("p99", measured.percentile(0.99)),
        ];
        if let Some(cpu) = &measured.server_cpu {
            values.push(seconds("CPU each", measured.each(cpu.iter().sum())));
            if let [server, _store] = cpu[..] {
                values.push(seconds("without its store", measured.each(server)));
            }
        }
        values.push(seconds("generator's CPU each", measured.each(measured.own_cpu)));
        self.line(server, shape, values);
    }

    /// Everything once more, shape by shape.
    pub(crate) fn print(&self) {
        println!();
        for shape in self.shapes() {
            println!("{shape}");
            for line in self.0.iter().filter(|l| l.shape == shape) {
                println!("    {:<16} {}", line.server, texts(line));
                if let Some(ratios) = self.ratios(line) {
                    println!("    {:<16}   of upstream's: {ratios}", "");
                }
                for verdict in self.verdicts(line) {
                    println!("    {:<16}   {verdict}", "");
                }
            }
        }
    }

    fn shapes(&self) -> Vec<&str> {
        let mut shapes: Vec<&str> = Vec::new();
        for line in &self.0 {
            if !shapes.contains(&line.shape.as_str()) {
                shapes.push(&line.shape);
            }
        }
        shapes
    }

    /// Upstream's line of the same shape.
    fn upstream(&self, line: &Line) -> Option<&Line> {
        self.0.iter().find(|l| l.server == UPSTREAM && l.shape == line.shape).filter(|_| line.server != UPSTREAM)
    }

    fn ratios(&self, line: &Line) -> Option<String> {
        let upstream = self.upstream(line)?;
        let ratio = |value: &Value| {
            let theirs = upstream.value(&value.name).filter(|n| *n > 0.0)?;
            Some(format!("{} {:.2}x", value.name, value.number / theirs))
        };
        let ratios: Vec<String> = line.values.iter().filter_map(ratio).collect();
        (!ratios.is_empty()).then(|| ratios.join(", "))
    }

    /// What was to be reached by this line, and whether it was.
    fn verdicts(&self, line: &Line) -> Vec<String> {
        let wanted = wanted::of(&line.server, &line.shape);
        let judge = |wanted: &&wanted::Wanted| {
            let value = line.value(wanted.value)?;
            let theirs = self.upstream(line).and_then(|l| l.value(wanted.value));
            let reached = wanted.reached(value, theirs)?;
            Some(format!("[{}: {}]", wanted.text, if reached { "reached" } else { "NOT REACHED" }))
        };
        wanted.iter().filter_map(judge).collect()
    }

    pub(crate) fn json(&self) -> String {
        let lines = self.0.iter().map(|l| {
            let values: serde_json::Map<_, _> =
                l.values.iter().map(|v| (v.name.clone().into_owned(), json!(v.number))).collect();
            json!({ "shape": l.shape, "server": l.server, "values": values, "verdicts": self.verdicts(l) })
        });
        serde_json::Value::Array(lines.collect()).to_string()
    }
}

fn texts(line: &Line) -> String {
    line.values.iter().map(Value::text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_verdicts_are_against_upstream_in_the_same_run() {
        let mut report = Report::default();
        let ms = Duration::from_millis;
        report.line("ferry", "list 50000 pods", vec![seconds("median", ms(100)), bytes("more memory", 5_000_000)]);
        let alone = report.verdicts(&report.0[0]);
        assert_eq!(alone.len(), 1, "without upstream there is no ratio to judge: {alone:?}");
        report.line(UPSTREAM, "list 50000 pods", vec![seconds("median", ms(900))]);
        assert_eq!(report.ratios(&report.0[0]).as_deref(), Some("median 0.11x"));
        let verdicts = report.verdicts(&report.0[0]).join("; ");
        assert!(verdicts.contains("a tenth of upstream's time: NOT REACHED"), "{verdicts}");
        assert!(verdicts.contains("10 MB or less: reached"), "{verdicts}");
        assert!(report.verdicts(&report.0[1]).is_empty(), "upstream is not judged");
    }
}
