//! The API server: the request path, the registry, the watch cache, access control.
