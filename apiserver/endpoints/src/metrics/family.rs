//! Series by their labels, and how they are written. The text form is upstream's (0.0.4), which the OpenMetrics encoder of
//! the usual library does not write.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;

/// A number that only rises.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Raises it.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64
    }
}

/// A number that rises and falls.
#[derive(Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub(super) fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn set(&self, to: i64) {
        self.0.store(to, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64
    }
}

/// A distribution.
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds: what is above all.
    counts: Box<[AtomicU64]>,
    /// Bits of a floating point number.
    sum: AtomicU64,
}

impl Histogram {
    /// One with these upper bounds.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn observe(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        let add = |bits: u64| Some((f64::from_bits(bits) + value).to_bits());
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// How many values were counted.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().map(|c| c.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn write(&self, name: &str, labels: &[&str], values: &[&str], out: &mut Text) {
        let mut total = 0;
        let names: Vec<&str> = labels.iter().copied().chain(["le"]).collect();
        for (at, count) in self.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound = self.bounds.get(at).map_or("+Inf".to_owned(), |bound| number(*bound));
            let values: Vec<&str> = values.iter().copied().chain([bound.as_str()]).collect();
            out.line(&format!("{name}_bucket"), &names, &values, total as f64);
        }
        out.line(&format!("{name}_sum"), labels, values, f64::from_bits(self.sum.load(Ordering::Relaxed)));
        out.line(&format!("{name}_count"), labels, values, total as f64);
    }
}

/// What a family is made of.
pub trait Series {
    const KIND: &'static str;
    fn write(&self, name: &str, labels: &[&str], values: &[&str], out: &mut Text);
}

impl Series for Counter {
    const KIND: &'static str = "counter";
    fn write(&self, name: &str, labels: &[&str], values: &[&str], out: &mut Text) {
        out.line(name, labels, values, self.get());
    }
}

impl Series for Gauge {
    const KIND: &'static str = "gauge";
    fn write(&self, name: &str, labels: &[&str], values: &[&str], out: &mut Text) {
        out.line(name, labels, values, self.get());
    }
}

impl Series for Histogram {
    const KIND: &'static str = "histogram";
    fn write(&self, name: &str, labels: &[&str], values: &[&str], out: &mut Text) {
        Histogram::write(self, name, labels, values, out);
    }
}

/// Series of one name, by the values of their labels.
pub struct Family<T> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    make: fn() -> T,
    series: RwLock<BTreeMap<Vec<String>, Arc<T>>>,
}

impl<T: Series> Family<T> {
    pub fn new(name: &'static str, help: &'static str, labels: &'static [&'static str], make: fn() -> T) -> Self {
        Self { name, help, labels, make, series: RwLock::default() }
    }

    /// The series with these values, in the order of the labels.
    pub fn with(&self, values: &[&str]) -> Arc<T> {
        let key: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        if let Some(found) = self.series.read().get(&key) {
            return found.clone();
        }
        self.series.write().entry(key).or_insert_with(|| Arc::new((self.make)())).clone()
    }

    pub fn write(&self, out: &mut Text) {
        out.head(self.name, self.help, T::KIND);
        for (values, series) in self.series.read().iter() {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            series.write(self.name, self.labels, &values, out);
        }
    }
}

/// The text that is being written.
#[derive(Default)]
pub struct Text(String);

impl Text {
    pub fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub fn line(&mut self, name: &str, labels: &[&str], values: &[&str], value: f64) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().zip(values).enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{label}=\"{value}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {}", number(value));
    }

    pub fn finish(self) -> String {
        self.0
    }
}

/// As Go writes a number in this format: large ones with an exponent.
fn number(value: f64) -> String {
    if value.abs() < 1e6 || value.fract() != 0.0 && value.abs() < 1e21 {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{digits}e+{exponent:0>2}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_written_cumulatively_and_large_numbers_with_an_exponent() {
        let histogram = Histogram::new(&[0.5, 1e6]);
        for value in [0.5, 2.0, 5e6] {
            histogram.observe(value);
        }
        let mut out = Text::default();
        histogram.write("sizes", &["verb"], &["A\"B"], &mut out);
        let expect = "sizes_bucket{verb=\"A\\\"B\",le=\"0.5\"} 1\nsizes_bucket{verb=\"A\\\"B\",le=\"1e+06\"} 2\n\
                      sizes_bucket{verb=\"A\\\"B\",le=\"+Inf\"} 3\nsizes_sum{verb=\"A\\\"B\"} 5000002.5\n\
                      sizes_count{verb=\"A\\\"B\"} 3\n";
        assert_eq!(out.finish(), expect);
    }
}
