//! Selectors of devices: expressions that are understood before they are stored, and cost little enough.

use api::rules::Here;
use machinery::field::{Error, ErrorList};

use model::check::Faults;

const LENGTH_MAX_BYTES: usize = 10 * 1024;
const COST_MAX: u64 = 1_000_000;

/// An expression that selects devices.
pub(super) fn selector(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let text = here.value.as_str().unwrap_or_default();
    if text.len() > LENGTH_MAX_BYTES {
        return errors.push(Error::too_long(&here.path(), LENGTH_MAX_BYTES));
    }
    match devices::selector::compile(text) {
        Err(why) => errors.invalid(&here.path(), text, why),
        Ok(program) if program.max_cost > COST_MAX => {
            errors.forbidden(&here.path(), "too complex, exceeds cost limit");
        }
        Ok(_) => {}
    }
}
