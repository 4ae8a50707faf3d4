//! In-process cluster, fake clock, fixtures and check helpers for tests.
