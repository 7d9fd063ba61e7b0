//! `secret set|list|rm`.

use std::io::{IsTerminal as _, Read as _};

use windlass_engine::session::{Secret as Value, given_name};
use windlass_model::{
    identity::shown,
    state::{EnvironmentKey, Status},
};

use super::apply::ask;
use crate::{
    arguments::{Format, Global, Secret},
    exit::{Code, Failure},
    print,
    workspace::Workspace,
};

/// Longest value: a certificate chain with its key has some KiB.
const VALUE_BYTES_MAX: u64 = 512 * 1024;

pub(crate) async fn run(global: &Global, command: &Secret) -> Result<Code, Failure> {
    let workspace = Workspace::open(global).await?;
    match command {
        Secret::Set { name, trim, environment } => {
            check_name(name)?;
            let key = workspace.find(environment).await?;
            workspace.state(&key).await?;
            let value = match read_value(name)? {
                Given::Typed(value) => value,
                Given::Piped(value) if *trim => trimmed(&value).to_owned(),
                Given::Piped(value) => {
                    note_line_break(name, &value);
                    value
                }
            };
            if value.is_empty() {
                return Err(Failure::new(Code::BadInput, format!("the value of `{name}` is empty"))
                    .hint(format!("for example `printf %s \"$VALUE\" | windlass secret set {name} -e {}`", key.environment)));
            }
            let version = workspace.secrets.write(&key, &given_name(name), &Value::new(value)).await?;
            print::note(&format!("stored version {version} of `{name}` for {key}; the next deployment uses it"));
        }
        Secret::List { environment, output } => {
            let key = workspace.find(environment).await?;
            let names: Vec<(String, u64)> = workspace
                .secrets
                .list(&key)
                .await?
                .into_iter()
                .filter_map(|(name, version)| name.strip_prefix("env/").map(|name| (name.to_owned(), version)))
                .collect();
            if output.output == Format::Text {
                print::table(&["name", "version"], names.into_iter().map(|(name, version)| vec![name, version.to_string()]).collect())?;
            } else {
                print::structured(output.output, &names.into_iter().collect::<std::collections::BTreeMap<_, _>>())?;
            }
        }
        Secret::Rm { name, environment, yes } => {
            let key = workspace.find(environment).await?;
            let users = users(&workspace, &key, name).await?;
            if !users.is_empty() {
                let users = users.join(", ");
                print::note(&format!("`{name}` is in use by {users}; without it nothing of this is deployed again or rolled back to."));
                ask(*yes, &format!("Forget `{name}` of {key}?"))?;
            }
            if !workspace.secrets.remove(&key, &given_name(name)).await? {
                return Err(Failure::new(Code::BadInput, format!("there is no secret `{name}` in `{key}`"))
                    .hint("`windlass secret list` shows the names"));
            }
            print::note(&format!("forgot `{name}` of {key}"));
        }
    }
    Ok(Code::Done)
}

/// Lists what is deployed and was made of a secret.
async fn users(workspace: &Workspace, key: &EnvironmentKey, name: &str) -> Result<Vec<String>, Failure> {
    let state = workspace.state(key).await?;
    let actions = state.recorded.actions.into_values();
    let using = actions.filter(|action| action.status == Status::Live && action.versions.contains_key(name));
    Ok(using.map(|action| shown(&action.identity)).collect())
}

/// A value as it was given.
enum Given {
    /// One line, without its line break.
    Typed(String),
    /// All of standard input.
    Piped(String),
}

/// Reads a value from standard input; a terminal is asked, and shows nothing of it.
fn read_value(name: &str) -> Result<Given, Failure> {
    let unreadable = |error: std::io::Error| Failure::new(Code::BadInput, format!("the value of `{name}` can't be read: {error}"));
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("Value of {name} (not shown): ")).map(Given::Typed).map_err(unreadable);
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(VALUE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if read as u64 > VALUE_BYTES_MAX {
        return Err(Failure::new(Code::BadInput, format!("the value is longer than {VALUE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map(Given::Piped).map_err(|_| {
        Failure::new(Code::BadInput, format!("the value of `{name}` is no UTF-8 text"))
            .hint(format!("encode it: `base64 < FILE | windlass secret set {name} …`"))
    })
}

/// Drops the line breaks at the end of a value.
fn trimmed(value: &str) -> &str {
    value.trim_end_matches(['\n', '\r'])
}

/// Tells of a line break at the end of a single line: a file of keys needs its own, a password or token rarely has one.
fn note_line_break(name: &str, value: &str) {
    let line = trimmed(value);
    if line.len() < value.len() && !line.contains('\n') {
        print::note(&format!("`{name}` ends with a line break, which is part of the value; `--trim` drops it"));
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    let fits = (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits { Ok(()) } else { Err(Failure::usage(format!("`{name}` is no name of a secret")).hint("letters, digits, `-`, `_` and `.`")) }
}
