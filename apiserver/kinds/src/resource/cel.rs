//! Selectors of devices: expressions that are understood before they are stored, and cost little enough.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use api::rules::Here;
use machinery::field::{Error, ErrorList};

use cel::Program;
use cel::types::{Object, Type};
use model::check::Faults;

const LENGTH_MAX_BYTES: usize = 10 * 1024;
const COST_MAX: u64 = 1_000_000;

/// `device`, as a slice describes it: names of attributes and capacities by their domains.
static DEVICE: LazyLock<[(String, Type); 1]> = LazyLock::new(|| {
    const ENTRIES: u64 = 32;
    let by_domain = |value: Type| {
        let names = Type::Map(Arc::new(Type::String(32)), Arc::new(value), ENTRIES);
        Type::Map(Arc::new(Type::String(63)), Arc::new(names), ENTRIES)
    };
    let fields = BTreeMap::from([
        ("driver".to_owned(), Type::String(63)),
        ("allowMultipleAllocations".to_owned(), Type::Bool),
        ("attributes".to_owned(), by_domain(Type::Dyn(64))),
        ("capacity".to_owned(), by_domain(Type::Opaque("kubernetes.Quantity"))),
    ]);
    let device = Object { name: "kubernetes.DRADevice".to_owned(), fields };
    [("device".to_owned(), Type::Object(Arc::new(device)))]
});

/// An expression that selects devices.
pub(super) fn selector(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let text = here.value.as_str().unwrap_or_default();
    if text.len() > LENGTH_MAX_BYTES {
        return errors.push(Error::too_long(&here.path(), LENGTH_MAX_BYTES));
    }
    match Program::compile_binding(text, &*DEVICE) {
        Err(faults) => errors.invalid(&here.path(), text, format!("compilation failed: {faults}")),
        Ok(program) if !matches!(program.result, Type::Bool | Type::Dyn(_)) => {
            let detail = format!("must evaluate to bool or the unknown type, not {}", program.result);
            errors.invalid(&here.path(), text, detail);
        }
        Ok(program) if program.max_cost > COST_MAX => {
            errors.forbidden(&here.path(), "too complex, exceeds cost limit");
        }
        Ok(_) => {}
    }
}
