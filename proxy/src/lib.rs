//! The service proxy (nftables maps) and the cluster DNS, from the same informers.
