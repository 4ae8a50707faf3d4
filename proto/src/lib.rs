//! Protocol definitions written for this project and the code generated from them: CRI runtime.v1, etcd v3.
