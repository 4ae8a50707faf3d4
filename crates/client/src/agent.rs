//! Who a client says it is.

/// As which release we call ourselves: upstream's whose API it is, and our own.
const VERSION: &str = concat!("v1.36.2+ferry.", env!("CARGO_PKG_VERSION"));

/// The user agent of a component in upstream's form (client-go `rest/config.go`), with `name` for which of its clients it
/// is; may be empty. The server notes what is before the first slash as the manager of the fields that it writes.
pub fn user_agent(component: &str, name: &str) -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let (system, slash) = (std::env::consts::OS, if name.is_empty() { "" } else { "/" });
    // No commit is built in, as in a build of upstream's outside of its repository.
    format!("{component}/{VERSION} ({system}/{architecture}) kubernetes/unknown{slash}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_upstreams_form() {
        let agent = user_agent("kube-controller-manager", "system:serviceaccount:kube-system:job-controller");
        let (program, rest) = agent.split_once('/').unwrap();
        let (version, rest) = rest.split_once(" (linux/").unwrap();
        let (_, client) = rest.split_once(") kubernetes/unknown/").unwrap();
        assert_eq!(program, "kube-controller-manager");
        assert!(version.starts_with("v1.36.2"), "{version}");
        assert_eq!(client, "system:serviceaccount:kube-system:job-controller");
        assert!(user_agent("kubelet", "").ends_with(") kubernetes/unknown"));
    }
}
