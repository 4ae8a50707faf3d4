//! The time of day, passed in.
//!
//! Waits and deadlines use tokio's clock, which a test can pause. The time of day comes from the system, and stands still
//! while a paused test runs through hours; a back-off that compares the two would never end. So whoever compares them is given
//! a [`Clock`]: the system's, or one that moves with tokio's.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Tells the time of day. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<(Timestamp, Instant)>);

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self(None)
    }

    /// Begins at `start`, now, and moves with tokio's clock: for tests with paused time.
    pub fn with_tokio(start: Timestamp) -> Self {
        Self(Some((start, Instant::now())))
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            None => Timestamp::now(),
            Some((start, since)) => {
                let passed = SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::MAX);
                start.saturating_add(passed).unwrap_or(Timestamp::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn moves_with_tokios() {
        let start = Timestamp::from_second(1000).expect("small");
        let clock = Clock::with_tokio(start);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().as_second(), 4600);
    }
}
