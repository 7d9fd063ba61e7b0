//! Text of statements: everything that comes from a plan is quoted here, and nowhere else.

use crate::spec::{Access, GrantSpec};

/// Quotes an identifier.
pub(crate) fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Quotes a literal; backslashes mean themselves whatever the server's settings say.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// Writes a limit; -1 is none.
pub(crate) fn limit(limit: Option<u16>) -> i32 {
    limit.map_or(-1, i32::from)
}

/// Privileges by what they are held on.
pub(crate) struct Privileges {
    pub schema: &'static [&'static str],
    pub tables: &'static [&'static str],
    pub sequences: &'static [&'static str],
}

/// Returns the privileges that an access is.
pub(crate) const fn privileges(access: Access) -> Privileges {
    let (tables, sequences): (&[&str], &[&str]) = match access {
        Access::Read => (&["SELECT"], &["SELECT"]),
        Access::Write | Access::Create => (&["SELECT", "INSERT", "UPDATE", "DELETE"], &["USAGE", "SELECT"]),
    };
    let schema: &[&str] = if matches!(access, Access::Create) { &["USAGE", "CREATE"] } else { &["USAGE"] };
    Privileges { schema, tables, sequences }
}

/// Statements that let a role do something: with what is there, and with what the owner makes later.
pub(crate) fn grant(grant: &GrantSpec, owner: &str) -> Vec<String> {
    let (to, schema, owner) = (name(&grant.to), name(&grant.schema), name(owner));
    let Privileges { schema: usage, tables, sequences } = privileges(grant.access);
    let (usage, tables, sequences) = (usage.join(", "), tables.join(", "), sequences.join(", "));
    vec![
        format!("GRANT {usage} ON SCHEMA {schema} TO {to}"),
        format!("GRANT {tables} ON ALL TABLES IN SCHEMA {schema} TO {to}"),
        format!("GRANT {sequences} ON ALL SEQUENCES IN SCHEMA {schema} TO {to}"),
        format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT {tables} ON TABLES TO {to}"),
        format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT {sequences} ON SEQUENCES TO {to}"),
    ]
}

/// Statements that take back what `grant` gave.
pub(crate) fn revoke(grant: &GrantSpec, owner: &str) -> Vec<String> {
    let (to, schema, owner) = (name(&grant.to), name(&grant.schema), name(owner));
    vec![
        format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} REVOKE ALL ON TABLES FROM {to}"),
        format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} REVOKE ALL ON SEQUENCES FROM {to}"),
        format!("REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {to}"),
        format!("REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {to}"),
        format!("REVOKE ALL ON SCHEMA {schema} FROM {to}"),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes() {
        assert_eq!(name(r#"a"; DROP TABLE x; --"#), r#""a""; DROP TABLE x; --""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }

    proptest! {
        /// Whatever stands inside, the quoted text ends where it should: quotes inside are doubled.
        #[test]
        fn nothing_escapes(text in "[^\0]{0,40}") {
            let quoted = name(&text);
            let inside = &quoted[1..quoted.len() - 1];
            prop_assert_eq!(inside.replace("\"\"", ""), text.replace('"', ""));
            prop_assert_eq!(inside.replace("\"\"", "\""), text);
        }
    }
}
