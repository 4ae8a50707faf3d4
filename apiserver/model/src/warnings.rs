//! The warnings of a request: added by whatever handles it, and sent as `Warning` headers of the answer, also where that is
//! an error. Follows `apiserver/pkg/warning` and `.../endpoints/filters/warning.go`.

use http::header::{self, HeaderMap, HeaderValue};
use parking_lot::Mutex;

/// Characters of the longest text, where there are too many in all.
const TEXT: usize = 256;
const ALL: usize = 4096;

/// The warnings of one request.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Adds those that were not said yet.
    pub fn extend(&self, texts: impl IntoIterator<Item = String>) {
        let mut said = self.0.lock();
        for text in texts {
            if !said.contains(&text) {
                said.push(text);
            }
        }
    }

    /// Adds `Warning: 299 - "text"` headers. Where all of it is too long, each text is cut, and some are left out.
    pub fn write(&self, headers: &mut HeaderMap) {
        let said = self.0.lock();
        let whole: usize = said.iter().map(|text| text.chars().count()).sum();
        let most = if whole > ALL { TEXT } else { usize::MAX };
        let mut written = 0;
        for text in said.iter() {
            if written >= ALL {
                return;
            }
            let cut: String = text.chars().take(most).collect();
            written += text.chars().count().min(most);
            if cut.contains(char::is_control) {
                continue;
            }
            let quoted = cut.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
                headers.append(header::WARNING, value);
            }
        }
    }
}
