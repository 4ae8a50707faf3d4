//! Completion indexes as the status has them: `1,3-5,7`. Two that follow each other are written with a comma, three and
//! more with a hyphen.

use std::fmt;

/// A set of indexes: intervals in order, with a gap between each two.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads the text of a status; what is no interval is left out, and so are indexes from `completions` on.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let mut read: Vec<(i32, i32)> = Vec::new();
        for part in text.split(',') {
            let mut ends = part.split('-').map(str::parse::<i64>);
            let Some(Ok(first)) = ends.next() else { continue };
            if first >= i64::from(completions) {
                break;
            }
            let last = match ends.next() {
                None => first,
                Some(Ok(last)) => last.min(i64::from(completions) - 1),
                Some(Err(_)) => continue,
            };
            let (Ok(first), Ok(last)) = (i32::try_from(first), i32::try_from(last)) else { continue };
            match read.last_mut() {
                Some(before) if before.1 == first - 1 => before.1 = last,
                _ => read.push((first, last)),
            }
        }
        Self(read)
    }

    /// These and `more`, which are in order.
    pub(super) fn with(&self, more: impl IntoIterator<Item = i32>) -> Self {
        self.merge(&Self(more.into_iter().map(|index| (index, index)).collect()))
    }

    /// These and those.
    pub(super) fn merge(&self, other: &Self) -> Self {
        let mut all: Vec<(i32, i32)> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        let mut merged: Vec<(i32, i32)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// How many.
    pub(super) fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are in both.
    pub(super) fn shared(&self, other: &Self) -> i32 {
        let (mut a, mut b, mut shared) = (0, 0, 0);
        while let (Some(x), Some(y)) = (self.0.get(a), other.0.get(b)) {
            shared += (x.1.min(y.1) - x.0.max(y.0) + 1).max(0);
            if x.1 <= y.1 {
                a += 1;
            }
            if y.1 <= x.1 {
                b += 1;
            }
        }
        shared
    }

    /// The first `count` below `completions` that are not among these.
    pub(super) fn missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut missing = Vec::new();
        let mut candidate = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            let free = (candidate..first.min(completions)).take(count - missing.len());
            missing.extend(free);
            if missing.len() == count {
                break;
            }
            candidate = candidate.max(last + 1);
        }
        missing
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_read_and_written() {
        for (text, completions, want) in [
            ("", 5, ""),
            ("0", 5, "0"),
            ("0,1", 5, "0,1"),
            ("0,1,2", 5, "0-2"),
            ("0-2,3", 5, "0-3"),
            ("2,4,5,7-9", 20, "2,4,5,7-9"),
            ("0,3-8,12", 6, "0,3-5"),
            ("0-2,7,8", 3, "0-2"),
            ("a,1,b-c,3-x,4", 9, "1,4"),
            ("1,99999999999", 9, "1"),
        ] {
            assert_eq!(Indexes::parse(text, completions).to_string(), want, "{text}");
        }
    }

    #[test]
    fn what_is_added_joins_what_it_touches() {
        let set = Indexes::parse("1,5,9-11", 100);
        for (more, want) in [
            (vec![], "1,5,9-11"),
            (vec![0, 2], "0-2,5,9-11"),
            (vec![1, 1, 5], "1,5,9-11"),
            (vec![8, 12, 20], "1,5,8-12,20"),
            (vec![2, 3, 4, 6, 7, 8], "1-11"),
        ] {
            assert_eq!(set.with(more).to_string(), want);
        }
        assert_eq!((set.total(), Indexes::default().total()), (5, 0));
        let has: Vec<i32> = (0..13).filter(|index| set.has(*index)).collect();
        assert_eq!(has, [1, 5, 9, 10, 11]);
    }

    #[test]
    fn the_first_that_are_missing() {
        for (taken, count, completions, want) in [
            ("", 5, 3, vec![0, 1, 2]),
            ("", 2, 5, vec![0, 1]),
            ("", 0, 5, vec![]),
            ("0,1", 3, 10, vec![2, 3, 4]),
            ("4-6", 6, 6, vec![0, 1, 2, 3]),
            ("2-5,8,9", 5, 20, vec![0, 1, 6, 7, 10]),
            ("0-5", 3, 6, vec![]),
            ("0-9", 3, 6, vec![]),
        ] {
            assert_eq!(Indexes::parse(taken, 100).missing(count, completions), want, "{taken}");
        }
    }

    #[test]
    fn what_two_sets_share_is_counted() {
        for (a, b, want) in
            [("0-4", "2-3", 2), ("0,2,4", "0-4", 3), ("0-2,6-8", "2-6", 2), ("0", "1", 0), ("", "1", 0), ("3", "3", 1)]
        {
            let (a, b) = (Indexes::parse(a, 100), Indexes::parse(b, 100));
            assert_eq!((a.shared(&b), b.shared(&a)), (want, want), "{a} {b}");
        }
    }
}
