//! What a definition lets its driver do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::DocumentName;

/// Permits a driver to use a capability.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// The imported interface: `windlass:kubernetes/objects`.
    pub import: String,
    /// Kubernetes kinds that may be staged: `v1/Secret`, or an object for kinds that Windlass does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<KindGrant>,
    /// Lifts single rules of the manifest policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<PolicyException>,
    /// Paths of a store of secrets that may be read and written beyond `MOUNT/APPLICATION/ENVIRONMENT/…`: `secret/shared/smtp`. A `*` at
    /// the end stands for the rest; `${application}` and `${environment}` stand for the names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Labels and annotations that may be written beyond those that only describe: whole keys, or domains with a `/` at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<String>,
    /// Objects that may be referred to though neither the node nor a dependency of it makes them: `Secret/NAME`,
    /// `ServiceAccount/NAME`, `PersistentVolumeClaim/NAME`, `Gateway/NAMESPACE/NAME`. A `*` at the end stands for the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<String>,
    /// Host names that may be claimed beyond those of the node's `dns` dependencies: `shop.example.com`, `*.example.com`, `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// DNS records that may be staged: names with the types A, AAAA, CNAME and TXT, or of one type (`CAA example.com`). A `*` stands for
    /// one host label or more. Hosts below the definition's input `domain` if none is listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
    /// Uses this connection instead of the matching one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<DocumentName>,
}

/// A Kubernetes kind of a grant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum KindGrant {
    /// `GROUP/VERSION/KIND` without the group for the core: `v1/Service`, `apps/v1/Deployment`.
    Name(String),
    /// A kind that is not in the built-in table.
    Declared(DeclaredKind),
}

/// Describes a Kubernetes kind that Windlass does not know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclaredKind {
    /// `example.com/v1`.
    pub api_version: String,
    /// `Widget`.
    pub kind: String,
    /// `widgets`.
    pub plural: String,
    /// Whether objects live in a namespace.
    pub scope: Scope,
    /// Pointers that may be read as non-secret through `field()`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readable: Vec<String>,
}

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the whole cluster.
    Cluster,
}

/// A rule of the manifest policy that a grant lifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PolicyException {
    /// Cluster-scoped kinds among the granted ones.
    ClusterScoped,
    /// Namespaces other than the environment's.
    ForeignNamespaces,
    /// Pods that share the host's namespaces, mount its paths or run privileged.
    PrivilegedPods,
    /// Roles and bindings.
    Rbac,
    /// Secrets of type service-account-token.
    TokenSecrets,
    /// Addresses outside the cluster: Services of type LoadBalancer, NodePort and ExternalName, external IPs, Endpoints.
    ExternalAddresses,
    /// Volumes beyond those of the pod's own objects: CSI, NFS, iSCSI and the like; claims that choose their volume or its content.
    Volumes,
    /// Nodes, priorities and runtimes of the pod's choice, and tolerations of every taint.
    Scheduling,
    /// Service account tokens for other audiences than the API server.
    TokenAudiences,
    /// Fields of built-in kinds that no list of the policy names.
    OtherFields,
    /// DB instances with a public address.
    PublicAccess,
    /// Security groups, subnet groups, parameter groups, keys and sources of replicas that the definition's inputs do not name.
    ForeignResources,
    /// Modules of Terraform that run programs or read files of the machine: provisioners, the data source `external`, `file("/…")`.
    Execute,
    /// Outputs and messages of Terraform modules that took a secret: they are secret otherwise.
    Declassify,
}
