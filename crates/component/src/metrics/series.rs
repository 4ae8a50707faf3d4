//! Counters, gauges and histograms, alone or in families by the values of their labels.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;

use super::text::{Text, number};

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
    /// Raises it, or lowers it.
    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, to: i64) {
        self.0.store(to, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> f64 {
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
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|c| c.load(Ordering::Relaxed)).sum()
    }
}

/// What a family is made of.
pub trait Series {
    /// Its sort, as [`Text::head`] takes it.
    const KIND: &'static str;
    /// Writes the lines of the series with these labels.
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

/// Series of one name, by the values of their labels.
pub struct Family<T> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    make: fn() -> T,
    series: RwLock<BTreeMap<Vec<String>, Arc<T>>>,
}

impl<T: Series> Family<T> {
    /// An empty one, whose series `make` makes.
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

    /// Writes its head and all its series. Without labels there is one from the start.
    pub fn write(&self, out: &mut Text) {
        if self.labels.is_empty() {
            self.with(&[]);
        }
        out.head(self.name, self.help, T::KIND);
        for (values, series) in self.series.read().iter() {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            series.write(self.name, self.labels, &values, out);
        }
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
                      sizes_bucket{verb=\"A\\\"B\",le=\"+Inf\"} 3\nsizes_sum{verb=\"A\\\"B\"} 5.0000025e+06\n\
                      sizes_count{verb=\"A\\\"B\"} 3\n";
        assert_eq!(out.finish(), expect);
    }
}
