//! An etcd-shaped store: one trait, an embedded engine and etcd.
