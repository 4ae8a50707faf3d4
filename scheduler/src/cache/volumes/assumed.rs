//! Objects as the API server has shown them, and over some of them what the scheduler has decided and not yet seen written.
//!
//! A decision holds for the version of the object that it was made on: whatever newer version is shown takes its place,
//! be it the decision itself, written, or another's (`volumebinding/passive_assume_cache.go`).

use std::{collections::HashMap, sync::Arc};

/// Something with a resourceVersion.
pub trait Versioned {
    /// metadata.resourceVersion.
    fn version(&self) -> &str;
}

/// See the module.
#[derive(Debug)]
pub struct Assumed<T> {
    shown: HashMap<Arc<str>, Arc<T>>,
    assumed: HashMap<Arc<str>, Arc<T>>,
}

impl<T> Default for Assumed<T> {
    fn default() -> Self {
        Self { shown: HashMap::new(), assumed: HashMap::new() }
    }
}

impl<T: Versioned> Assumed<T> {
    /// The object as decided, or else as shown.
    pub fn get(&self, key: &str) -> Option<&Arc<T>> {
        let shown = self.shown.get(key)?;
        Some(self.assumed.get(key).filter(|assumed| assumed.version() == shown.version()).unwrap_or(shown))
    }

    /// The object as the API server has shown it.
    pub fn shown(&self, key: &str) -> Option<&Arc<T>> {
        self.shown.get(key)
    }

    /// The keys of all objects.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.shown.keys()
    }

    /// Shows an object, or that it is gone; returns what was shown before.
    pub fn show(&mut self, key: &str, object: Option<Arc<T>>) -> Option<Arc<T>> {
        let version = object.as_ref().map(|object| object.version());
        if self.assumed.get(key).is_some_and(|assumed| Some(assumed.version()) != version) {
            self.assumed.remove(key);
        }
        match object {
            Some(object) => self.shown.insert(Arc::from(key), object),
            None => self.shown.remove(key),
        }
    }

    /// Decides on an object of the version that is shown.
    ///
    /// # Errors
    /// It is gone, or another version is shown by now.
    pub fn assume(&mut self, key: &str, resource: &str, object: Arc<T>) -> Result<(), String> {
        let Some((key, shown)) = self.shown.get_key_value(key) else {
            return Err(format!("{resource} {key:?} not found"));
        };
        let (stored, decided) = (shown.version(), object.version());
        if stored != decided {
            return Err(format!("{:?} is out of sync (stored: {stored}, assume: {decided})", &**key));
        }
        self.assumed.insert(key.clone(), object);
        Ok(())
    }

    /// Takes a decision back that was made on that version.
    pub fn restore(&mut self, key: &str, version: &str) {
        if self.assumed.get(key).is_some_and(|assumed| assumed.version() == version) {
            self.assumed.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Object(&'static str, &'static str);

    impl Versioned for Object {
        fn version(&self) -> &str {
            self.0
        }
    }

    #[test]
    fn a_decision_holds_until_something_newer_is_shown() {
        let object = |version, what| Arc::new(Object(version, what));
        let mut all = Assumed::default();
        let seen = |all: &Assumed<Object>| all.get("o").map_or("", |object| object.1);
        assert_eq!(all.assume("o", "things", object("1", "early")), Err("things \"o\" not found".to_owned()));
        all.show("o", Some(object("1", "shown")));
        assert_eq!(all.assume("o", "things", object("1", "decided")), Ok(()));
        assert_eq!((seen(&all), all.shown("o").map(|o| o.1)), ("decided", Some("shown")));
        all.show("o", Some(object("1", "shown again")));
        assert_eq!(seen(&all), "decided");
        all.restore("o", "0");
        assert_eq!(seen(&all), "decided");
        all.restore("o", "1");
        assert_eq!(seen(&all), "shown again");

        assert_eq!(all.assume("o", "things", object("1", "decided")), Ok(()));
        all.show("o", Some(object("2", "newer")));
        assert_eq!(seen(&all), "newer");
        let late = "\"o\" is out of sync (stored: 2, assume: 1)".to_owned();
        assert_eq!(all.assume("o", "things", object("1", "late")), Err(late));

        assert_eq!(all.assume("o", "things", object("2", "decided")), Ok(()));
        all.show("o", None);
        assert_eq!(seen(&all), "");
        all.show("o", Some(object("2", "made again")));
        assert_eq!(seen(&all), "made again");
    }
}
