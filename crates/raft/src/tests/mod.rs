//! openraft's own suite of what it asks of a log and a state machine; and the bytes of messages.

mod messages;

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use storage::disk::{Disk, RealDisk};

use crate::log::Log;
use crate::machine::{Machine, Replica};
use crate::types::Types;

struct Builder;

/// Ends the log's thread, and removes the files.
struct Guard(Log, #[allow(dead_code)] tempfile::TempDir);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl StoreBuilder<Types, Log, Machine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, Log, Machine), StorageError<Types>> {
        let directory = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(directory.path()).unwrap());
        let limits = storage::EmbeddedOptions::default().history_limits();
        let replica = Replica::open(disk.clone(), limits).unwrap();
        let log = Log::open(disk, 1 << 20).unwrap();
        Ok((Guard(log.clone(), directory), log, Machine(Arc::new(replica))))
    }
}

#[tokio::test]
async fn the_log_and_the_state_are_what_openraft_asks_for() {
    Suite::test_all(Builder).await.unwrap();
}
