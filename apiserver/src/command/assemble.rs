//! The parts of a server that files and flags make: TLS, authenticators, authorizers, admission, the cluster's own
//! objects.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use access::authn::bearer::{Token, Tokens};
use access::authn::bootstrap_token::BootstrapToken;
use access::authn::ca::CaPool;
use access::authn::client_certificates;
use access::authn::legacy_token::{LegacyToken, Uses};
use access::authn::request_header::{Headers, RequestHeader};
use access::authn::service_account::{Issuer, ServiceAccount};
use access::authn::token_file::TokenFile;
use access::authn::union::Union as Authenticators;
use access::authn::x509::X509;
use access::authz::Authorizer;
use access::authz::node::Node;
use access::authz::node::feed::Caches;
use access::authz::rbac::Rbac;
use access::authz::union::{AlwaysAllow, AlwaysDeny, Union as Authorizers};
use admission::chain::{self, Parts};
use anyhow::{Context, bail};
use component::tls::{Followed, TrustedServers};
use endpoints::connect::Nodes;
use machinery::gvk::GroupResource;
use model::lookup::Lookup;
use rustls::DigitallySignedStruct;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ResolvesServerCert;
use time::OffsetDateTime;

use super::noted::Noted;
use super::{Flags, kubelet_client, read, read_text, several};
use crate::bootstrap::presence::Presence;
use crate::bootstrap::{self, kubernetes_service};
use crate::listener::Tls;
use crate::pki::Pki;
use crate::start::{Access, Bootstrap, MakeAccess};

/// What the flags say, read and checked.
pub struct Assembly {
    flags: Flags,
    advertise: IpAddr,
    client_ca: Option<String>,
    request_header: Option<(String, Headers)>,
    issuer: Option<Arc<Issuer>>,
    /// The certificates of the server's own making.
    pub(super) pki: Option<Arc<Pki>>,
}

impl Assembly {
    /// The flags, with what the server has made itself in place of what is missing.
    pub fn flags(&self) -> &Flags {
        &self.flags
    }

    /// Reads the files that the flags name.
    pub fn new(flags: &Flags, advertise: IpAddr) -> anyhow::Result<Self> {
        let (flags, pki) = super::own::with_own_pki(flags, advertise)?;
        let client_ca = flags.client_ca_file.as_deref().map(read_text).transpose()?;
        let request_header = match &flags.requestheader_client_ca_file {
            None => None,
            Some(file) => {
                let headers = Headers {
                    allowed_names: flags.requestheader_allowed_names.clone(),
                    username: flags.requestheader_username_headers.clone(),
                    uid: flags.requestheader_uid_headers.clone(),
                    group: flags.requestheader_group_headers.clone(),
                    extra_prefix: flags.requestheader_extra_headers_prefix.clone(),
                };
                Some((read_text(file)?, headers))
            }
        };
        let issuer = if flags.service_account_issuer.is_empty() {
            None
        } else {
            let keys = flags.service_account_key_file.iter().map(|f| read(f)).collect::<Result<Vec<_>, _>>()?;
            let signing = flags.service_account_signing_key_file.as_deref().map(read).transpose()?;
            let (issuers, audiences) = (flags.service_account_issuer.clone(), flags.api_audiences.clone());
            let issuer = Issuer::new(issuers, audiences, &keys, signing.as_deref()).context("service account keys")?;
            let jwks_uri = format!("https://{}/openid/v1/jwks", SocketAddr::new(advertise, flags.secure_port));
            Some(Arc::new(Issuer { jwks_uri, ..issuer }))
        };
        Ok(Self { flags, advertise, client_ca, request_header, issuer, pki: pki.map(Arc::new) })
    }

    /// Serving certificate as given, or one of the server's own making.
    pub fn tls(&self) -> anyhow::Result<Tls> {
        let resolver: Arc<dyn ResolvesServerCert> = match (&self.flags.tls_cert_file, &self.flags.tls_private_key_file)
        {
            (Some(cert), Some(key)) => Arc::new(component::tls::Reloading::new(cert, key)?),
            (None, None) => {
                let names: Vec<String> = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
                    .map(String::from)
                    .into_iter()
                    .chain([self.advertise.to_string(), "127.0.0.1".into()])
                    .collect();
                let pair = component::tls::pki::self_signed("kube-apiserver", &names, OffsetDateTime::now_utc())?;
                let key = component::tls::certified_key(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes())?;
                Arc::new(component::tls::Fixed(Arc::new(key)))
            }
            _ => bail!("--tls-cert-file and --tls-private-key-file must be given together"),
        };
        let files = [&self.flags.client_ca_file, &self.flags.requestheader_client_ca_file];
        let files: Vec<_> = files.into_iter().flatten().cloned().collect();
        // Clients are told which authorities there are, and some present nothing that none of them signed.
        Ok(Arc::new(Followed::new(files.clone(), move || {
            let pool = |file: &std::path::PathBuf| CaPool::new(&read_text(file)?).map(Arc::new);
            let pools = files.iter().map(pool).collect::<Result<Vec<_>, _>>()?;
            client_certificates::server_config(resolver.clone(), &pools)
        })?))
    }

    /// How kubelets are dialled.
    pub fn nodes(&self) -> anyhow::Result<Nodes> {
        let certificate: Option<Arc<dyn ResolvesClientCert>> =
            match (&self.flags.kubelet_client_certificate, &self.flags.kubelet_client_key) {
                (Some(cert), Some(key)) => Some(Arc::new(component::tls::Reloading::new(cert, key)?)),
                _ => None,
            };
        let trusted = self.flags.kubelet_certificate_authority.as_deref().map(TrustedServers::of_file).transpose()?;
        let tls = kubelet_client(certificate, trusted)?;
        let backend_tls = kubelet_client(None, None)?;
        Ok(Nodes { tls, backend_tls, address_types: self.flags.kubelet_preferred_address_types.clone() })
    }

    /// Who asks and what they may, over a registry.
    pub fn access(&self) -> MakeAccess {
        let (flags, request_header, issuer) = (self.flags.clone(), self.request_header.clone(), self.issuer.clone());
        Box::new(move |registry| {
            let lookup: Arc<dyn Lookup> = registry.clone();
            let mut sorts: Vec<Box<dyn Token>> = Vec::new();
            if let Some(file) = &flags.token_auth_file {
                sorts.push(Box::new(TokenFile::new(&read_text(file)?).map_err(anyhow::Error::msg)?));
            }
            if let Some(issuer) = &issuer {
                let uses: Arc<dyn Uses> = Arc::new(Noted(registry.clone()));
                sorts.push(Box::new(LegacyToken::new(issuer.clone(), lookup.clone(), uses)));
                sorts.push(Box::new(ServiceAccount::new(issuer.clone(), lookup.clone())));
            }
            if flags.enable_bootstrap_token_auth {
                sorts.push(Box::new(BootstrapToken::new(lookup.clone())));
            }
            let audiences = issuer.as_ref().map(|i| i.audiences.clone()).unwrap_or_default();
            let tokens = Arc::new(Tokens::new(sorts, audiences));
            // From the files, to notice when they change.
            let pool = |file: &std::path::PathBuf| CaPool::file(file).map(Arc::new);
            let authenticator = Authenticators {
                request_header: match (&flags.requestheader_client_ca_file, &request_header) {
                    (Some(file), Some((_, headers))) => Some(RequestHeader::new(pool(file)?, headers.clone())),
                    _ => None,
                },
                x509: flags.client_ca_file.as_ref().map(pool).transpose()?.map(X509::new),
                tokens: Some(tokens.clone()),
                anonymous: flags.anonymous_auth,
            };
            let rbac = Arc::new(Rbac::new(lookup));
            let mut modes: Vec<Arc<dyn Authorizer>> = Vec::new();
            let find = |resource: &GroupResource| registry.cache(registry.rows().of(resource)?);
            for mode in &flags.authorization_mode {
                modes.push(match mode.as_str() {
                    "RBAC" => rbac.clone(),
                    "Node" => Arc::new(Node::new(Box::new(Caches::new(find)))),
                    "AlwaysAllow" => Arc::new(AlwaysAllow),
                    "AlwaysDeny" => Arc::new(AlwaysDeny),
                    other => bail!("authorization-mode {other:?} is not supported yet"),
                });
            }
            let authorizer: Arc<dyn Authorizer> = Arc::new(Authorizers::new(modes));
            let parts = Parts { authorizer: authorizer.clone(), rbac: rbac.clone(), tolerations: Default::default() };
            let (enable, disable) = (&flags.enable_admission_plugins, &flags.disable_admission_plugins);
            let admission = chain::build(enable, disable, &parts).map_err(anyhow::Error::msg)?;
            Ok(Access { authenticator: Arc::new(authenticator), authorizer, admission, rbac, tokens, issuer })
        })
    }

    /// The authorities as their files have them.
    fn trust(&self) -> anyhow::Result<Followed<bootstrap::Facts>> {
        let (clients, proxies) = (self.flags.client_ca_file.clone(), self.flags.requestheader_client_ca_file.clone());
        let headers = self.request_header.as_ref().map(|(_, headers)| headers.clone());
        let files = [&clients, &proxies].into_iter().flatten().cloned().collect();
        Followed::new(files, move || {
            let proxies = proxies.as_deref().map(read_text).transpose()?;
            Ok(bootstrap::Facts {
                client_ca: clients.as_deref().map(read_text).transpose()?,
                request_header: proxies.zip(headers.clone()),
                ..bootstrap::Facts::default()
            })
        })
    }

    /// The cluster's own objects, and how others know of this server.
    pub fn bootstrap(&self) -> anyhow::Result<(Bootstrap, Presence)> {
        let ranges: Result<Vec<ipnet::IpNet>, _> =
            self.flags.service_cluster_ip_range.iter().map(|r| r.parse()).collect();
        let service = kubernetes_service::Facts {
            service_ranges: ranges.context("--service-cluster-ip-range")?,
            advertise: self.advertise,
            port: self.flags.secure_port,
            reconciler: several::reconciler(&self.flags)?,
        };
        several::same_family(service.reconciler, &service.service_ranges, self.advertise)?;
        let facts = Arc::new(bootstrap::Facts {
            client_ca: self.client_ca.clone(),
            request_header: self.request_header.clone(),
            kubelet_client: self.flags.data_dir.is_some().then(|| crate::pki::KUBELET_CLIENT.to_owned()),
            service: Some(service.clone()),
        });
        let all: Bootstrap = Box::new(move |registry| {
            let facts = facts.clone();
            Box::pin(async move { bootstrap::run(&registry, &facts).await })
        });
        Ok((all, Presence::new(service, several::identity(&self.flags)?).telling(self.trust()?)))
    }
}

/// For kubelets whose certificates nobody said how to check, as upstream without `--kubelet-certificate-authority`.
#[derive(Debug)]
pub(super) struct Unverified(pub Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
