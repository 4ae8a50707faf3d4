//! The controllers: one folder each, a pure sync and a shell around it.
