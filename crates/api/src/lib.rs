//! The schema table of the built-in kinds, its lookup, their defaulting and version conversion.
