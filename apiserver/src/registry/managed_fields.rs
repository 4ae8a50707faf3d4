//! managedFields of a write.

use serde_json::Value;

use super::options::Write;
use super::strategy::WriteContext;

/// Notes who owns which fields after a write by any verb but apply.
pub fn on_write(_cx: &WriteContext<'_>, _old: Option<&Value>, _obj: &mut Value, _options: &Write) {}
