//! `resource.Quantity`: a decimal number with an SI or binary suffix, exact to a billionth.
//!
//! The text of a quantity survives as the client wrote it where upstream keeps it (`100Mi`), and is made canonical
//! where upstream does (`1024Mi` becomes `1Gi`, `0.5` becomes `500m`), so that what is stored and shown is the same.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// How a quantity is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    DecimalSi,
}

/// An amount: `unscaled * 10^scale`.
#[derive(Clone, Debug)]
pub struct Quantity {
    unscaled: i128,
    scale: i32,
    format: Format,
    text: Option<Box<str>>,
}

/// Why a text is no quantity, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not of the form.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// Digits that make no number.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// An unknown suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i32 = -9;
// Digits that an amount may have before it is cut; upstream has no bound, nobody has such amounts.
const MAX_DIGITS: usize = 36;

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let rest = rest.trim_start_matches('0');
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = suffix.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let tail = &suffix[letters..];
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if !tail.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::Format);
    }
    Ok(Parts { negative, whole, fraction, suffix })
}

// Base 2 or 10, exponent, format.
fn suffix(text: &str) -> Option<(u32, i32, Format)> {
    Some(match text {
        "" => (10, 0, Format::DecimalSi),
        "n" => (10, -9, Format::DecimalSi),
        "u" => (10, -6, Format::DecimalSi),
        "m" => (10, -3, Format::DecimalSi),
        "k" => (10, 3, Format::DecimalSi),
        "M" => (10, 6, Format::DecimalSi),
        "G" => (10, 9, Format::DecimalSi),
        "T" => (10, 12, Format::DecimalSi),
        "P" => (10, 15, Format::DecimalSi),
        "E" => (10, 18, Format::DecimalSi),
        "Ki" => (2, 10, Format::BinarySi),
        "Mi" => (2, 20, Format::BinarySi),
        "Gi" => (2, 30, Format::BinarySi),
        "Ti" => (2, 40, Format::BinarySi),
        "Pi" => (2, 50, Format::BinarySi),
        "Ei" => (2, 60, Format::BinarySi),
        other => {
            let exponent = other.strip_prefix(['e', 'E'])?.parse::<i64>().ok()?;
            (10, i32::try_from(exponent.clamp(-1000, 1000)).ok()?, Format::DecimalExponent)
        }
    })
}

impl Quantity {
    /// From an object's field: text, or a number.
    pub fn from_value(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::String(text) => Self::parse(text).ok(),
            serde_json::Value::Number(number) => Self::parse(&number.to_string()).ok(),
            _ => None,
        }
    }

    /// Zero.
    pub const fn zero() -> Self {
        Quantity { unscaled: 0, scale: 0, format: Format::DecimalSi, text: None }
    }

    /// A whole number.
    pub const fn new(value: i64, format: Format) -> Self {
        Quantity { unscaled: value as i128, scale: 0, format, text: None }
    }

    /// So many thousandths.
    pub const fn from_milli(value: i64) -> Self {
        Quantity { unscaled: value as i128, scale: -3, format: Format::DecimalSi, text: None }
    }

    /// Parses upstream's form.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        let parts = split(text)?;
        let (base, exponent, format) = suffix(parts.suffix).ok_or(ParseError::Suffix)?;
        let digits = parts.whole.len() + parts.fraction.len();
        if digits == 0 && !text.bytes().any(|b| b.is_ascii_digit() && !parts.suffix.as_bytes().contains(&b)) {
            return Err(ParseError::Numeric);
        }
        if digits > MAX_DIGITS {
            return Err(ParseError::Numeric);
        }
        let joined = [parts.whole, parts.fraction].concat();
        let number: i128 = if joined.is_empty() { 0 } else { joined.parse().map_err(|_| ParseError::Numeric)? };
        let sign = if parts.negative { -1 } else { 1 };
        let fraction_digits = i32::try_from(parts.fraction.len()).unwrap_or(i32::MAX);

        if base == 10 {
            let scale = exponent - fraction_digits;
            let fast = digits.max(1) <= 18 && scale >= NANO;
            let keeps = fast && scale % 3 == 0 && !joined.ends_with("000") && !joined.starts_with('0');
            let mut out = Quantity { unscaled: sign * number, scale, format, text: None };
            out.round_up_to_nano();
            // A lone zero keeps its text only as plain `0`; others with a non-zero digit as they are.
            if keeps && (!joined.is_empty() || text == "0") {
                out.text = Some(text.into());
            }
            return Ok(out);
        }

        let factor = 1i128 << exponent;
        let unscaled = number.saturating_mul(factor);
        let limit = i128::from(i64::MAX);
        let mut out = Quantity { unscaled: sign * unscaled, scale: -fraction_digits, format, text: None };
        out.round_up_to_nano();
        if out.magnitude_cmp(limit) == Ordering::Greater {
            out.unscaled = sign * limit;
            out.scale = 0;
        }
        let precision = 15 - i64::try_from(digits.max(1)).unwrap_or(i64::MAX) - i64::from(exponent) * 3 / 10 - 1;
        if parts.fraction.is_empty() && precision >= 0 {
            if number & 7 != 0 {
                out.text = Some(text.into());
            }
        } else if out.unscaled != 0 && out.magnitude_cmp(1) == Ordering::Less {
            out.format = Format::DecimalSi;
        }
        Ok(out)
    }

    fn magnitude_cmp(&self, limit: i128) -> Ordering {
        let own = Quantity { unscaled: self.unscaled.abs(), scale: self.scale, format: self.format, text: None };
        own.cmp(&Quantity { unscaled: limit, scale: 0, format: self.format, text: None })
    }

    // Nothing smaller than a billionth exists; what is smaller is rounded away from zero.
    fn round_up_to_nano(&mut self) {
        if self.scale < NANO {
            self.unscaled = divide_away_from_zero(self.unscaled, NANO - self.scale);
            self.scale = NANO;
        }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.unscaled == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        i32::try_from(self.unscaled.signum()).unwrap_or(0)
    }

    /// The number rounded up (away from zero), saturating.
    pub fn value(&self) -> i64 {
        self.scaled(0)
    }

    /// The number of thousandths, rounded up (away from zero), saturating.
    pub fn milli_value(&self) -> i64 {
        self.scaled(-3)
    }

    fn scaled(&self, scale: i32) -> i64 {
        let difference = self.scale - scale;
        let value = if difference >= 0 {
            self.unscaled.saturating_mul(power_of_ten(difference))
        } else {
            divide_away_from_zero(self.unscaled, -difference)
        };
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }

    /// The nearest float.
    pub fn as_f64(&self) -> f64 {
        self.unscaled as f64 * 10f64.powi(self.scale)
    }

    /// How it prints.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The sum, printed in the format of the first that is not zero.
    pub fn add(&self, other: &Quantity) -> Quantity {
        self.combine(other, i128::saturating_add)
    }

    /// The difference.
    pub fn sub(&self, other: &Quantity) -> Quantity {
        self.combine(other, i128::saturating_sub)
    }

    fn combine(&self, other: &Quantity, op: fn(i128, i128) -> i128) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        let scale = self.scale.min(other.scale);
        let at = |q: &Quantity| q.unscaled.saturating_mul(power_of_ten(q.scale - scale));
        Quantity { unscaled: op(at(self), at(other)), scale, format, text: None }
    }

    /// The text in canonical form, whatever the client wrote.
    pub fn canonical(&self) -> String {
        if self.is_zero() {
            return "0".to_owned();
        }
        let whole = match self.format {
            Format::BinarySi if self.magnitude_cmp(1024) != Ordering::Less => self.exact_whole(),
            _ => None,
        };
        if let Some(mut number) = whole {
            let mut suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].into_iter().peekable();
            let mut suffix = suffixes.next().unwrap_or_default();
            while number % 1024 == 0 && suffixes.peek().is_some() {
                number /= 1024;
                suffix = suffixes.next().unwrap_or_default();
            }
            return format!("{number}{suffix}");
        }
        let (mut number, mut exponent) = (self.unscaled, self.scale);
        while number % 10 == 0 {
            number /= 10;
            exponent += 1;
        }
        let excess = exponent.rem_euclid(3);
        number = number.saturating_mul(power_of_ten(excess));
        exponent -= excess;
        let suffix = match (self.format, exponent) {
            (_, 0) => "",
            (Format::DecimalExponent, e) => return format!("{number}e{e}"),
            (_, -9) => "n",
            (_, -6) => "u",
            (_, -3) => "m",
            (_, 3) => "k",
            (_, 6) => "M",
            (_, 9) => "G",
            (_, 12) => "T",
            (_, 15) => "P",
            (_, 18) => "E",
            (_, e) => return format!("{number}e{e}"),
        };
        format!("{number}{suffix}")
    }

    fn exact_whole(&self) -> Option<i128> {
        if self.scale >= 0 {
            return self.unscaled.checked_mul(power_of_ten(self.scale));
        }
        let divisor = power_of_ten(-self.scale);
        (self.unscaled % divisor == 0).then(|| self.unscaled / divisor)
    }
}

fn power_of_ten(exponent: i32) -> i128 {
    10i128.checked_pow(exponent.unsigned_abs()).unwrap_or(i128::MAX)
}

fn divide_away_from_zero(number: i128, exponent: i32) -> i128 {
    let divisor = power_of_ten(exponent);
    let quotient = number / divisor;
    if number % divisor == 0 { quotient } else { quotient + number.signum() }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.min(other.scale);
        let at = |q: &Quantity| q.unscaled.checked_mul(power_of_ten(q.scale - scale));
        match (at(self), at(other)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => self.as_f64().total_cmp(&other.as_f64()),
        }
    }
}

impl FromStr for Quantity {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Quantity::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => f.write_str(&self.canonical()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(text: &str) -> Quantity {
        Quantity::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn prints_as_upstream() {
        for (input, printed) in [
            ("0", "0"),
            ("0n", "0"),
            ("00", "0"),
            ("0Ki", "0"),
            ("-0", "0"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5."),
            ("1.5", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("0.5Gi", "512Mi"),
            ("1024Mi", "1Gi"),
            ("100Mi", "100Mi"),
            ("1000Ki", "1000Ki"),
            ("1000000", "1M"),
            ("1234567", "1234567"),
            ("1e3", "1e3"),
            ("1E3", "1E3"),
            ("1000e3", "1e6"),
            ("100e1", "1e3"),
            ("2.5E6", "2500e3"),
            ("1.1n", "2n"),
            ("0.0000000001", "1n"),
            ("-1.1n", "-2n"),
            ("512", "512"),
            ("0.1Mi", "104857600m"),
            ("9223372036854775808Ki", "9223372036854775807"),
            ("1k", "1k"),
            ("1E", "1E"),
            ("100000000000000000000", "100E"),
        ] {
            assert_eq!(q(input).to_string(), printed, "{input}");
        }
    }

    #[test]
    fn refuses_as_upstream() {
        for (input, error) in [
            ("", ParseError::Format),
            ("1.1.M", ParseError::Format),
            ("1+1.0M", ParseError::Format),
            ("aoeu", ParseError::Format),
            ("0.1mi", ParseError::Suffix),
            ("0.1am", ParseError::Format),
            (".5i", ParseError::Suffix),
            ("1i", ParseError::Suffix),
            ("1e", ParseError::Suffix),
            ("-3.01i", ParseError::Suffix),
            (" 1", ParseError::Format),
            ("1 ", ParseError::Format),
            (".", ParseError::Numeric),
            ("-", ParseError::Numeric),
        ] {
            assert_eq!(Quantity::parse(input).unwrap_err(), error, "{input}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(q("1.5").value(), 2);
        assert_eq!(q("-1.5").value(), -2);
        assert_eq!(q("100m").value(), 1);
        assert_eq!(q("1Gi").value(), 1 << 30);
        assert_eq!(q("1.0001").milli_value(), 1001);
        assert_eq!(q("1e30").value(), i64::MAX);
        assert!(q("1Ki") > q("1k"));
        assert_eq!(q("1000m"), q("1"));
        assert_eq!(q("100m").add(&q("1")).to_string(), "1100m");
        assert_eq!(q("0").add(&q("1Gi")).to_string(), "1Gi");
        assert_eq!(q("1Gi").sub(&q("512Mi")).to_string(), "512Mi");
        assert_eq!(q("1Gi").sub(&q("1Gi")).to_string(), "0");
    }
}
