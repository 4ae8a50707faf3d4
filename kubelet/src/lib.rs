//! The node agent: pods become containers through a CRI runtime.
