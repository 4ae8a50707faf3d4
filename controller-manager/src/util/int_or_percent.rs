//! Numbers that may be given as a percentage, as of how many pods may be missing.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// An absolute number, or a percentage of `total` rounded up or down. What is no percentage counts as nothing;
/// validation lets none through.
pub(crate) fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(n)) => *n,
        Some(IntOrString::String(s)) => {
            let percent = s.strip_suffix('%').and_then(|p| p.parse::<i64>().ok()).unwrap_or(0);
            let product = percent * i64::from(total);
            let value = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(value).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_as_asked() {
        let text = |s: &str| Some(IntOrString::String(s.into()));
        for (value, total, up, down) in [
            (None, 10, 0, 0),
            (Some(IntOrString::Int(3)), 10, 3, 3),
            (text("25%"), 10, 3, 2),
            (text("50%"), 10, 5, 5),
            (text("100%"), 7, 7, 7),
            (text("1%"), 0, 0, 0),
            (text("nonsense"), 10, 0, 0),
        ] {
            assert_eq!((scaled(value.as_ref(), total, true), scaled(value.as_ref(), total, false)), (up, down));
        }
    }
}
