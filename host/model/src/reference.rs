//! References of a spec to things that it does not contain: objects by name, and host names.

use crate::sealed::Sealed;

/// A reference to an object by its name, or a claim on a host name.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// What is named.
    pub kind: ReferenceKind,
    /// The namespace of the object that is named; absent where the namespace is not known, and for host names.
    pub namespace: Option<String>,
    /// The name.
    pub name: ReferenceName,
    /// The field of the spec that holds the name.
    pub pointer: String,
}

/// What a reference names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceKind {
    /// A Secret of Kubernetes.
    Secret,
    /// A PersistentVolumeClaim: naming one gives its data.
    PersistentVolumeClaim,
    /// A ServiceAccount: naming one gives its rights.
    ServiceAccount,
    /// A host name that traffic is taken for; `*` is every one.
    Host,
    /// An object of another namespace, by its kind.
    Foreign(String),
}

/// The name in a reference.
#[derive(Clone, Debug, PartialEq)]
pub enum ReferenceName {
    /// Text of the plan.
    Text(String),
    /// A value that is known only later.
    Sealed(Sealed),
}

impl ReferenceKind {
    /// Returns the kind as documents and messages write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Secret => "Secret",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::ServiceAccount => "ServiceAccount",
            Self::Host => "host name",
            Self::Foreign(kind) => kind,
        }
    }

    /// Returns whether a reference to this kind hands a secret on.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        *self == Self::Secret
    }
}

impl Reference {
    /// Returns the identity of the object that is named, as `GROUP/KIND/NAMESPACE/NAME`, where it has one and its name is known.
    #[must_use]
    pub fn identity(&self) -> Option<String> {
        let ReferenceName::Text(name) = &self.name else { return None };
        match self.kind {
            ReferenceKind::Host | ReferenceKind::Foreign(_) => None,
            _ => Some(format!("/{}/{}/{name}", self.kind.as_str(), self.namespace.as_deref().unwrap_or_default())),
        }
    }
}
