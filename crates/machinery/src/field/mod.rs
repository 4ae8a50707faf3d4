//! Field paths and field errors in upstream's words (`apimachinery/pkg/util/validation/field`). Validation collects them
//! in an [`ErrorList`]; [`crate::status::StatusError::invalid`] turns the list into a Status with one cause an error.

mod error;
mod path;

pub use error::{Error, ErrorList, ErrorType, aggregate};
pub use path::Path;
