//! Connections to clusters: opened once for each, credentials by reference, nothing run that a file names.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use kube::{
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use windlass_engine::session::{CapabilityError, CapabilityErrorKind as Kind, Executor, OpenConnection, Session, TokenSource};
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
                    (Some(eks), Some(tokens)) => eks::clients(&settings, eks, &connection.environment, Arc::clone(tokens)).await?,
                    (Some(_), None) => return Err(invalid("this build can't reach clusters of EKS".to_owned())),
                    (None, _) => clients(&settings, self.options).await?,
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
async fn clients(settings: &KubernetesSettings, options: ClusterOptions) -> Result<Clients, CapabilityError> {
    let mut config = match &settings.kubeconfig {
        Some(reference) => {
            let kubeconfig = read(reference)?;
            let context = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
            if !options.local_credentials {
                refuse_local(&kubeconfig, settings.context.as_deref())?;
            }
            kube::Config::from_custom_kubeconfig(kubeconfig, &context)
                .await
                .map_err(|error| invalid(format!("the kubeconfig can't be used: {error}")))?
        }
        None => kube::Config::incluster().map_err(|error| {
            invalid(format!("no kubeconfig is given, and this process does not run inside a cluster: {error}"))
                .hint("give the connection `kubernetes: { kubeconfig: { file: PATH } }`")
        })?,
    };
    act_as(&mut config, settings);
    Clients::new(&config, ClientBuilder::build).map_err(|error| invalid(format!("the cluster's settings can't be used: {error}")))
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
fn read(reference: &Reference) -> Result<Kubeconfig, CapabilityError> {
    let of_path =
        |path: &str| Kubeconfig::read_from(path).map_err(|error| invalid(format!("the kubeconfig `{path}` can't be read: {error}")));
    match reference {
        Reference::File(path) => of_path(path),
        Reference::Env(name) => {
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

/// A kubeconfig may come from somebody else: what it names on this machine is neither run nor read.
fn refuse_local(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<(), CapabilityError> {
    let context = context.or(kubeconfig.current_context.as_deref()).unwrap_or_default();
    let chosen = kubeconfig.contexts.iter().find(|named| named.name == context).and_then(|named| named.context.as_ref());
    let user = chosen.and_then(|chosen| chosen.user.as_deref()).unwrap_or_default();
    let cluster = chosen.map(|chosen| chosen.cluster.as_str()).unwrap_or_default();
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

    fn checked(user: &str, cluster: &str) -> String {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{ name: c, context: {{ cluster: k, user: u }} }}]\nclusters: [{{ name: k, cluster: {{ server: https://x, {cluster} }} }}]\nusers: [{{ name: u, user: {{ {user} }} }}]\n"
        );
        let kubeconfig = Kubeconfig::from_yaml(&text).unwrap();
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
