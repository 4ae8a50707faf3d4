//! Calls: each is noted, and may be made to fail or to take its time.

use crate::Shared;
use std::time::Duration;
use tonic::{Code, Status};

/// What happens to calls of one name, such as `StartContainer`.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(crate) call: &'static str,
    pub(crate) about: String,
    pub(crate) delay: Duration,
    pub(crate) fault: Option<(Code, String)>,
    pub(crate) times: Option<u32>,
}

impl Rule {
    /// For every call of that name until changed by the methods below.
    pub fn on(call: &'static str) -> Self {
        Self { call, about: String::new(), delay: Duration::ZERO, fault: None, times: None }
    }

    /// Only where the sandbox, container or image is called so.
    #[must_use]
    pub fn about(mut self, name: &str) -> Self {
        name.clone_into(&mut self.about);
        self
    }

    /// It fails.
    #[must_use]
    pub fn fails(mut self, code: Code, message: &str) -> Self {
        self.fault = Some((code, message.to_owned()));
        self
    }

    /// It takes that long; with a fault, it fails afterwards.
    #[must_use]
    pub fn takes(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// So often, then no more.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// Notes the call and does what the first rule for it says. `about` is what the call concerns, `more` is noted beside it.
pub(crate) async fn begin(world: &Shared, call: &str, about: &str, more: &str) -> Result<(), Status> {
    let (delay, fault) = {
        let mut world = world.lock();
        world.settle();
        let noted = [call, about, more].iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ");
        world.calls.push(noted);
        let found = world.rules.iter_mut().find(|r| {
            r.call == call && (r.about.is_empty() || r.about == about) && r.times.is_none_or(|left| left > 0)
        });
        match found {
            Some(rule) => {
                if let Some(left) = &mut rule.times {
                    *left -= 1;
                }
                (rule.delay, rule.fault.clone())
            }
            None => (Duration::ZERO, None),
        }
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match fault {
        Some((code, message)) => Err(Status::new(code, message)),
        None => Ok(()),
    }
}
