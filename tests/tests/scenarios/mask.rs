//! What differs from run to run, made equal: names that the server completes, uids, versions, times and ages.

use regex::Regex;

/// Patterns and what stands for them, in order.
const MASKS: &[(&str, &str)] = &[
    // The suffix of a generated name: five letters without vowels.
    (r"(-)[bcdfghjklmnpqrstvwxz2456789]{5}\b", "${1}xxxxx"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<uid>"),
    (r#"(resourceVersion\\?"?: ?\\?"?)[0-9]+"#, "${1}<version>"),
    (r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?Z", "<time>"),
    // Ages in tables: in the last column, and before others, where one of a digit is as wide as one of two.
    (r"(?m)(  )[0-9]+s$", "${1}<age>"),
    (r"(?m)(  )(?:[0-9]{2}s|[0-9]s )( )", "${1}<s>${2}"),
];

/// The text with all of them masked.
pub fn mask(text: &str) -> String {
    MASKS.iter().fold(text.to_owned(), |text, (pattern, with)| {
        let pattern = Regex::new(pattern).expect("a pattern");
        pattern.replace_all(&text, *with).into_owned()
    })
}
