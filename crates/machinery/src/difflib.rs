//! Differences of texts line by line, as Go's port of Python's difflib tells them: upstream's messages have such a text
//! where they say how two objects differ.

/// Lines around a change that are told too.
const CONTEXT: usize = 3;

/// One run of lines: equal ones where both ranges are as long, else what replaces what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    equal: bool,
    from: (usize, usize),
    to: (usize, usize),
}

/// The unified difference, without a header; empty where there is none.
pub fn unified(from: &str, to: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (from.split('\n').collect(), to.split('\n').collect());
    let mut out = String::new();
    for group in groups(steps(&a, &b)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (from, to) = (range(first.from.0, last.from.1), range(first.to.0, last.to.1));
        out.push_str(&format!("@@ -{from} +{to} @@\n"));
        let mut tell =
            |sign: char, lines: &[&str]| lines.iter().for_each(|line| out.push_str(&format!("{sign}{line}\n")));
        for step in &group {
            match step.equal {
                true => tell(' ', &a[step.from.0..step.from.1]),
                false => {
                    tell('-', &a[step.from.0..step.from.1]);
                    tell('+', &b[step.to.0..step.to.1]);
                }
            }
        }
    }
    out
}

fn range(start: usize, end: usize) -> String {
    match end - start {
        1 => (start + 1).to_string(),
        0 => format!("{start},0"),
        length => format!("{},{length}", start + 1),
    }
}

/// The longest run of equal lines; of several the first in `a`, then in `b`.
fn longest(a: &[&str], b: &[&str], from: (usize, usize), to: (usize, usize)) -> (usize, usize, usize) {
    let mut best = (from.0, to.0, 0);
    // How long a run ends at each line of `b`, for the line of `a` before.
    let mut runs = vec![0; to.1 - to.0 + 1];
    for (i, line) in a.iter().enumerate().take(from.1).skip(from.0) {
        let mut next = vec![0; runs.len()];
        for j in to.0..to.1 {
            if *line == b[j] {
                let length = runs[j - to.0] + 1;
                next[j - to.0 + 1] = length;
                if length > best.2 {
                    best = (i + 1 - length, j + 1 - length, length);
                }
            }
        }
        runs = next;
    }
    best
}

fn steps(a: &[&str], b: &[&str]) -> Vec<Step> {
    let mut matches = Vec::new();
    let mut open = vec![((0, a.len()), (0, b.len()))];
    while let Some((from, to)) = open.pop() {
        let (i, j, length) = longest(a, b, from, to);
        if length > 0 {
            matches.push((i, j, length));
            open.push(((from.0, i), (to.0, j)));
            open.push(((i + length, from.1), (j + length, to.1)));
        }
    }
    matches.sort_unstable();
    matches.push((a.len(), b.len(), 0));
    let (mut i, mut j) = (0, 0);
    let mut steps: Vec<Step> = Vec::new();
    for (at, there, length) in matches {
        if i < at || j < there {
            steps.push(Step { equal: false, from: (i, at), to: (j, there) });
        }
        (i, j) = (at + length, there + length);
        match steps.last_mut() {
            Some(last) if last.equal && last.from.1 == at && last.to.1 == there => (last.from.1, last.to.1) = (i, j),
            _ if length > 0 => steps.push(Step { equal: true, from: (at, i), to: (there, j) }),
            _ => {}
        }
    }
    steps
}

/// Changes with their context; changes that are near one another together.
fn groups(mut steps: Vec<Step>) -> Vec<Vec<Step>> {
    if steps.iter().all(|step| step.equal) {
        return Vec::new();
    }
    if let Some(first) = steps.first_mut().filter(|step| step.equal) {
        first.from.0 = first.from.0.max(first.from.1.saturating_sub(CONTEXT));
        first.to.0 = first.to.0.max(first.to.1.saturating_sub(CONTEXT));
    }
    if let Some(last) = steps.last_mut().filter(|step| step.equal) {
        last.from.1 = last.from.1.min(last.from.0 + CONTEXT);
        last.to.1 = last.to.1.min(last.to.0 + CONTEXT);
    }
    let (mut groups, mut group) = (Vec::new(), Vec::new());
    for mut step in steps {
        if step.equal && step.from.1 - step.from.0 > 2 * CONTEXT {
            let head =
                Step { from: (step.from.0, step.from.0 + CONTEXT), to: (step.to.0, step.to.0 + CONTEXT), ..step };
            group.push(head);
            groups.push(std::mem::take(&mut group));
            step.from.0 = step.from.1 - CONTEXT;
            step.to.0 = step.to.1 - CONTEXT;
        }
        group.push(step);
    }
    if group.iter().any(|step| !step.equal) {
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_with_their_context() {
        assert_eq!(unified("a\nb", "a\nb"), "");
        assert_eq!(unified("a\nb\nc\nd\ne\nf", "a\nb\nc\nX\ne\nf"), "@@ -1,6 +1,6 @@\n a\n b\n c\n-d\n+X\n e\n f\n");
        assert_eq!(unified("a", "b"), "@@ -1 +1 @@\n-a\n+b\n");
        assert_eq!(unified("a\nb", "a\nx\nb"), "@@ -1,2 +1,3 @@\n a\n+x\n b\n");
        let lines = |changed: &[usize]| {
            let line = |i: usize| if changed.contains(&i) { format!("x{i}") } else { i.to_string() };
            (1..=20).map(line).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            unified(&lines(&[]), &lines(&[2, 18])),
            "@@ -1,5 +1,5 @@\n 1\n-2\n+x2\n 3\n 4\n 5\n@@ -15,6 +15,6 @@\n 15\n 16\n 17\n-18\n+x18\n 19\n 20\n"
        );
    }
}
