//! What a component counts, and its text for Prometheus (`/metrics`).
//!
//! The text form is upstream's (0.0.4, `expfmt/text_create.go` of prometheus/common), which the OpenMetrics encoder of the
//! usual library does not write: there a counter's `# TYPE` has another name than its series.

mod series;
mod text;

pub use series::{Counter, Family, Gauge, Histogram, Series};
pub use text::{CONTENT_TYPE, Text};
