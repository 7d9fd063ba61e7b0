//! Queries of the catalog. The owner of a database decides about its settings and most of its contents, so every
//! function, operator, type and table in here is qualified with `pg_catalog`; a test reads the text.

/// Roles by name (`$1`).
pub(crate) const ROLES: &str = r#"
    SELECT r.oid::pg_catalog.int8 AS oid, r.rolname::pg_catalog.text AS name, r.rolcanlogin AS can_login,
           r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls AS powerful, r.rolconnlimit AS connection_limit,
           pg_catalog."left"(pg_catalog.shobj_description(r.oid, 'pg_authid'), 1024) AS comment,
           ARRAY(SELECT g.rolname::pg_catalog.text FROM pg_catalog.pg_auth_members m
                   JOIN pg_catalog.pg_roles g ON g.oid OPERATOR(pg_catalog.=) m.roleid
                  WHERE m.member OPERATOR(pg_catalog.=) r.oid ORDER BY 1 LIMIT 1000) AS member_of,
           (SELECT pg_catalog.substr(s.setting, 6, 130) FROM pg_catalog.pg_db_role_setting d, pg_catalog.unnest(d.setconfig) AS s (setting)
             WHERE d.setrole OPERATOR(pg_catalog.=) r.oid AND d.setdatabase OPERATOR(pg_catalog.=) '0'::pg_catalog.oid
               AND pg_catalog.starts_with(s.setting, 'role=') LIMIT 1) AS acts_as
      FROM pg_catalog.pg_roles r WHERE r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)"#;

/// What the server stores of passwords, by role (`$1`).
pub(crate) const VERIFIERS: &str = r#"
    SELECT a.rolname::pg_catalog.text AS name, pg_catalog."left"(a.rolpassword, 1024) AS verifier
      FROM pg_catalog.pg_authid a WHERE a.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)"#;

/// Roles (`$1`) with a role that they reach by membership, through any number of others, and that is not for an environment: one with
/// an attribute, one of PostgreSQL itself or of a host (`$2`), one that carries a mark (`$3`) which is not ours (`$4`). One row a role.
/// Every owner is a member of `pg_database_owner`, which has rights in the owner's database alone.
pub(crate) const REACHED: &str = r#"
    SELECT DISTINCT ON (u.rolname) u.rolname::pg_catalog.text AS used, r.rolname::pg_catalog.text AS reached,
           pg_catalog."left"(pg_catalog.shobj_description(r.oid, 'pg_authid'), 1024) AS comment
      FROM pg_catalog.pg_roles u JOIN pg_catalog.pg_roles r ON pg_catalog.pg_has_role(u.oid, r.oid, 'MEMBER')
     WHERE u.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)
       AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls
            OR (pg_catalog.starts_with(r.rolname::pg_catalog.text, 'pg_') AND r.rolname OPERATOR(pg_catalog.<>) 'pg_database_owner'::pg_catalog.name)
            OR r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2)
            OR (pg_catalog.starts_with(pg_catalog.shobj_description(r.oid, 'pg_authid'), $3)
                AND pg_catalog.shobj_description(r.oid, 'pg_authid') OPERATOR(pg_catalog.<>) $4))
     ORDER BY u.rolname, r.rolname"#;

/// Databases by name (`$1`).
pub(crate) const DATABASES: &str = r#"
    SELECT d.oid::pg_catalog.int8 AS oid, d.datname::pg_catalog.text AS name, r.rolname::pg_catalog.text AS owner, d.datconnlimit AS connection_limit,
           pg_catalog."left"(pg_catalog.shobj_description(d.oid, 'pg_database'), 1024) AS comment,
           pg_catalog."left"(pg_catalog.shobj_description(r.oid, 'pg_authid'), 1024) AS owner_comment
      FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) d.datdba
     WHERE d.datname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)"#;

/// What the managing role is and may read.
pub(crate) const MANAGER: &str = r#"
    SELECT r.rolsuper AS superuser, pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS readable
      FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user"#;

/// Roles and databases that carry a mark (`$1`): `role/NAME` and `database/NAME`.
pub(crate) const MARKED: &str = r#"
    SELECT pg_catalog.concat('role/', r.rolname::pg_catalog.text) AS identity FROM pg_catalog.pg_roles r
     WHERE pg_catalog.shobj_description(r.oid, 'pg_authid') OPERATOR(pg_catalog.=) $1
     UNION ALL SELECT pg_catalog.concat('database/', d.datname::pg_catalog.text) FROM pg_catalog.pg_database d
     WHERE pg_catalog.shobj_description(d.oid, 'pg_database') OPERATOR(pg_catalog.=) $1 ORDER BY 1"#;

/// Holds names (`$1`) for the session, in their order.
pub(crate) const HOLD: &str = r#"
    SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended(k.key, 0))
      FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS k (key, number) ORDER BY k.number"#;

/// Ends what `HOLD` holds.
pub(crate) const LET_GO: &str = "SELECT pg_catalog.pg_advisory_unlock_all()";

/// Ends the sessions of a role (`$1`).
pub(crate) const END_SESSIONS: &str = r#"
    SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
     WHERE a.usename::pg_catalog.text OPERATOR(pg_catalog.=) $1"#;

/// Extensions (`$1`) that the server has: the schema that one insists on, and whether one that is no superuser may create it.
pub(crate) const AVAILABLE: &str = r#"
    SELECT e.name::pg_catalog.text AS name, v.schema::pg_catalog.text AS schema, v.trusted AS trusted
      FROM pg_catalog.pg_available_extensions e
      JOIN pg_catalog.pg_available_extension_versions v
        ON v.name OPERATOR(pg_catalog.=) e.name AND v.version OPERATOR(pg_catalog.=) e.default_version
     WHERE e.name::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)"#;

/// Of extensions (`$1`) and schemas (`$2`) those that a database holds: `extension` or `schema`, and the name.
pub(crate) const INSIDE: &str = r#"
    SELECT 'extension' AS kind, e.extname::pg_catalog.text AS name FROM pg_catalog.pg_extension e
     WHERE e.extname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)
     UNION ALL SELECT 'schema', n.nspname::pg_catalog.text FROM pg_catalog.pg_namespace n
     WHERE n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2) ORDER BY 1, 2"#;

/// Event triggers whose function belongs to a role without the rights of this session: its owner would run code with them.
pub(crate) const EVENT_TRIGGERS: &str = r#"
    SELECT t.evtname::pg_catalog.text AS name, r.rolname::pg_catalog.text AS owner
      FROM pg_catalog.pg_event_trigger t
      JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.evtfoid
      JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.proowner
     WHERE t.evtenabled OPERATOR(pg_catalog.<>) 'D'::pg_catalog."char" AND NOT pg_catalog.pg_has_role(p.proowner, SESSION_USER, 'MEMBER')
     ORDER BY 1 LIMIT 1"#;

/// A function or operator of a role without the rights of this session: the script of an extension could run it by its name.
pub(crate) const FOREIGN_CODE: &str = r#"
    SELECT f.name AS name, r.rolname::pg_catalog.text AS owner
      FROM (SELECT p.proname::pg_catalog.text AS name, p.proowner AS owner FROM pg_catalog.pg_proc p
             UNION ALL SELECT o.oprname::pg_catalog.text, o.oprowner FROM pg_catalog.pg_operator o) AS f
      JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) f.owner
     WHERE NOT pg_catalog.pg_has_role(f.owner, SESSION_USER, 'MEMBER') LIMIT 1"#;

/// What a role (`$1`) lacks of a grant of an owner (`$2`) in a schema (`$3`): a row for each part, at most 50.
pub(crate) const LACKING: &str = r#"
    WITH wanted AS (
        SELECT (SELECT a.oid FROM pg_catalog.pg_roles a WHERE a.rolname::pg_catalog.text OPERATOR(pg_catalog.=) $1) AS role,
               (SELECT b.oid FROM pg_catalog.pg_roles b WHERE b.rolname::pg_catalog.text OPERATOR(pg_catalog.=) $2) AS owner,
               (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) $3) AS schema,
               $4::pg_catalog.text[] AS schema_privileges, $5::pg_catalog.text[] AS tables, $6::pg_catalog.text[] AS sequences
    ), kinds AS (
        SELECT 'r'::pg_catalog.text AS object, '{r,p,v,m,f}'::pg_catalog."char"[] AS relkinds, w.tables AS privileges, 'tables'::pg_catalog.text AS what
          FROM wanted w
        UNION ALL SELECT 'S', '{S}', w.sequences, 'sequences' FROM wanted w
    )
    SELECT 'CONNECT on the database' AS lacking FROM wanted w
     WHERE NOT coalesce(pg_catalog.has_database_privilege(w.role, pg_catalog.current_database(), 'CONNECT'), false)
    UNION ALL
    SELECT pg_catalog.concat(p.privilege, ' on the schema') FROM wanted w, pg_catalog.unnest(w.schema_privileges) AS p (privilege)
     WHERE NOT coalesce(pg_catalog.has_schema_privilege(w.role, w.schema, p.privilege), false)
    UNION ALL
    SELECT pg_catalog.concat(p.privilege, ' on ', c.relname::pg_catalog.text)
      FROM wanted w, kinds k, pg_catalog.unnest(k.privileges) AS p (privilege), pg_catalog.pg_class c
     WHERE c.relnamespace OPERATOR(pg_catalog.=) w.schema AND c.relowner OPERATOR(pg_catalog.=) w.owner
       AND c.relkind OPERATOR(pg_catalog.=) ANY (k.relkinds)
       AND NOT coalesce(CASE WHEN k.object OPERATOR(pg_catalog.=) 'r' THEN pg_catalog.has_table_privilege(w.role, c.oid, p.privilege)
                             ELSE pg_catalog.has_sequence_privilege(w.role, c.oid, p.privilege) END, false)
    UNION ALL
    SELECT pg_catalog.concat(p.privilege, ' on later ', k.what) FROM wanted w, kinds k, pg_catalog.unnest(k.privileges) AS p (privilege)
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) AS e
                        WHERE d.defaclrole OPERATOR(pg_catalog.=) w.owner AND d.defaclnamespace OPERATOR(pg_catalog.=) w.schema
                          AND d.defaclobjtype OPERATOR(pg_catalog.=) k.object::pg_catalog."char"
                          AND e.grantee OPERATOR(pg_catalog.=) w.role AND e.privilege_type OPERATOR(pg_catalog.=) p.privilege)
     ORDER BY 1 LIMIT 50"#;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 15] = [
        ROLES,
        VERIFIERS,
        REACHED,
        DATABASES,
        MANAGER,
        MARKED,
        HOLD,
        LET_GO,
        END_SESSIONS,
        AVAILABLE,
        INSIDE,
        EVENT_TRIGGERS,
        FOREIGN_CODE,
        LACKING,
        super::super::connect::SEARCH_PATH,
    ];
    /// Words before a parenthesis that are syntax.
    const SYNTAX: [&str; 12] = ["and", "any", "array", "as", "coalesce", "exists", "from", "not", "on", "operator", "or", "select"];

    /// Removes literals, so that only SQL remains.
    fn without_literals(query: &str) -> String {
        query.split('\'').step_by(2).collect::<Vec<_>>().join("''")
    }

    /// Returns the word that ends before a place, with the qualifier before it.
    fn word_before(text: &str) -> &str {
        let text = text.trim_end();
        let start = text.rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '"'))).map_or(0, |at| at + 1);
        &text[start..]
    }

    #[test]
    fn every_function_operator_type_and_table_is_qualified() {
        for query in ALL {
            let text = without_literals(query);
            for (at, _) in text.match_indices('(') {
                let word = word_before(&text[..at]);
                let is_alias = text[..at].trim_end().trim_end_matches(word).trim_end().to_lowercase().ends_with(" as");
                let plain = word.is_empty() || is_alias || SYNTAX.contains(&word.to_lowercase().as_str());
                assert!(plain || word.starts_with("pg_catalog."), "the function `{word}` in {query}");
            }
            let mut rest = text.clone();
            while let Some(at) = rest.find("OPERATOR(pg_catalog.") {
                let end = rest[at..].find(')').unwrap() + at;
                rest.replace_range(at..=end, "");
            }
            assert!(!rest.contains(['=', '<', '>', '~', '|', '+', '/']), "an operator in {query}: {rest}");
            let types = rest.split("::").skip(1).chain(rest.split("FROM ").skip(1)).chain(rest.split("JOIN ").skip(1));
            for named in types.filter(|named| !named.starts_with('(')) {
                let name = named.split([' ', ',', '\n', ')']).next().unwrap();
                let is_own = ["wanted", "kinds"].contains(&name);
                assert!(is_own || name.starts_with("pg_catalog."), "the name `{name}` in {query}");
            }
        }
    }
}
