//! What is staged: roles, logins, databases. The published schemas are made of these types.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use windlass_engine::spec;
use windlass_model::Diagnostic;

/// PostgreSQL cuts names at 63 bytes.
const NAME_BYTES_MAX: usize = 63;
/// What tells the two roles of a login apart.
pub(crate) const TURNS: [&str; 2] = ["_a", "_b"];
/// How a password begins that is none: what the server stores of it.
pub(crate) const VERIFIER: &str = "SCRAM-SHA-256$";

/// A role that nobody logs in with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RoleSpec {
    /// Its name, 1 to 63 bytes.
    pub name: String,
    /// The roles that it is a member of.
    #[serde(default)]
    pub member_of: Vec<String>,
}

/// Somebody who logs in, on two roles that take turns.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LoginSpec {
    /// What the names of the two roles begin with, 1 to 61 bytes.
    pub name: String,
    /// The role that it acts as: what it makes belongs to that.
    pub acts_as: String,
    /// The password, a secret; the server gets a SCRAM verifier of it only.
    #[schemars(extend("x-windlass-sealed" = true))]
    pub password: String,
    /// How many connections it may have at once; no limit if nothing is said.
    #[serde(default)]
    pub connection_limit: Option<u16>,
}

/// A database with what belongs into it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DatabaseSpec {
    /// Its name, 1 to 63 bytes.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// The encoding, UTF8 if nothing is said; another one is another database.
    #[serde(default)]
    pub encoding: Option<String>,
    /// The locale, the server's own if nothing is said; another one is another database.
    #[serde(default)]
    pub locale: Option<String>,
    /// How many connections it takes at once; no limit if nothing is said.
    #[serde(default)]
    pub connection_limit: Option<u16>,
    /// Extensions to create; one that left the list stays where it is.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Schemas to create; they belong to the owner, and one that left the list stays where it is.
    #[serde(default)]
    pub schemas: Vec<String>,
    /// Who else may do what.
    #[serde(default)]
    pub grants: Vec<GrantSpec>,
}

/// Lets a role do something in a schema: with what is there, and with what the owner makes later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct GrantSpec {
    /// The role.
    pub to: String,
    /// The schema, `public` if nothing is said.
    #[serde(default = "public")]
    pub schema: String,
    /// What it may do.
    pub access: Access,
}

fn public() -> String {
    "public".to_owned()
}

/// What a role may do in a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Access {
    /// Read tables and sequences.
    Read,
    /// Read and change rows.
    Write,
    /// Also make and drop objects.
    Create,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
        })
    }
}

/// What is staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spec {
    /// A role.
    Role(RoleSpec),
    /// A login.
    Login(LoginSpec),
    /// A database.
    Database(DatabaseSpec),
}

impl Spec {
    /// Reads a spec; what is sealed reads as text.
    pub(crate) fn parse(value: &Value) -> Result<Self, Diagnostic> {
        match spec::kind(value) {
            "role" => spec::typed(value).map(Self::Role),
            "login" => spec::typed(value).map(Self::Login),
            "database" => spec::typed(value).map(Self::Database),
            other => Err(Diagnostic::error("spec", format!("`{other}` is neither role, login nor database"))),
        }
    }

    /// Returns the name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Role(role) => &role.name,
            Self::Login(login) => &login.name,
            Self::Database(database) => &database.name,
        }
    }

    /// Returns every name in it, with its place.
    pub(crate) fn names(&self) -> Vec<(String, &str)> {
        let list = |field: &str, names: &'_ [String]| -> Vec<String> {
            names.iter().enumerate().map(|(index, _)| format!("/{field}/{index}")).collect()
        };
        match self {
            Self::Role(role) => {
                let mut names = vec![("/name".to_owned(), role.name.as_str())];
                names.extend(list("memberOf", &role.member_of).into_iter().zip(role.member_of.iter().map(String::as_str)));
                names
            }
            Self::Login(login) => vec![("/name".to_owned(), login.name.as_str()), ("/actsAs".to_owned(), login.acts_as.as_str())],
            Self::Database(database) => {
                let mut names = vec![("/name".to_owned(), database.name.as_str()), ("/owner".to_owned(), database.owner.as_str())];
                names.extend(list("extensions", &database.extensions).into_iter().zip(database.extensions.iter().map(String::as_str)));
                names.extend(list("schemas", &database.schemas).into_iter().zip(database.schemas.iter().map(String::as_str)));
                for (index, grant) in database.grants.iter().enumerate() {
                    names.push((format!("/grants/{index}/to"), &grant.to));
                    names.push((format!("/grants/{index}/schema"), &grant.schema));
                }
                names
            }
        }
    }

    /// Returns the roles that it makes.
    pub(crate) fn roles(&self) -> Vec<String> {
        match self {
            Self::Role(role) => vec![role.name.clone()],
            Self::Login(login) => TURNS.map(|turn| format!("{}{turn}", login.name)).into(),
            Self::Database(_) => Vec::new(),
        }
    }

    /// Returns the roles whose rights it takes for itself, with their places.
    pub(crate) fn used(&self) -> Vec<(String, &str)> {
        let mut names = self.names();
        names.retain(|(at, _)| matches!(at.as_str(), "/actsAs" | "/owner") || at.starts_with("/memberOf/"));
        names
    }

    /// Returns how many bytes the name may have.
    pub(crate) fn name_bytes_max(&self) -> usize {
        match self {
            Self::Login(_) => NAME_BYTES_MAX - TURNS[0].len(),
            Self::Role(_) | Self::Database(_) => NAME_BYTES_MAX,
        }
    }
}

/// Roles of hosts that reach beyond the databases of an environment; those of PostgreSQL itself begin with `pg_`.
pub(crate) const BEYOND: [&str; 13] = [
    "alloydbsuperuser",
    "azure_pg_admin",
    "azure_superuser",
    "azuresu",
    "cloudsqladmin",
    "cloudsqlsuperuser",
    "neon_superuser",
    "rds_replication",
    "rds_superuser",
    "rdsadmin",
    "rdsrepladmin",
    "rdstopmgr",
    "supabase_admin",
];

/// Tells whether a role of this name reaches beyond the databases of an environment. PostgreSQL keeps names that begin with `pg_` for
/// roles of its own, later versions for further ones, and none of them is for the data of one environment.
pub(crate) fn reaches_beyond(name: &str) -> bool {
    name.starts_with("pg_") || BEYOND.contains(&name)
}

/// Tells what is wrong with a name, if anything.
pub(crate) fn wrong_name(name: &str, bytes_max: usize) -> Option<String> {
    if name.is_empty() || name.len() > bytes_max {
        return Some(format!("a name has 1 to {bytes_max} bytes, `{name}` has {}", name.len()));
    }
    if name.chars().any(char::is_control) {
        return Some("a name has no control characters".to_owned());
    }
    if name.starts_with("pg_") || matches!(name, "public" | "none") {
        return Some(format!("`{name}` belongs to PostgreSQL itself"));
    }
    None
}
