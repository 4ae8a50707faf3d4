//! Indexes of an Indexed job as its status writes them: `1,3-5`, each below the number of completions, in order.

/// How many indexes a text names.
///
/// # Errors
/// What is wrong with it.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut last, mut total) = (None, 0);
    for part in text.split(',') {
        let (low, high) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= low) {
            return Err(format!("non-increasing order, previous: {last}, current: {low}"));
        }
        total += high - low + 1;
        last = Some(high);
    }
    Ok(total)
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let limits: Vec<&str> = text.split('-').collect();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let index = |text: &str| {
        let index: i64 = text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if index < completions { Ok(index) } else { Err(format!("too large index: {text:?}")) }
    };
    let low = index(limits[0])?;
    let Some(high) = limits.get(1) else { return Ok((low, low)) };
    let high = index(high)?;
    if low >= high {
        return Err(format!("non-increasing order, previous: {low}, current: {high}"));
    }
    Ok((low, high))
}

/// The first index, as upstream finds it, that both texts name. What can't be read is stepped over.
pub(super) fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let intervals = |text: &str| {
        let parts = text.split(',').filter_map(|part| interval(part, completions).ok());
        parts.collect::<Vec<_>>()
    };
    let (completed, failed) = (intervals(completed), intervals(failed));
    let (mut c, mut f) = (0, 0);
    while let (Some((cx, cy)), Some((fx, fy))) = (completed.get(c), failed.get(f)) {
        if cx <= fy && fx <= cy {
            return Some(*cx.max(fx));
        }
        if cx <= fx { c += 1 } else { f += 1 }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_or_refused() {
        for (text, want) in [
            ("", Ok(0)),
            ("0", Ok(1)),
            ("0-2,4,6-9", Ok(8)),
            (
                "0-1-2",
                Err(
                    "the fragment \"0-1-2\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
            ("1,x", Err("cannot convert string to integer for index: \"x\"")),
            ("1-", Err("cannot convert string to integer for index: \"\"")),
            ("10", Err("too large index: \"10\"")),
            ("1-10", Err("too large index: \"10\"")),
            ("3-3", Err("non-increasing order, previous: 3, current: 3")),
            ("1-3,3", Err("non-increasing order, previous: 3, current: 3")),
        ] {
            assert_eq!(count(text, 10), want.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn overlaps() {
        for (completed, failed, want) in
            [("", "1", None), ("0-2,4", "3,5-6", None), ("0-2,4", "3-6", Some(4)), ("x,1", "y,1", Some(1))]
        {
            assert_eq!(overlap(completed, failed, 10), want, "{completed} {failed}");
        }
    }
}
