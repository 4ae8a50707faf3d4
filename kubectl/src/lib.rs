//! kubectl: the same verbs, flags, output and exit codes.
