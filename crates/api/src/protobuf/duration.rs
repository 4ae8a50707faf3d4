//! Go's text of a duration, which JSON has where protobuf has nanoseconds.

const UNITS: [(&str, i128); 6] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("s", 1_000_000_000),
];

/// `1h2m3.5s` to nanoseconds; `None` where it is no duration.
pub fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let (unit, size) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        total += if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()?.checked_mul(*size)? };
        let fraction = &fraction[..fraction.len().min(15)];
        if !fraction.is_empty() {
            total += fraction.parse::<i128>().ok()? * size / 10i128.pow(fraction.len() as u32);
        }
        rest = &tail[unit.len()..];
    }
    (!text.is_empty()).then_some(())?;
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Nanoseconds as Go prints them.
pub fn text(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    let decimal = |value: u64, unit: u64| {
        let (whole, fraction) = (value / unit, value % unit);
        let digits = unit.ilog10() as usize;
        let fraction = format!("{fraction:0digits$}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
    };
    let seconds = all / 1_000_000_000;
    let rest = format!("{}s", decimal(all % 60_000_000_000, 1_000_000_000));
    match (all, seconds / 3600, seconds / 60 % 60) {
        (0, ..) => "0s".into(),
        (1..1_000, ..) => format!("{sign}{all}ns"),
        (1_000..1_000_000, ..) => format!("{sign}{}µs", decimal(all, 1_000)),
        (1_000_000..1_000_000_000, ..) => format!("{sign}{}ms", decimal(all, 1_000_000)),
        (_, 0, 0) => format!("{sign}{rest}"),
        (_, 0, minutes) => format!("{sign}{minutes}m{rest}"),
        (_, hours, minutes) => format!("{sign}{hours}h{minutes}m{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (nanoseconds, shown) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500_000, "1.5ms"),
            (1_000_000_000, "1s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-5_250_000_000, "-5.25s"),
        ] {
            assert_eq!((text(nanoseconds).as_str(), parse(shown)), (shown, Some(nanoseconds)));
        }
        assert_eq!(parse("300ms"), Some(300_000_000));
        for wrong in ["", "1", "h", "1x", ".s"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
