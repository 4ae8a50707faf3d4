//! Go's `text/tabwriter` with elastic tab stops: a column is as wide as its widest cell in a run of lines that all have it.
//!
//! `describe` writes free text with tabs; its alignment is part of what people read and scripts cut.

/// Space after the widest cell.
const PADDING: usize = 2;

/// Aligns text whose cells end in tabs. A form feed ends all columns.
pub fn align(text: &str) -> String {
    text.split('\u{c}').map(section).collect()
}

fn section(text: &str) -> String {
    let ends_with_newline = text.ends_with('\n');
    let mut lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    if ends_with_newline {
        lines.pop();
    }
    let mut out = String::new();
    format(&lines, 0, lines.len(), &mut Vec::new(), &mut out);
    if !ends_with_newline {
        out.pop();
    }
    out
}

fn format(lines: &[Vec<&str>], from: usize, to: usize, widths: &mut Vec<usize>, out: &mut String) {
    let column = widths.len();
    let has = |line: usize| column + 1 < lines[line].len();
    let (mut done, mut line) = (from, from);
    while line < to {
        if !has(line) {
            line += 1;
            continue;
        }
        write(&lines[done..line], widths, out);
        let start = line;
        let mut width = 0;
        while line < to && has(line) {
            width = width.max(lines[line][column].chars().count() + PADDING);
            line += 1;
        }
        widths.push(width);
        format(lines, start, line, widths, out);
        widths.pop();
        done = line;
    }
    write(&lines[done..to], widths, out);
}

fn write(lines: &[Vec<&str>], widths: &[usize], out: &mut String) {
    for line in lines {
        for (index, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(index).filter(|_| index + 1 < line.len()) {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    #[test]
    fn columns_end_where_a_line_lacks_them() {
        expect![[r#"
            Name:  web
            Port:  http  80/TCP
            IP:    1.2.3.4
            Data
            ====
            longer-key:  3 bytes
            k:           1 bytes
        "#]]
        .assert_eq(&super::align(
            "Name:\tweb\nPort:\thttp\t80/TCP\nIP:\t1.2.3.4\nData\n====\nlonger-key:\t3 bytes\nk:\t1 bytes\n",
        ));
    }
}
