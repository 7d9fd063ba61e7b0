//! A database with its own login in a PostgreSQL server that exists: one of RDS, or any other.
//!
//! The database belongs to a role that nobody logs in with. The login stands on two roles that act as
//! the owner and take turns, so that a new password locks nobody out.

use windlass_sdk::{
    names::{hash, name_within},
    postgres::{Access, Database, DatabaseSpec, GrantSpec, Login, LoginSpec, Role, RoleSpec},
    prelude::*,
    sealed::SealableValue,
    secrets::Policy,
};

/// PostgreSQL cuts names at 63 bytes; the login's two roles need two of them.
const NAME_BYTES_MAX: usize = 61;

/// What a resource may be asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Extensions to create, beyond those of the definition.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Schemas to create.
    #[serde(default)]
    pub schemas: Vec<String>,
    /// The version that is wished for; there is one server, so this only warns.
    #[serde(default)]
    pub version: Option<String>,
}

/// What a definition may give.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The database's name; made of application, environment and resource if nothing is said.
    #[serde(default)]
    pub name: Option<String>,
    /// Extensions to create.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// How many connections the login may have at once; no limit if nothing is said.
    #[serde(default)]
    pub connection_limit: Option<u32>,
    /// The locale, the server's own if nothing is said.
    #[serde(default)]
    pub locale: Option<String>,
    /// Roles of the server that may read every table, such as those of analysts.
    #[serde(default)]
    pub readers: Vec<String>,
}

/// What it yields.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// The server's host name.
    pub host: Sealable,
    /// The server's port.
    pub port: SealableValue<u16>,
    /// The database.
    pub name: String,
    /// The database, by its other name.
    pub database: String,
    /// The role to log in with.
    pub username: Sealable,
    /// The password.
    pub password: Sealable,
}

/// The driver.
#[derive(Debug)]
pub struct PostgresDatabase;

impl ResourceDefinition for PostgresDatabase {
    const SUMMARY: &'static str = "a database with its own login in a PostgreSQL server that exists; passwords change without downtime";
    type Params = Params;
    type Inputs = Inputs;
    type Outputs = Outputs;

    fn define(request: Request<Params, Inputs>) -> Result<Answer<Outputs>, Diagnostics> {
        let Request { context, key, params, inputs, .. } = request;
        let name = inputs.name.unwrap_or_else(|| name_of(&context, &key));
        let password = Generated::with_policy("password", &Policy::default());
        let owner = Role::new("owner", &RoleSpec { name: name.clone(), member_of: Vec::new() });
        let login = Login::new(
            "login",
            &LoginSpec { name: name.clone(), acts_as: name.clone(), password: password.value(), connection_limit: inputs.connection_limit },
        );
        login.after(&owner.action());
        let mut extensions = inputs.extensions;
        extensions.extend(params.extensions);
        extensions.sort();
        extensions.dedup();
        let database = Database::new(
            "database",
            &DatabaseSpec {
                name: name.clone(),
                owner: name.clone(),
                locale: inputs.locale,
                extensions,
                schemas: params.schemas,
                grants: inputs.readers.into_iter().map(|to| GrantSpec { to, schema: None, access: Access::Read }).collect(),
                ..DatabaseSpec::default()
            },
        );
        database.after(&owner.action());
        let answer = Answer::new(Outputs {
            host: database.host(),
            port: SealableValue::Sealed(database.port()),
            name: name.clone(),
            database: name,
            username: login.username(),
            password: password.value(),
        });
        Ok(match params.version {
            Some(version) => answer.warn(
                Diagnostic::warning(
                    "version",
                    format!("version {version} is asked for; the database is made in a server that exists, of whatever version"),
                )
                .at("/params/version")
                .hint("a definition with a server of its own for each resource, such as `postgres-rds`, can choose"),
            ),
            None => answer,
        })
    }
}

/// Makes a name that needs no quotes in SQL. Hyphens become underscores, as the borders between the parts are:
/// where there are hyphens, a hash keeps different parts apart.
fn name_of(context: &Context, key: &ResourceKey) -> String {
    let class = if key.class == "default" { "" } else { key.class.as_str() };
    let parts: Vec<&str> = [context.application.as_str(), context.environment.as_str(), class, key.id.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let hash = parts.iter().any(|part| part.contains('-')).then(|| hash(&parts.join("/")));
    let mut name = name_within(&parts, NAME_BYTES_MAX - hash.as_ref().map_or(0, |hash| hash.len() + 1)).replace('-', "_");
    if let Some(hash) = hash {
        name = format!("{name}_{hash}");
    }
    name
}

windlass_sdk::export_resource!(PostgresDatabase);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_sdk::harness::define;

    use super::*;

    #[test]
    fn stages_owner_login_and_database() {
        insta::assert_json_snapshot!(define::<PostgresDatabase>(json!({
            "key": { "type": "postgres", "id": "web.db" },
            "inputs": { "extensions": ["pgcrypto"], "connection_limit": 20, "readers": ["analysts"] },
            "params": { "extensions": ["citext", "pgcrypto"], "schemas": ["audit"] },
        })));
    }

    #[test]
    fn a_version_only_warns() {
        let outcome = define::<PostgresDatabase>(json!({ "params": { "version": "16" } }));
        assert_eq!(outcome.outputs["name"], "shop_dev_web_res");
        assert_eq!(outcome.diagnostics[0].pointer, "/params/version");
    }

    #[test]
    fn names_fit_and_never_meet() {
        let name = |id: &str| define::<PostgresDatabase>(json!({ "key": { "type": "postgres", "id": id } })).outputs["name"].clone();
        assert_eq!(name("web.db"), "shop_dev_web_db");
        assert_ne!(name("web-db.x"), name("web.db-x"));
        assert!(name(&"x".repeat(90)).as_str().is_some_and(|name| name.len() <= NAME_BYTES_MAX));
    }
}
