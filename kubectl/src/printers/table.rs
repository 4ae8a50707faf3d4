//! Tables: the server makes the cells, this file the columns (cli-runtime `tableprinter.go`, Go's `text/tabwriter`).

use machinery::json::Fields;
use serde_json::Value;

/// Spaces between columns.
const PADDING: usize = 3;
/// The narrowest column.
const MIN_WIDTH: usize = 6;

/// What to show besides what the server sends.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// With the columns of lower priority.
    pub wide: bool,
    /// Without the first line.
    pub no_headers: bool,
    /// With a first column for the namespace.
    pub with_namespace: bool,
    /// With the kind before names: `pod/a`.
    pub kind_prefix: Option<String>,
    /// With a last column of all labels.
    pub show_labels: bool,
    /// With a column for each of these labels.
    pub label_columns: Vec<String>,
}

/// Lines that belong together. Widths are remembered between flushes, as a watch needs it.
#[derive(Debug, Default)]
pub struct Writer {
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Writer {
    /// Adds a line.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines as they are.
    pub fn into_rows(self) -> Vec<Vec<String>> {
        self.rows
    }

    /// All lines since the last time, aligned.
    pub fn flush(&mut self) -> String {
        for row in &self.rows {
            for (index, cell) in row.iter().enumerate() {
                let width = (cell.chars().count() + PADDING).max(MIN_WIDTH);
                match self.widths.get_mut(index) {
                    Some(known) => *known = (*known).max(width),
                    None => self.widths.push(width),
                }
            }
        }
        let mut out = String::new();
        for row in self.rows.drain(..) {
            let last = row.len().saturating_sub(1);
            for (index, cell) in row.iter().enumerate() {
                out.push_str(cell);
                if index < last {
                    let width = self.widths[index] - cell.chars().count();
                    out.extend(std::iter::repeat_n(' ', width));
                }
            }
            out.push('\n');
        }
        out
    }
}

/// A cell as people read it.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => {
            // What would break the line ends the cell, as upstream has it.
            match text.find(['\n', '\r', '\u{c}']) {
                Some(at) => format!("{}...", &text[..at]),
                None => text.clone(),
            }
        }
        other => other.to_string(),
    }
}

/// How long ago a time was, as people read it (`duration.HumanDuration`): `5m`, `3h12m`, `12d`.
pub fn age(timestamp: &str) -> String {
    match timestamp.parse::<jiff::Timestamp>() {
        Ok(at) => machinery::time::human_duration((jiff::Timestamp::now().as_second() - at.as_second()).max(0)),
        Err(_) => "<unknown>".to_owned(),
    }
}

fn labels_of(row: &Value) -> Vec<(String, String)> {
    let labels = row["object"]["metadata"]["labels"].as_object();
    labels
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// Adds the table that the server sent to the lines; `headers`: with its first line.
pub fn write(table: &Value, options: &Options, headers: bool, into: &mut Writer) {
    let definitions = table["columnDefinitions"].as_array().map_or(&[][..], Vec::as_slice);
    let shown: Vec<usize> = definitions
        .iter()
        .enumerate()
        .filter(|(_, definition)| options.wide || definition["priority"].as_i64().unwrap_or(0) == 0)
        .map(|(index, _)| index)
        .collect();
    if headers && !options.no_headers {
        let mut line = Vec::new();
        if options.with_namespace {
            line.push("NAMESPACE".to_owned());
        }
        line.extend(shown.iter().map(|index| definitions[*index].text("name").to_uppercase()));
        line.extend(options.label_columns.iter().map(|label| label.rsplit('/').next().unwrap_or(label).to_uppercase()));
        if options.show_labels {
            line.push("LABELS".to_owned());
        }
        into.row(line);
    }
    for row in table["rows"].as_array().into_iter().flatten() {
        let cells = row["cells"].as_array().map_or(&[][..], Vec::as_slice);
        let mut line = Vec::new();
        if options.with_namespace {
            line.push(row["object"]["metadata"].text("namespace").to_owned());
        }
        for index in &shown {
            let mut text = cells.get(*index).map(cell).unwrap_or_default();
            let is_name = *index == 0 && definitions[*index]["format"] == "name";
            if let (true, Some(prefix)) = (is_name, &options.kind_prefix) {
                text = format!("{prefix}/{text}");
            }
            line.push(text);
        }
        let labels = labels_of(row);
        for wanted in &options.label_columns {
            let found = labels.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.clone());
            line.push(found.unwrap_or_default());
        }
        if options.show_labels {
            let all: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            line.push(if all.is_empty() { "<none>".to_owned() } else { all.join(",") });
        }
        into.row(line);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_tabwriter_makes_them() {
        let table = json!({
            "columnDefinitions": [
                {"name": "Name", "format": "name", "priority": 0}, {"name": "Ready", "priority": 0},
                {"name": "Status", "priority": 0}, {"name": "IP", "priority": 1}],
            "rows": [
                {"cells": ["a", "1/1", "Running", "10.0.0.1"], "object": {"metadata": {"namespace": "x", "labels": {"app": "web", "z": "1"}}}},
                {"cells": ["longer-name", "0/1", "line\nbreak", null], "object": {"metadata": {"namespace": "default"}}}],
        });
        let check = |options: Options, expected: expect_test::Expect| {
            let mut writer = Writer::default();
            write(&table, &options, true, &mut writer);
            expected.assert_eq(&writer.flush());
        };
        check(
            Options::default(),
            expect![[r#"
            NAME          READY   STATUS
            a             1/1     Running
            longer-name   0/1     line...
        "#]],
        );
        check(
            Options {
                wide: true,
                with_namespace: true,
                kind_prefix: Some("pod".into()),
                show_labels: true,
                label_columns: vec!["app".into()],
                ..Options::default()
            },
            expect![[r#"
                NAMESPACE   NAME              READY   STATUS    IP         APP   LABELS
                x           pod/a             1/1     Running   10.0.0.1   web   app=web,z=1
                default     pod/longer-name   0/1     line...   <none>           <none>
            "#]],
        );
        check(
            Options { no_headers: true, ..Options::default() },
            expect![[r#"
            a             1/1   Running
            longer-name   0/1   line...
        "#]],
        );
    }
}
