//! What a bucket says in XML: lists of objects, and errors. Only what is needed is read; what is not there is empty.

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Keys and lengths.
    pub objects: Vec<(String, u64)>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// The objects of a `ListBucketResult`; or none if it is something else.
pub fn page(xml: &str) -> Option<Page> {
    if !xml.contains("<ListBucketResult") {
        return None;
    }
    let object = |text: &str| Some((within(text, "Key")?, within(text, "Size")?.parse().ok()?));
    let objects = xml.split("<Contents>").skip(1).filter_map(object).collect();
    let more = within(xml, "IsTruncated").is_some_and(|text| text == "true");
    let next = within(xml, "NextContinuationToken").filter(|_| more);
    Some(Page { objects, next })
}

/// Code and message of an `Error`.
pub fn error(xml: &str) -> Option<String> {
    let (_, xml) = xml.split_once("<Error>")?;
    let (code, message) = (within(xml, "Code")?, within(xml, "Message").unwrap_or_default());
    Some(format!("{code}: {message}"))
}

/// The text of the first element of that name.
fn within(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(unescape(text))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let Some((name, after)) = after.split_once(';') else {
            out.push('&');
            rest = after;
            continue;
        };
        let number = name.strip_prefix('#').and_then(|digits| match digits.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => digits.parse().ok(),
        });
        match (name, number.and_then(char::from_u32)) {
            ("lt", _) => out.push('<'),
            ("gt", _) => out.push('>'),
            ("amp", _) => out.push('&'),
            ("quot", _) => out.push('"'),
            ("apos", _) => out.push('\''),
            (_, Some(character)) => out.push(character),
            _ => out.push_str(&format!("&{name};")),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_errors_are_read() {
        let xml = "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"><Name>b</Name><IsTruncated>true</IsTruncated>\
                   <NextContinuationToken>a&amp;b=</NextContinuationToken>\
                   <Contents><Key>p/a&#32;b</Key><Size>12</Size></Contents><Contents><Key>p/c</Key><Size>0</Size></Contents>\
                   </ListBucketResult>";
        let objects = vec![("p/a b".to_owned(), 12), ("p/c".to_owned(), 0)];
        assert_eq!(page(xml), Some(Page { objects, next: Some("a&b=".into()) }));
        assert_eq!(page("<html>"), None);
        let said = error("<Error><Code>NoSuchBucket</Code><Message>It is &lt;not&gt; there</Message></Error>");
        assert_eq!(said.as_deref(), Some("NoSuchBucket: It is <not> there"));
    }
}
