//! Workqueue, reconciler contract, leader election, event recorder.
