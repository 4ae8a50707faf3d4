//! The text that is being written.

use std::fmt::Write;

/// Its media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text in Prometheus' form: of each metric its head, then all its lines.
#[derive(Default)]
pub struct Text(String);

impl Text {
    /// Begins a metric. `help` starts with its stability where upstream has the metric (`[ALPHA] `), `kind` is `counter`,
    /// `gauge` or `histogram`.
    pub fn head(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A value, with the values of the labels in the labels' order.
    pub fn line(&mut self, name: &str, labels: &[&str], values: &[&str], value: f64) {
        self.series(name, labels, values);
        let _ = writeln!(self.0, " {}", number(value));
    }

    /// A value that was measured at a time, in milliseconds since 1970.
    pub fn line_at(&mut self, name: &str, labels: &[&str], values: &[&str], value: f64, timestamp_ms: i64) {
        self.series(name, labels, values);
        let _ = writeln!(self.0, " {} {timestamp_ms}", number(value));
    }

    fn series(&mut self, name: &str, labels: &[&str], values: &[&str]) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().zip(values).enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.0, "{label}=\"{value}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
    }

    /// The whole of it.
    pub fn finish(self) -> String {
        self.0
    }
}

/// As Go's `strconv.FormatFloat(value, 'g', -1, 64)`: the fewest digits that read back, with an exponent from a million on and
/// below a ten-thousandth.
pub(super) fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let scientific = format!("{value:e}");
    let parts = scientific.split_once('e').and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?)));
    match parts {
        Some((digits, exponent)) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (5_000_002.5, "5.0000025e+06"),
            (1_700_000_000.25, "1.70000000025e+09"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (u64::MAX as f64, "1.8446744073709552e+19"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn what_would_end_a_line_or_a_label_is_escaped() {
        let mut out = Text::default();
        out.head("a_total", "Two\nlines, one \\.", "counter");
        out.line("a_total", &["x", "y"], &["say \"no\"", "c:\\d\n"], 1.0);
        out.line_at("a_total", &[], &[], 2e6, 1_500);
        let expect = "# HELP a_total Two\\nlines, one \\\\.\n# TYPE a_total counter\n\
                      a_total{x=\"say \\\"no\\\"\",y=\"c:\\\\d\\n\"} 1\na_total 2e+06 1500\n";
        assert_eq!(out.finish(), expect);
    }
}
