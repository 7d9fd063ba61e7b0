//! Roles and databases in a PostgreSQL server: `windlass:postgres/databases`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    handle::{handle, ordered},
    sealed::Sealable,
};

/// A role that nobody logs in with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleSpec {
    /// Its name, 1 to 63 bytes.
    pub name: String,
    /// The roles that it is a member of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub member_of: Vec<String>,
}

/// Somebody who logs in, on two roles that take turns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoginSpec {
    /// What the names of the two roles begin with, 1 to 61 bytes.
    pub name: String,
    /// The role that it acts as: what it makes belongs to that.
    pub acts_as: String,
    /// The password, a secret; the server gets a verifier of it only.
    pub password: Sealable,
    /// How many connections it may have at once; no limit if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<u32>,
}

/// A database with what belongs into it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSpec {
    /// Its name, 1 to 63 bytes.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// The encoding, UTF8 if nothing is said; another one is another database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The locale, the server's own if nothing is said; another one is another database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// How many connections it takes at once; no limit if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<u32>,
    /// Extensions to create.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Schemas to create; they belong to the owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    /// Who else may do what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantSpec>,
}

/// Lets a role do something in a database: with what is there, and with what the owner makes later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantSpec {
    /// The role.
    pub to: String,
    /// The schema, `public` if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// What it may do.
    pub access: Access,
}

/// What a role may do in a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Access {
    /// Read tables and sequences.
    Read,
    /// Read and change rows.
    Write,
    /// Also make and drop objects.
    Create,
}

/// A role.
#[derive(Debug)]
pub struct Role(role::Handle);

impl Role {
    /// Stages a role; `name` is unique among the node's roles.
    pub fn new(name: &str, spec: &RoleSpec) -> Self {
        Self(role::Handle::new(name, &serde_json::to_string(spec).unwrap_or_default()))
    }
}

/// A login.
#[derive(Debug)]
pub struct Login(login::Handle);

impl Login {
    /// Stages a login; `name` is unique among the node's logins.
    pub fn new(name: &str, spec: &LoginSpec) -> Self {
        Self(login::Handle::new(name, &serde_json::to_string(spec).unwrap_or_default()))
    }

    /// Yields the name of the role whose turn it is.
    pub fn username(&self) -> Sealable {
        Sealable::new(self.0.username())
    }
}

/// A database.
#[derive(Debug)]
pub struct Database(database::Handle);

impl Database {
    /// Stages a database; `name` is unique among the node's databases.
    pub fn new(name: &str, spec: &DatabaseSpec) -> Self {
        Self(database::Handle::new(name, &serde_json::to_string(spec).unwrap_or_default()))
    }

    /// Yields the host name or address of the server.
    pub fn host(&self) -> Sealable {
        Sealable::new(self.0.host())
    }

    /// Yields the port of the server, a number.
    pub fn port(&self) -> Sealable {
        Sealable::new(self.0.port())
    }
}

handle!(role, "windlass:postgres/databases", "role", crate::bindings::imports::windlass::postgres::databases::Role, []);
handle!(
    login,
    "windlass:postgres/databases",
    "login",
    crate::bindings::imports::windlass::postgres::databases::Login,
    [username = "username"]
);
handle!(
    database,
    "windlass:postgres/databases",
    "database",
    crate::bindings::imports::windlass::postgres::databases::Database,
    [host = "host", port = "port"]
);
ordered!(Role, Login, Database);
