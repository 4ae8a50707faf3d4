//! `/metrics/slis`: how the checks of health end, apart from all other series. Follows
//! `component-base/metrics/prometheus/slis`.

use component::metrics::{Counter, Family, Gauge, Text};

use super::process;

/// The results of health checks.
pub struct Slis {
    last: Family<Gauge>,
    total: Family<Counter>,
}

impl Default for Slis {
    fn default() -> Self {
        Self {
            last: Family::new(
                "kubernetes_healthcheck",
                "[STABLE] This metric records the result of a single healthcheck.",
                &["name", "type"],
                Gauge::default,
            ),
            total: Family::new(
                "kubernetes_healthchecks_total",
                "[STABLE] This metric records the results of all healthcheck.",
                &["name", "type", "status"],
                Counter::default,
            ),
        }
    }
}

impl Slis {
    /// A check of a path (`livez`) was made.
    pub fn checked(&self, name: &str, path: &str, holds: bool) {
        self.last.with(&[name, path]).set(i64::from(holds));
        self.total.with(&[name, path, if holds { "success" } else { "error" }]).add(1);
    }

    /// The Prometheus text.
    pub fn text(&self) -> String {
        let mut out = Text::default();
        self.last.write(&mut out);
        self.total.write(&mut out);
        process::write_start(&mut out);
        out.finish()
    }
}
