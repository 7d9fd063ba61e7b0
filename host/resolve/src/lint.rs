//! Placeholders that are probably not what their author meant: they are text as it is written, and reach the process so.

use serde_json::{Map, Value};
use windlass_model::{
    Diagnostic,
    placeholder::{self, Segment},
    pointer::{Pointer, escape},
    score::Workload,
};

/// Characters of a text that a warning shows.
const SHOWN_CHARS_MAX: usize = 40;

/// Warns of variables, files and volumes of a workload with a placeholder that is never closed, or that names a resource where a value
/// is meant.
#[must_use]
pub fn misleading_placeholders(workload: &Workload) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (name, container) in &workload.containers {
        let base = format!("/containers/{}", escape(name));
        for (variable, text) in &container.variables {
            check_text(text, &format!("{base}/variables/{}", escape(variable)), &mut found);
        }
        for (target, file) in &container.files {
            if let Some(content) = file.content.as_ref().filter(|_| !file.no_expand.unwrap_or_default()) {
                check_text(content, &format!("{base}/files/{}/content", escape(target)), &mut found);
            }
        }
        for (target, volume) in &container.volumes {
            visit(&volume.source, &Pointer::Root, &format!("{base}/volumes/{}/source", escape(target)), &mut found);
        }
    }
    found
}

/// Warns of placeholders of params or inputs that are never closed; `base` is where they stand.
#[must_use]
pub fn unclosed_placeholders(values: &Map<String, Value>, base: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (name, value) in values {
        visit(value, &Pointer::Root.field(name), base, &mut found);
    }
    found
}

fn visit(value: &Value, at: &Pointer<'_>, base: &str, found: &mut Vec<Diagnostic>) {
    match value {
        Value::String(text) => found.extend(truncated(text, &format!("{base}{at}"))),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| visit(item, &at.element(index), base, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| visit(field, &at.field(name), base, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn check_text(text: &str, at: &str, found: &mut Vec<Diagnostic>) {
    if placeholder::is_plain(text) {
        return;
    }
    found.extend(truncated(text, at));
    for segment in placeholder::parse(text) {
        let Segment::Reference(reference) = segment else { continue };
        if let [root, alias] = placeholder::path(reference).as_slice()
            && root == "resources"
        {
            let message = format!("`${{{reference}}}` stands for the address of the resource, not for a value of it");
            found.push(
                Diagnostic::warning("resource-address", message).at(at).hint(format!("name an output: `${{resources.{alias}.OUTPUT}}`")),
            );
        }
    }
}

fn truncated(text: &str, at: &str) -> Option<Diagnostic> {
    let rest = placeholder::unclosed(text)?;
    let line = rest.lines().next().unwrap_or_default();
    let shown: String = line.chars().take(SHOWN_CHARS_MAX).collect();
    let warning = Diagnostic::warning("unclosed-placeholder", format!("`{shown}` has no `}}`: it stays as it is written")).at(at);
    Some(warning.hint("close it with `}`, or write `$${` for text that begins so"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unclosed_and_valueless_placeholders_are_warned_of() {
        let workload: Workload = serde_json::from_value(json!({
            "apiVersion": "score.dev/v1b1", "metadata": { "name": "web" },
            "containers": { "main": {
                "image": "a:1",
                "variables": { "A": "${resources.db.host", "B": "x ${resources.db} y", "C": "$${open", "D": "${resources.db.host}", "E": "$(X)" },
                "files": { "/a": { "content": "one ${two\nthree" }, "/b": { "content": "${", "noExpand": true } },
                "volumes": { "/v": { "source": "${resources.v" }, "/w": { "source": "${resources.w}" } },
            } },
        }))
        .unwrap();
        let found: Vec<String> = misleading_placeholders(&workload).iter().map(ToString::to_string).collect();
        insta::assert_debug_snapshot!(found);
        let params = json!({ "a": ["${x", { "b": "${y}" }] });
        let found = unclosed_placeholders(params.as_object().unwrap(), "/resources/db/params");
        assert_eq!(found[0].pointer, "/resources/db/params/a/0");
        assert_eq!(found.len(), 1);
    }
}
