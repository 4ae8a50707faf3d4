//! What a strategic merge patch must know of a kind.

/// A struct (or, below fields that are maps, a map) of a kind.
pub trait PatchSchema {
    /// The field of that JSON name. The error is upstream's: an unknown field, or data that is no struct
    /// (`unable to find api field in struct PodSpec for the json field "x"`,
    /// `merging an object in json but data type is not struct, instead is: map`).
    fn field(&self, name: &str) -> Result<PatchField<'_>, String>;

    /// What upstream calls the data here in messages: `struct`, `map`, `string`.
    fn name(&self) -> &str {
        "struct"
    }
}

/// How one field is merged.
pub struct PatchField<'a> {
    /// Of the field's value; for a list, of its elements.
    pub schema: Box<dyn PatchSchema + 'a>,
    /// `patchStrategy` has `merge`.
    pub merge: bool,
    /// `patchStrategy` has `replace`.
    pub replace: bool,
    /// `patchStrategy` has `retainKeys`.
    pub retain_keys: bool,
    /// `patchMergeKey`.
    pub merge_key: Option<&'a str>,
}
