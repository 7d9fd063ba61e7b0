//! Connections to clusters: opened once for each, credentials by reference, nothing run that a file names.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use kube::{
    client::ClientBuilder,
    config::{ExecConfig, KubeConfigOptions, Kubeconfig},
};
use windlass_engine::{
    host_access::HostAccess,
    session::{CapabilityError, CapabilityErrorKind as Kind, Executor, OpenConnection, Session, TokenSource},
    transport::InsecureTransport,
};
use windlass_model::{
    platform::{ConnectionSettings, KubernetesSettings, Reference},
    state::EnvironmentKey,
};

use crate::{api::Api, eks, resource::Discovery, session::ClusterSession, transport::Clients};

/// What the operator of this process allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterOptions {
    /// A kubeconfig may name programs and files of this machine: `exec`, `auth-provider`, paths of keys and tokens.
    pub local_credentials: bool,
    /// Where connections without TLS, or without its checks, may lead.
    pub insecure: InsecureTransport,
}

/// Opens clusters; one set of clients and one list of kinds for each.
pub struct KubernetesExecutor {
    options: ClusterOptions,
    tokens: Option<Arc<dyn TokenSource>>,
    clusters: Mutex<HashMap<String, (Arc<Api>, Arc<Discovery>)>>,
}

impl KubernetesExecutor {
    /// Takes what the operator allows.
    #[must_use]
    pub fn new(options: ClusterOptions) -> Self {
        Self { options, tokens: None, clusters: Mutex::default() }
    }

    /// Takes what finds clusters of a cloud account and signs tokens for them.
    #[must_use]
    pub fn with_tokens(self, tokens: Arc<dyn TokenSource>) -> Self {
        Self { tokens: Some(tokens), ..self }
    }
}

#[async_trait]
impl Executor for KubernetesExecutor {
    fn interface(&self) -> &'static str {
        "windlass:kubernetes/objects"
    }

    fn connection_kind(&self) -> &'static str {
        "kubernetes"
    }

    async fn open(&self, connection: &OpenConnection) -> Result<Arc<dyn Session>, CapabilityError> {
        let ConnectionSettings::Kubernetes { kubernetes } = &connection.settings else {
            return Err(CapabilityError::new(Kind::Invalid, format!("connection `{}` is no cluster", connection.name)));
        };
        let settings = of_environment(kubernetes, &connection.environment);
        let key = serde_json::to_string(&settings).unwrap_or_default();
        let known = self.clusters.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let (api, discovery) = match known {
            Some(known) => known,
            None => {
                let clients = match (&settings.eks, &self.tokens) {
                    (Some(eks), Some(tokens)) => {
                        eks::clients(&settings, eks, connection, Arc::clone(tokens), self.options.insecure).await?
                    }
                    (Some(_), None) => return Err(invalid("this build can't reach clusters of EKS".to_owned())),
                    (None, _) => clients(&settings, self.options, &connection.access).await?,
                };
                let opened = (Arc::new(Api::new(clients)), Arc::new(Discovery::default()));
                self.clusters.lock().unwrap_or_else(PoisonError::into_inner).insert(key, opened.clone());
                opened
            }
        };
        Ok(Arc::new(ClusterSession::new(api, discovery)))
    }
}

/// Puts the environment's names where a connection's impersonation asks for them.
fn of_environment(settings: &KubernetesSettings, environment: &EnvironmentKey) -> KubernetesSettings {
    let put = |text: &String| windlass_model::platform::of_environment(text, environment);
    let mut settings = settings.clone();
    if let Some(impersonate) = &mut settings.impersonate {
        impersonate.user = put(&impersonate.user);
        impersonate.groups = impersonate.groups.iter().map(put).collect();
    }
    settings
}

/// Makes clients: by a kubeconfig, or by what Kubernetes gives to its own pods.
async fn clients(settings: &KubernetesSettings, options: ClusterOptions, access: &HostAccess) -> Result<Clients, CapabilityError> {
    let mut config = match &settings.kubeconfig {
        Some(reference) => {
            let mut kubeconfig = read(reference, access)?;
            let context = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
            if options.local_credentials {
                lend_local(&mut kubeconfig, settings.context.as_deref(), access)?;
            } else {
                refuse_local(&kubeconfig, settings.context.as_deref())?;
            }
            kube::Config::from_custom_kubeconfig(kubeconfig, &context)
                .await
                .map_err(|error| invalid(format!("the kubeconfig can't be used: {error}")))?
        }
        None => {
            access.identity("the service account of this pod")?;
            kube::Config::incluster().map_err(|error| {
                invalid(format!("no kubeconfig is given, and this process does not run inside a cluster: {error}"))
                    .hint("give the connection `kubernetes: { kubeconfig: { file: PATH } }`")
            })?
        }
    };
    check_transport(&config, settings, options.insecure)?;
    act_as(&mut config, settings);
    Clients::new(&config, ClientBuilder::build).map_err(|error| invalid(format!("the cluster's settings can't be used: {error}")))
}

/// Refuses a server whose answers anybody on the way could have written, unless that is asked for and allowed.
pub(crate) fn check_transport(
    config: &kube::Config,
    settings: &KubernetesSettings,
    allowed: InsecureTransport,
) -> Result<(), CapabilityError> {
    let host = config.cluster_url.host().unwrap_or_default();
    let permit = |what: &str| allowed.permit(what, host, settings.insecure);
    match config.cluster_url.scheme_str() {
        Some("https") if config.accept_invalid_certs => permit("the kubeconfig says `insecure-skip-tls-verify`"),
        Some("https") => Ok(()),
        Some("http") => permit("the kubeconfig names a server without TLS, `http://`"),
        other => Err(invalid(format!("the kubeconfig names a server by `{}`; `https` is spoken", other.unwrap_or_default()))),
    }
}

/// Says as whom requests are made.
pub(crate) fn act_as(config: &mut kube::Config, settings: &KubernetesSettings) {
    if let Some(impersonate) = &settings.impersonate {
        config.auth_info.impersonate = Some(impersonate.user.clone());
        config.auth_info.impersonate_groups = (!impersonate.groups.is_empty()).then(|| impersonate.groups.clone());
    }
    // What is repeated, and how often, is decided in one place: `api`.
    config.default_retry = false;
}

pub(crate) fn invalid(message: String) -> CapabilityError {
    CapabilityError::new(Kind::Invalid, message)
}

/// Reads a kubeconfig: a file, or a variable that holds a path or the text itself.
fn read(reference: &Reference, access: &HostAccess) -> Result<Kubeconfig, CapabilityError> {
    let of_path = |path: &str| {
        let file = access.file(Path::new(path))?;
        Kubeconfig::read_from(file).map_err(|error| invalid(format!("the kubeconfig `{path}` can't be read: {error}")))
    };
    match reference {
        Reference::File(path) => of_path(path),
        Reference::Env(name) => {
            access.variable(name)?;
            let value = std::env::var(name).map_err(|_| {
                invalid(format!("the variable `{name}` that names the kubeconfig is not set")).hint(format!("export {name}=PATH"))
            })?;
            if value.contains('\n') || value.trim_start().starts_with('{') {
                Kubeconfig::from_yaml(&value).map_err(|error| invalid(format!("the kubeconfig in `{name}` can't be read: {error}")))
            } else {
                of_path(&value)
            }
        }
    }
}

/// Returns the user and the cluster of the context that is used.
fn chosen(kubeconfig: &Kubeconfig, context: Option<&str>) -> (String, String) {
    let context = context.or(kubeconfig.current_context.as_deref()).unwrap_or_default();
    let chosen = kubeconfig.contexts.iter().find(|named| named.name == context).and_then(|named| named.context.clone());
    chosen.map(|chosen| (chosen.user.unwrap_or_default(), chosen.cluster)).unwrap_or_default()
}

/// Holds the programs and files that a kubeconfig names to the access of the host, and names programs by their paths.
fn lend_local(kubeconfig: &mut Kubeconfig, context: Option<&str>, access: &HostAccess) -> Result<(), CapabilityError> {
    let (user, cluster) = chosen(kubeconfig, context);
    let lend = |path: &mut Option<String>| -> Result<(), CapabilityError> {
        let Some(path) = path else { return Ok(()) };
        *path = access.file(Path::new(path))?.display().to_string();
        Ok(())
    };
    if let Some(auth) = kubeconfig.auth_infos.iter_mut().find(|named| named.name == user).and_then(|named| named.auth_info.as_mut()) {
        for path in [&mut auth.token_file, &mut auth.client_certificate, &mut auth.client_key] {
            lend(path)?;
        }
        if let Some(provider) = &auth.auth_provider {
            access.anything(&format!("auth-provider {}", provider.name))?;
        }
        if let Some(exec) = &mut auth.exec {
            lend_exec(exec, access)?;
        }
    }
    if let Some(cluster) = kubeconfig.clusters.iter_mut().find(|named| named.name == cluster).and_then(|named| named.cluster.as_mut()) {
        lend(&mut cluster.certificate_authority)?;
    }
    Ok(())
}

/// Holds a credential plugin to the access of the host: its program, and the variables that it is given.
fn lend_exec(exec: &mut ExecConfig, access: &HostAccess) -> Result<(), CapabilityError> {
    if let Some(command) = &mut exec.command
        && let Some(path) = access.program(command)?
    {
        *command = path.display().to_string();
    }
    // A variable such as `LD_PRELOAD` makes another program of the one that is lent.
    for name in exec.env.iter().flatten().filter_map(|variable| variable.get("name")) {
        access.variable(name)?;
    }
    Ok(())
}

/// A kubeconfig may come from somebody else: what it names on this machine is neither run nor read.
fn refuse_local(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<(), CapabilityError> {
    let (user, cluster) = chosen(kubeconfig, context);
    let mut found = Vec::new();
    if let Some(auth) = kubeconfig.auth_infos.iter().find(|named| named.name == user).and_then(|named| named.auth_info.as_ref()) {
        found.extend(auth.exec.is_some().then_some("exec"));
        found.extend(auth.auth_provider.is_some().then_some("auth-provider"));
        found.extend(auth.token_file.is_some().then_some("tokenFile"));
        found.extend(auth.client_certificate.is_some().then_some("client-certificate"));
        found.extend(auth.client_key.is_some().then_some("client-key"));
    }
    if let Some(cluster) = kubeconfig.clusters.iter().find(|named| named.name == cluster).and_then(|named| named.cluster.as_ref()) {
        found.extend(cluster.certificate_authority.is_some().then_some("certificate-authority"));
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(CapabilityError::new(Kind::Denied, format!("the kubeconfig names programs or files of this machine: {}", found.join(", ")))
        .hint("use a token and `…-data` fields (`kubectl config view --flatten`), or start windlass with `--allow-local-credentials`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(user: &str, cluster: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{ name: c, context: {{ cluster: k, user: u }} }}]\nclusters: [{{ name: k, cluster: {{ server: https://x, {cluster} }} }}]\nusers: [{{ name: u, user: {{ {user} }} }}]\n"
        )
    }

    fn checked(user: &str, cluster: &str) -> String {
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig(user, cluster)).unwrap();
        refuse_local(&kubeconfig, None).map_or_else(|error| error.message, |()| "fine".to_owned())
    }

    #[test]
    fn what_a_kubeconfig_names_on_this_machine_is_refused() {
        assert_eq!(checked("token: x", "certificate-authority-data: eA=="), "fine");
        let refused = [
            checked("exec: { apiVersion: client.authentication.k8s.io/v1, command: aws }", "tls-server-name: x"),
            checked("auth-provider: { name: gcp, config: {} }", "tls-server-name: x"),
            checked("tokenFile: /etc/token", "tls-server-name: x"),
            checked("client-certificate: /c, client-key: /k", "certificate-authority: /ca"),
        ];
        insta::assert_snapshot!(refused.join("\n"), @r"
        the kubeconfig names programs or files of this machine: exec
        the kubeconfig names programs or files of this machine: auth-provider
        the kubeconfig names programs or files of this machine: tokenFile
        the kubeconfig names programs or files of this machine: client-certificate, client-key, certificate-authority
        ");
    }

    #[tokio::test]
    async fn insecure_servers_are_refused_unless_they_are_asked_for_and_allowed() {
        let checked = async |server: &str, cluster: &str, insecure: bool, allowed: InsecureTransport| {
            let text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{ name: c, context: {{ cluster: k, user: u }} }}]\nclusters: [{{ name: k, cluster: {{ server: \"{server}\" {cluster} }} }}]\nusers: [{{ name: u, user: {{}} }}]\n"
            );
            let config = kube::Config::from_custom_kubeconfig(Kubeconfig::from_yaml(&text).unwrap(), &KubeConfigOptions::default()).await;
            let settings = KubernetesSettings { insecure, ..KubernetesSettings::default() };
            check_transport(&config.unwrap(), &settings, allowed).is_ok()
        };
        const UNCHECKED: &str = ", insecure-skip-tls-verify: true";
        use InsecureTransport::{Anywhere, Loopback};
        for (server, cluster, insecure, allowed, is_fine) in [
            ("https://example.com", "", false, Loopback, true),
            ("https://example.com", UNCHECKED, false, Anywhere, false),
            ("https://example.com", UNCHECKED, true, Loopback, false),
            ("https://example.com", UNCHECKED, true, Anywhere, true),
            ("https://127.0.0.1:6443", UNCHECKED, false, Loopback, false),
            ("https://127.0.0.1:6443", UNCHECKED, true, Loopback, true),
            ("http://example.com", "", false, Anywhere, false),
            ("http://example.com", "", true, Loopback, false),
            ("http://[::1]:8080", "", true, Loopback, true),
            ("http://localhost:8080", "", false, Loopback, false),
        ] {
            assert_eq!(checked(server, cluster, insecure, allowed).await, is_fine, "{server} {cluster} {insecure} {allowed:?}");
        }
    }

    #[test]
    fn a_kubeconfig_names_only_programs_and_files_that_the_host_lends() {
        let told = |user: &str, cluster: &str, access: &HostAccess| {
            let mut kubeconfig = Kubeconfig::from_yaml(&kubeconfig(user, cluster)).unwrap();
            lend_local(&mut kubeconfig, None, access).map_or_else(|error| error.message, |()| "fine".to_owned())
        };
        let names = [
            ("exec: { apiVersion: client.authentication.k8s.io/v1, command: sh }", "tls-server-name: x"),
            ("auth-provider: { name: gcp, config: {} }", "tls-server-name: x"),
            ("tokenFile: /etc/hostname", "tls-server-name: x"),
            ("client-certificate: /etc/hostname", "tls-server-name: x"),
            ("client-key: /etc/hostname", "tls-server-name: x"),
            ("token: x", "certificate-authority: /etc/hostname"),
        ];
        for (user, cluster) in names {
            assert_eq!(told(user, cluster, &HostAccess::open()), "fine", "{user} {cluster}");
            let refused = told(user, cluster, &HostAccess::closed());
            assert!(refused.starts_with("this host does not lend the "), "{user} {cluster}: {refused}");
        }
        let shell = HostAccess::open().program("sh").unwrap().unwrap();
        let lent = HostAccess::closed().with_program(shell);
        let exec = |env: &str| format!("exec: {{ apiVersion: client.authentication.k8s.io/v1, command: sh{env} }}");
        assert_eq!(told(&exec(""), "tls-server-name: x", &lent), "fine");
        let loaded = told(&exec(", env: [{ name: LD_PRELOAD, value: /x.so }]"), "tls-server-name: x", &lent);
        assert_eq!(loaded, "this host does not lend the variable `LD_PRELOAD` to documents");
    }

    #[tokio::test]
    async fn closed_access_refuses_every_way_to_a_cluster() {
        let closed = HostAccess::closed();
        for kubeconfig in [None, Some(Reference::File("/etc/hostname".into())), Some(Reference::Env("PATH".into()))] {
            let settings = KubernetesSettings { kubeconfig, ..KubernetesSettings::default() };
            let refused =
                clients(&settings, ClusterOptions { local_credentials: true, ..ClusterOptions::default() }, &closed).await.err().unwrap();
            assert!(refused.message.starts_with("this host does not lend the "), "{refused}");
        }
        // A variable that is lent holds the path of a file that is not.
        let settings =
            KubernetesSettings { kubeconfig: Some(Reference::Env("CARGO_MANIFEST_DIR".into())), ..KubernetesSettings::default() };
        let refused = clients(&settings, ClusterOptions::default(), &closed.with_variables("CARGO_")).await.err().unwrap();
        assert!(refused.message.starts_with("this host does not lend the file"), "{refused}");
    }

    #[test]
    fn impersonation_is_of_the_environment() {
        let settings = KubernetesSettings {
            impersonate: Some(windlass_model::platform::Impersonation {
                user: "system:serviceaccount:windlass:${application}-${environment}".into(),
                groups: vec!["${application}".into()],
            }),
            ..KubernetesSettings::default()
        };
        let environment = EnvironmentKey { application: "shop".parse().unwrap(), environment: "dev".parse().unwrap() };
        let impersonate = of_environment(&settings, &environment).impersonate.unwrap();
        assert_eq!((impersonate.user.as_str(), impersonate.groups), ("system:serviceaccount:windlass:shop-dev", vec!["shop".to_owned()]));
    }
}
