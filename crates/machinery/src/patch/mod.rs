//! Patches on JSON values: RFC 6902 ([`json`]), RFC 7396 ([`merge`]), strategic merge ([`strategic`]), and the [`text`] of
//! a result. Each tells the
//! client what upstream tells it; where upstream hides the reason behind a fixed sentence, so does this.

pub mod json;
pub mod merge;
pub mod strategic;
pub mod text;
