//! The path of a field as users write it: `spec.containers[0].env[NAME]`.

use std::fmt;

/// A path in an object. The empty path is upstream's nil path, which prints `<nil>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

impl Path {
    /// A path of one field at the root.
    pub fn new(name: impl Into<String>) -> Self {
        Path(name.into())
    }

    /// The nil path.
    pub const fn nil() -> Self {
        Path(String::new())
    }

    /// The path of a field of the object here.
    pub fn child(&self, name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        let mut text = String::with_capacity(self.0.len() + 1 + name.len());
        text.push_str(&self.0);
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(name);
        Path(text)
    }

    /// The path of an element of the list here.
    pub fn index(&self, index: usize) -> Self {
        Path(format!("{}[{index}]", self.0))
    }

    /// The path of an entry of the map here.
    pub fn key(&self, key: impl fmt::Display) -> Self {
        Path(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

impl From<&str> for Path {
    fn from(text: &str) -> Self {
        Path(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_upstream() {
        let spec = Path::new("spec");
        assert_eq!(
            spec.child("containers").index(0).child("env").key("A.B").to_string(),
            "spec.containers[0].env[A.B]"
        );
        assert_eq!(Path::nil().child("key").to_string(), "key");
        assert_eq!(Path::nil().to_string(), "<nil>");
        assert_eq!(Path::new("a").index(1).index(2).to_string(), "a[1][2]");
    }
}
