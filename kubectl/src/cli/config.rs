//! The kubeconfig: files of `$KUBECONFIG` or `~/.kube/config`, with the flags that override parts of it.

use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::{
    failure::{Failure, Outcome},
    flags::Parsed,
};

/// The files a kubeconfig is read from, in order; with `--kubeconfig` that one alone.
pub fn files(flags: &Parsed) -> Vec<std::path::PathBuf> {
    if let Some(path) = flags.get("kubeconfig").filter(|path| !path.is_empty()) {
        return vec![path.into()];
    }
    if let Some(paths) = std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty()) {
        return std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect();
    }
    let home = std::env::var_os("HOME").unwrap_or_default();
    vec![std::path::Path::new(&home).join(".kube/config")]
}

/// All files merged; files that are not there count as empty, except one named by flag.
pub fn load(flags: &Parsed) -> Outcome<Kubeconfig> {
    let explicit = flags.get("kubeconfig").is_some_and(|path| !path.is_empty());
    let mut merged = Kubeconfig::default();
    for path in files(flags) {
        if !path.exists() {
            if explicit {
                return Err(Failure::new(format!("stat {}: no such file or directory", path.display())));
            }
            continue;
        }
        let one = Kubeconfig::read_from(&path).map_err(|error| {
            Failure::new(format!("error loading config file {:?}: {error}", path.display().to_string()))
        })?;
        merged = merged.merge(one).map_err(|error| Failure::new(error.to_string()))?;
    }
    Ok(merged)
}

/// The name of the context in use.
pub fn current_context(config: &Kubeconfig, flags: &Parsed) -> String {
    flags.get("context").map(str::to_owned).or_else(|| config.current_context.clone()).unwrap_or_default()
}

/// The namespace, and whether it was given by flag.
pub fn namespace(config: &Kubeconfig, flags: &Parsed) -> (String, bool) {
    if let Some(namespace) = flags.get("namespace").filter(|namespace| !namespace.is_empty()) {
        return (namespace.to_owned(), true);
    }
    let context = current_context(config, flags);
    let named = config.contexts.iter().find(|named| named.name == context);
    let namespace = named.and_then(|named| named.context.as_ref()).and_then(|context| context.namespace.clone());
    (namespace.filter(|namespace| !namespace.is_empty()).unwrap_or_else(|| "default".to_owned()), false)
}

/// What a client needs.
pub async fn client_config(config: Kubeconfig, flags: &Parsed) -> Outcome<Config> {
    let context = current_context(&config, flags);
    if !context.is_empty() && !config.contexts.iter().any(|named| named.name == context) {
        return Err(Failure::new(format!("context {context:?} does not exist")));
    }
    let mut built = if config.contexts.is_empty() && config.clusters.is_empty() {
        // As upstream: without a configuration, the port that API servers once listened on.
        Config::new(http::Uri::from_static("http://localhost:8080"))
    } else {
        let options = KubeConfigOptions {
            context: flags.get("context").map(str::to_owned),
            cluster: flags.get("cluster").map(str::to_owned),
            user: flags.get("user").map(str::to_owned),
        };
        Config::from_custom_kubeconfig(config, &options).await.map_err(|error| Failure::new(error.to_string()))?
    };
    if let Some(server) = flags.get("server").filter(|server| !server.is_empty()) {
        let server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        built.cluster_url = server.parse().map_err(|_| Failure::new(format!("invalid server {server:?}")))?;
    }
    if let Some(token) = flags.get("token") {
        built.auth_info.token = Some(token.to_owned().into());
    }
    if flags.is("insecure-skip-tls-verify") {
        built.accept_invalid_certs = true;
    }
    if let Some(path) = flags.get("certificate-authority") {
        let pem = std::fs::read(path)
            .map_err(|error| Failure::new(format!("unable to read certificate-authority {path}: {error}")))?;
        let certs = pem_certificates(&pem);
        built.root_cert = Some(certs);
    }
    if let Some(path) = flags.get("client-certificate") {
        built.auth_info.client_certificate = Some(path.to_owned());
    }
    if let Some(path) = flags.get("client-key") {
        built.auth_info.client_key = Some(path.to_owned());
    }
    if let Some(user) = flags.get("as") {
        built.auth_info.impersonate = Some(user.to_owned());
        built.auth_info.impersonate_groups = Some(flags.all("as-group").to_vec()).filter(|groups| !groups.is_empty());
    }
    // Long answers (logs, watches) must not be cut; --request-timeout bounds single requests.
    built.read_timeout = None;
    built.write_timeout = None;
    Ok(built)
}

fn pem_certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    use base64::Engine;
    let text = String::from_utf8_lossy(pem);
    text.split("-----BEGIN CERTIFICATE-----")
        .skip(1)
        .filter_map(|part| part.split("-----END").next())
        .filter_map(|body| {
            base64::engine::general_purpose::STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
        })
        .collect()
}
