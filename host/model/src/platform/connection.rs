//! Connections: named access to real systems. Settings hold no credential, only where one is read from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MatchRule;
use crate::name::DocumentName;

/// Named access to one real system for one capability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionSpec {
    /// Where it applies: any of these rules; everywhere if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub r#match: Vec<MatchRule>,
    /// What kind of system it is.
    pub capability: ConnectionCapability,
    /// The settings of a folder of manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<DirectorySettings>,
    /// The settings of a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesSettings>,
    /// The settings of a PostgreSQL server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresSettings>,
    /// The settings of an AWS account and region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsSettings>,
    /// The settings of OpenTofu or Terraform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terraform: Option<TerraformSettings>,
    /// The settings of Vault or OpenBao.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultSettings>,
    /// The account and region of AWS Secrets Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_manager: Option<AwsSettings>,
}

/// The kinds of systems that this build knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConnectionCapability {
    /// A folder of manifests.
    Directory,
    /// A Kubernetes cluster.
    Kubernetes,
    /// The embedded, encrypted store of secrets.
    Secrets,
    /// A PostgreSQL server.
    Postgres,
    /// An AWS account and region.
    Aws,
    /// OpenTofu or Terraform.
    Terraform,
    /// Vault or OpenBao.
    Vault,
    /// AWS Secrets Manager.
    SecretsManager,
}

impl ConnectionSpec {
    /// Returns the system with its settings; nothing if it needs settings and has none.
    #[must_use]
    pub fn settings(&self) -> Option<ConnectionSettings> {
        Some(match self.capability {
            ConnectionCapability::Directory => ConnectionSettings::Directory { directory: self.directory.clone().unwrap_or_default() },
            ConnectionCapability::Kubernetes => ConnectionSettings::Kubernetes { kubernetes: self.kubernetes.clone().unwrap_or_default() },
            ConnectionCapability::Secrets => ConnectionSettings::Secrets {},
            ConnectionCapability::Postgres => ConnectionSettings::Postgres { postgres: self.postgres.clone()? },
            ConnectionCapability::Aws => ConnectionSettings::Aws { aws: self.aws.clone()? },
            ConnectionCapability::Terraform => ConnectionSettings::Terraform { terraform: self.terraform.clone().unwrap_or_default() },
            ConnectionCapability::Vault => ConnectionSettings::Vault { vault: self.vault.clone()? },
            ConnectionCapability::SecretsManager => ConnectionSettings::SecretsManager { secrets_manager: self.secrets_manager.clone()? },
        })
    }
}

/// The system behind a connection, without credentials: what is recorded with every action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "capability", rename_all = "camelCase")]
pub enum ConnectionSettings {
    /// A folder of manifests.
    Directory {
        /// Its settings.
        #[serde(default)]
        directory: DirectorySettings,
    },
    /// A Kubernetes cluster.
    Kubernetes {
        /// Its settings.
        kubernetes: KubernetesSettings,
    },
    /// The embedded, encrypted store of secrets.
    Secrets {},
    /// A PostgreSQL server.
    Postgres {
        /// Its settings.
        postgres: PostgresSettings,
    },
    /// An AWS account and region.
    Aws {
        /// Its settings.
        aws: AwsSettings,
    },
    /// OpenTofu or Terraform.
    Terraform {
        /// Its settings.
        terraform: TerraformSettings,
    },
    /// Vault or OpenBao.
    Vault {
        /// Its settings.
        vault: VaultSettings,
    },
    /// AWS Secrets Manager.
    #[serde(rename_all = "camelCase")]
    SecretsManager {
        /// The account and region.
        secrets_manager: AwsSettings,
    },
}

impl ConnectionSettings {
    /// Returns the family: what one environment has one connection of.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Directory { .. } | Self::Kubernetes { .. } => Family::Kubernetes,
            Self::Secrets {} => Family::Secrets,
            Self::Postgres { .. } => Family::Postgres,
            Self::Aws { .. } => Family::Aws,
            Self::Terraform { .. } => Family::Terraform,
            Self::Vault { .. } | Self::SecretsManager { .. } => Family::SecretStore,
        }
    }

    /// Returns the kind: which executor opens it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "directory",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Secrets {} => "secrets",
            Self::Postgres { .. } => "postgres",
            Self::Aws { .. } => "aws",
            Self::Terraform { .. } => "terraform",
            Self::Vault { .. } => "vault",
            Self::SecretsManager { .. } => "secretsManager",
        }
    }
}

/// Groups connections of which an environment has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Family {
    /// Where Kubernetes objects go.
    Kubernetes,
    /// Where generated secrets are kept.
    Secrets,
    /// Where databases and roles go.
    Postgres,
    /// Where AWS resources go.
    Aws,
    /// What runs modules.
    Terraform,
    /// Where secrets of others are read, and ours are written for them.
    SecretStore,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Kubernetes, Self::Secrets, Self::Postgres, Self::Aws, Self::Terraform, Self::SecretStore];

    /// Names the `capability` of a connection that would do.
    #[must_use]
    pub fn capability(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Secrets => "secrets",
            Self::Postgres => "postgres",
            Self::Aws => "aws",
            Self::Terraform => "terraform",
            Self::SecretStore => "vault",
        }
    }
}

/// Where a credential is read from when a plan is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Reference {
    /// An environment variable of the host.
    Env(String),
    /// A file on the host.
    File(String),
}

/// How Secrets are written to a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretFiles {
    /// With their values.
    Plain,
    /// Not at all: somebody else brings them.
    Omit,
}

/// A folder of manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectorySettings {
    /// The folder, relative to the data folder; `${application}` and `${environment}` stand for the names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How Secrets are written; `plain` outside a Git tree and `omit` inside one if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SecretFiles>,
}

/// A Kubernetes cluster: by a kubeconfig, by its name in EKS, or the one that Windlass runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesSettings {
    /// Where the kubeconfig is; inside the cluster if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<Reference>,
    /// The context of the kubeconfig, its current one if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// A cluster of Amazon EKS, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eks: Option<EksSettings>,
    /// Acts as somebody else: an account of each environment, with no more than it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impersonate: Option<Impersonation>,
    /// No TLS, or no check of the server, is fine: on this machine; elsewhere only with `--allow-insecure-transport`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

/// A cluster of Amazon EKS: address and authority come from its API, tokens are signed in the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EksSettings {
    /// The cluster's name.
    pub cluster: String,
    /// Its region.
    pub region: String,
    /// The AWS connection whose credentials are used; the default chain of the AWS SDKs if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<DocumentName>,
    /// How AWS is reached, where no connection says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsSettings>,
}

/// As whom requests are made; `${application}` and `${environment}` stand for the names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Impersonation {
    /// `system:serviceaccount:NAMESPACE:NAME`, or a user.
    pub user: String,
    /// Further groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// A PostgreSQL server and the role that manages it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresSettings {
    /// Host name or address.
    pub host: String,
    /// TCP port, 5432 if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The role that manages: it may create roles and databases, and need not be a superuser.
    pub user: String,
    /// Where its password is; none if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Reference>,
    /// The database that is connected to for managing, `postgres` if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Whether the connection is encrypted and the server checked, as libpq's `sslmode`; `verify-full` if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_mode: Option<SslMode>,
    /// The authority that signed the server's certificate, in PEM; the usual ones if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_root_cert: Option<Reference>,
    /// No TLS, or no check of the server, is fine: on this machine; elsewhere only with `--allow-insecure-transport`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

/// Encryption of a connection, with the names and meanings of libpq.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Not encrypted unless the server insists.
    Allow,
    /// Encrypted if the server can.
    Prefer,
    /// Encrypted; whoever answers.
    Require,
    /// Encrypted, the certificate's authority is checked.
    VerifyCa,
    /// Encrypted, authority and host name are checked.
    VerifyFull,
}

/// An AWS account and region. Credentials come from the default chain of the AWS SDKs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsSettings {
    /// `eu-central-1`.
    pub region: String,
    /// A profile of the shared configuration files; the default chain if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Acts with another role, with session tags `windlass:application` and `windlass:environment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
    /// Another endpoint for all services: a stand-in for tests, a private link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Hosted zones of Route 53 that records may stand in, by id or name; all of the account's if none is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zones: Option<Vec<String>>,
    /// No TLS, or no check of the server, is fine: on this machine; elsewhere only with `--allow-insecure-transport`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

/// A role of AWS to act with; `${application}` and `${environment}` stand for the names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssumeRole {
    /// `arn:aws:iam::ACCOUNT:role/NAME`.
    pub role_arn: String,
    /// What the role's trust policy asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Reference>,
}

/// The program that runs modules, and what it may see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TerraformSettings {
    /// `tofu`, `terraform` or an absolute path; the first of both on the PATH if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Which versions will do, as Cargo writes it: `>=1.8, <2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The program's configuration file (`.tofurc`, `.terraformrc`): mirrors and credentials of registries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cli_config: Option<String>,
    /// Providers that modules may use, `hashicorp/aws` or `registry.example.com/acme/*`: they are programs, and run with what the
    /// connection gives. Any if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<Vec<String>>,
    /// Whether the kernel (Landlock) confines runs to the module's folder, its providers and the program; they are if nothing is said.
    /// A program that is a script, or providers that start others, need `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confined: Option<bool>,
    /// Variables of the program's environment by name, each with where its value is read: nothing else of ours is seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Reference>,
}

/// A Vault or OpenBao server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultSettings {
    /// `https://vault.example:8200`.
    pub address: String,
    /// The namespace of Vault Enterprise, OpenBao or HCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Mounts with a slash in their names: `team/kv`. All others are the first part of a path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<String>,
    /// The authority that signed the server's certificate, in PEM; the usual ones if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<Reference>,
    /// How Windlass says who it is.
    pub auth: VaultAuth,
    /// No TLS, or no check of the server, is fine: on this machine; elsewhere only with `--allow-insecure-transport`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

/// How Windlass says to Vault who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum VaultAuth {
    /// By a token.
    Token(Reference),
    /// By a role and its secret id.
    AppRole {
        /// Where the method is mounted, `approle` if nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mount: Option<String>,
        /// The role's id.
        role_id: String,
        /// Where the secret id is.
        secret_id: Reference,
    },
    /// By the token of this pod's service account.
    Kubernetes {
        /// Where the method is mounted, `kubernetes` if nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mount: Option<String>,
        /// The role.
        role: String,
        /// Where the token is, the usual file if nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Reference>,
    },
    /// By a token of an identity provider.
    Jwt {
        /// Where the method is mounted, `jwt` if nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mount: Option<String>,
        /// The role.
        role: String,
        /// Where the token is.
        token: Reference,
    },
}

/// Puts an environment's names where settings ask for them.
#[must_use]
pub fn of_environment(text: &str, environment: &crate::state::EnvironmentKey) -> String {
    text.replace("${application}", environment.application.as_str()).replace("${environment}", environment.environment.as_str())
}

impl Reference {
    /// Names the place for people, never what stands there.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Env(name) => format!("the variable `{name}`"),
            Self::File(path) => format!("the file `{path}`"),
        }
    }
}
