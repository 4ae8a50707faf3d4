//! Canonical JSON as the encoder takes it. FieldsV1 is JSON in protobuf too: its text is passed on as it stands, which is
//! half of an ordinary object that is not taken apart and put together again.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Reads an object whose FieldsV1 in its metadata become texts.
pub(super) fn read(json: &[u8]) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = To(&["metadata", "managedFields", "fieldsV1"]).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// What is to stay text is at the end of this path of members, through the elements of lists.
#[derive(Clone, Copy)]
struct To(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for To {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        if self.0.is_empty() {
            return Ok(Value::String(<&RawValue>::deserialize(d)?.get().to_owned()));
        }
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for To {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = match self.0 {
                [next, rest @ ..] if name == *next => map.next_value_seed(To(rest))?,
                _ => map.next_value()?,
            };
            object.insert(name, value);
        }
        Ok(object.into())
    }
}
