//! A client of the API: kube::Client over kubeconfig or in-process, shared informers, listers.
