//! Objects at rest: what nobody has read for a while is held as compressed bytes and decoded again when it is asked for.
//!
//! A typed pod takes some 27 kB of memory (its optional parts lie in it, there or not), as JSON 4 kB, and compressed against
//! another pod 300 bytes: most of what it says, its siblings say too. So an informer keeps typed what its readers use, and
//! the rest packed. Opening costs what decoding a watch event costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Notify;

/// What was not read in this time is packed within as much again.
const REST: Duration = Duration::from_secs(10);
/// So many that were opened are reason enough not to wait for that; each counts as [`READ`] or [`TOLD`] says.
const MANY: usize = 16_384;
/// Opened to be read: where one look opens thousands, most are not wanted again.
const READ: usize = 4;
/// A new state, told by a watch: where there is one, the next may come soon, and packing between them is in vain.
const TOLD: usize = 1;

/// Objects that packed badly and so lend their text to those after them, at most.
const SAMPLES: usize = 8;
/// A text that packs to more than its fourth part is unlike those before it.
const POOR: usize = 4;
/// What compression can still refer to (LZ4's window).
const WINDOW: usize = 64 << 10;

/// How objects of a kind are packed.
pub(crate) struct Codec<K> {
    encode: fn(&K) -> Option<Vec<u8>>,
    decode: fn(&[u8]) -> Option<K>,
    /// Texts to refer to; each is the one before with a sample more, and none is ever changed.
    dictionaries: RwLock<Vec<Arc<[u8]>>>,
    pub(crate) opened: Opened,
}

/// How much was opened since the last time that something was packed.
#[derive(Default)]
pub(crate) struct Opened {
    count: AtomicUsize,
    some: Notify,
    many: Notify,
}

impl Opened {
    /// One was opened to be read.
    pub(crate) fn one_read(&self) {
        self.one_more(READ);
    }

    /// One is open because it is new.
    pub(crate) fn one_told(&self) {
        self.one_more(TOLD);
    }

    fn one_more(&self, weight: usize) {
        let before = self.count.fetch_add(weight, Ordering::Relaxed);
        if before == 0 {
            self.some.notify_one();
        }
        if before < MANY && before + weight >= MANY {
            self.many.notify_one();
        }
    }

    /// Not everything could be packed.
    pub(crate) fn some_stay(&self) {
        self.some.notify_one();
    }

    /// Returns when it is time to pack.
    pub(crate) async fn due(&self) {
        self.some.notified().await;
        let _ = tokio::time::timeout(REST, self.many.notified()).await;
        self.count.store(0, Ordering::Relaxed);
    }
}

impl<K: Serialize + DeserializeOwned> Default for Codec<K> {
    fn default() -> Self {
        Self {
            encode: |object| serde_json::to_vec(object).ok(),
            decode: |text| serde_json::from_slice(text).ok(),
            dictionaries: RwLock::new(vec![[].into()]),
            opened: Opened::default(),
        }
    }
}

/// An object as compressed JSON.
struct Packed {
    bytes: Box<[u8]>,
    /// Length of the text.
    length: u32,
    /// Which of the codec's dictionaries it refers to.
    dictionary: u32,
}

impl<K> Codec<K> {
    fn pack(&self, object: &K) -> Option<Packed> {
        let text = (self.encode)(object)?;
        let (number, dictionary) = {
            let all = self.dictionaries.read();
            (all.len() - 1, all.last()?.clone())
        };
        let bytes = lz4_flex::block::compress_with_dict(&text, &dictionary).into_boxed_slice();
        if bytes.len() > text.len() / POOR && number < SAMPLES && dictionary.len() + text.len() <= WINDOW {
            let mut all = self.dictionaries.write();
            if all.len() == number + 1 {
                all.push([&*dictionary, &text].concat().into());
            }
        }
        Some(Packed { bytes, length: text.len().try_into().ok()?, dictionary: number.try_into().ok()? })
    }

    fn open(&self, packed: &Packed) -> Option<K> {
        let dictionary = self.dictionaries.read().get(packed.dictionary as usize)?.clone();
        let text = lz4_flex::block::decompress_with_dict(&packed.bytes, packed.length as usize, &dictionary).ok()?;
        let object = (self.decode)(&text);
        if object.is_none() {
            // Not the text: it may be a Secret's.
            let kind = std::any::type_name::<K>();
            tracing::error!(kind, length = text.len(), "a packed object can't be opened: its readers miss it");
        }
        object
    }
}

enum Form<K> {
    Open {
        object: Arc<K>,
        /// Since [`Held::rest`] came by last.
        read: bool,
    },
    Packed(Packed),
}

/// One object of a store, in its newest state.
pub(crate) struct Held<K> {
    pub(crate) name: Box<str>,
    form: Mutex<Form<K>>,
}

impl<K> Held<K> {
    pub(crate) fn new(name: &str, object: Arc<K>) -> Self {
        Self { name: name.into(), form: Mutex::new(Form::Open { object, read: true }) }
    }

    /// Puts another state in the place of the one that is there, which it gives.
    pub(crate) fn replace(&self, object: Arc<K>, codec: &Codec<K>) -> Option<Arc<K>> {
        match std::mem::replace(&mut *self.form.lock(), Form::Open { object, read: true }) {
            Form::Open { object, .. } => Some(object),
            Form::Packed(packed) => codec.open(&packed).map(Arc::new),
        }
    }

    /// The object, which stays open.
    pub(crate) fn open(&self, codec: &Codec<K>) -> Option<Arc<K>> {
        self.open_if(codec, |_| true)
    }

    /// The object, which stays open, if it is wanted; otherwise it is left as it is.
    pub(crate) fn open_if(&self, codec: &Codec<K>, wanted: impl Fn(&K) -> bool) -> Option<Arc<K>> {
        let mut form = self.form.lock();
        let object = match &*form {
            Form::Open { object, .. } => object.clone(),
            Form::Packed(packed) => Arc::new(codec.open(packed)?),
        };
        if !wanted(&object) {
            return None;
        }
        if matches!(*form, Form::Packed(_)) {
            codec.opened.one_read();
        }
        *form = Form::Open { object: object.clone(), read: true };
        Some(object)
    }

    /// The object, for one look that leaves it as it is.
    pub(crate) fn peek(&self, codec: &Codec<K>) -> Option<Arc<K>> {
        match &*self.form.lock() {
            Form::Open { object, .. } => Some(object.clone()),
            Form::Packed(packed) => codec.open(packed).map(Arc::new),
        }
    }

    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        matches!(&*self.form.lock(), Form::Open { .. })
    }

    /// Packs what was not read since the last time, or at once; true if it stays open.
    ///
    /// What somebody else holds stays open: packing it would take memory and free none.
    pub(crate) fn rest(&self, codec: &Codec<K>, at_once: bool) -> bool {
        let mut form = self.form.lock();
        let Form::Open { object, read } = &mut *form else { return false };
        if (std::mem::take(read) && !at_once) || Arc::strong_count(object) > 1 {
            return true;
        }
        let Some(packed) = codec.pack(object) else { return true };
        *form = Form::Packed(packed);
        false
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    use super::*;

    /// Of one template: what differs is short.
    fn sibling(template: usize, number: usize) -> ConfigMap {
        let mut seed = template as u64;
        let mut word = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{seed:016x}")
        };
        let data = (0..40).map(|_| (word(), word())).collect();
        let metadata = ObjectMeta { name: Some(format!("object-{number}")), ..Default::default() };
        ConfigMap { metadata, data: Some(data), ..Default::default() }
    }

    fn size(held: &Held<ConfigMap>) -> Option<usize> {
        match &*held.form.lock() {
            Form::Open { .. } => None,
            Form::Packed(packed) => Some(packed.bytes.len()),
        }
    }

    #[test]
    fn what_is_packed_opens_as_it_was_and_siblings_take_little() {
        let codec = Codec::default();
        // More templates than there are samples, and one whose text no dictionary takes.
        let mut objects: Vec<_> = (0..100).map(|n| sibling(n % (SAMPLES + 3), n)).collect();
        objects[50].data.as_mut().unwrap().insert("large".to_owned(), "x".repeat(1 << 20));
        let held: Vec<_> = objects.iter().map(|o| Held::new("o", Arc::new(o.clone()))).collect();
        assert!(held.iter().all(|h| !h.rest(&codec, true)));
        for (held, object) in held.iter().zip(&objects) {
            assert_eq!(*held.peek(&codec).unwrap(), *object);
        }
        let sizes: Vec<_> = held.iter().map(|h| size(h).unwrap()).collect();
        let small = sizes.iter().filter(|s| **s < 200).count();
        assert!((60..=80).contains(&small), "those of eight templates but the first of each: {sizes:?}");
        assert!(codec.dictionaries.read().len() <= SAMPLES + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_were_opened_are_packed_sooner() {
        for (opened, each, soon) in [
            (MANY / READ - 1, Opened::one_read as fn(&Opened), false),
            (MANY / READ, Opened::one_read, true),
            (MANY / READ, Opened::one_told, false),
            (MANY / TOLD, Opened::one_told, true),
        ] {
            let all = Opened::default();
            (0..opened).for_each(|_| each(&all));
            let begin = tokio::time::Instant::now();
            all.due().await;
            assert_eq!(begin.elapsed() < REST, soon, "{opened}");
        }
    }

    #[test]
    fn what_is_read_or_held_stays_open() {
        let codec = Codec::default();
        let held = Held::new("o", Arc::new(sibling(0, 0)));
        assert!(held.rest(&codec, false), "it is new");
        let somebody = held.peek(&codec);
        assert!(held.rest(&codec, false), "somebody holds it");
        drop(somebody);
        drop(held.open(&codec));
        assert!(held.rest(&codec, false), "it was read");
        assert!(!held.rest(&codec, false));
        drop(held.peek(&codec));
        assert!(size(&held).is_some(), "a look leaves it packed");
        drop(held.open(&codec));
        assert!(size(&held).is_none(), "reading does not");
    }
}
