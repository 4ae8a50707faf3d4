//! AlwaysAdmit: refuses nothing. Deprecated upstream, and still named in flags. Follows `plugin/pkg/admission/admit`.

use async_trait::async_trait;
use writes::admission::{Plugin, Request};

/// See the module.
pub struct AlwaysAdmit;

#[async_trait]
impl Plugin for AlwaysAdmit {
    fn handles(&self, _: &Request<'_>) -> bool {
        false
    }
}
