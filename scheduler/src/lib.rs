//! The scheduler: queues, a compact cache of nodes, a framework of plugins, binding.
