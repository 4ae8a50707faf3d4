//! The daemon shell: flags and config files, TLS, health, metrics, tracing, drain.
