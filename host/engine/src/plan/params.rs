//! Params that nothing knows: told as warnings, whatever the driver is.

use serde_json::{Map, Value};
use windlass_model::{Diagnostic, ResourceKey, did_you_mean, pointer};

use super::{Cx, desired, place::of_resource};

/// The code of the warning about a param that nothing knows.
pub(crate) const UNKNOWN: &str = "unknown-param";

/// Takes the params away that a driver would refuse as unknown, and tells of these and of those that nothing reads.
///
/// A driver that lists its params (`accepted`) knows these. Any other, such as `template`, knows those of the resource type and those
/// that the definition's inputs read.
pub(crate) fn take_unknown(
    cx: &Cx<'_>,
    key: &ResourceKey,
    inputs: &Map<String, Value>,
    accepted: Option<&[String]>,
    params: &mut Value,
) -> Vec<Diagnostic> {
    let Some(params) = params.as_object_mut().filter(|params| !params.is_empty()) else { return Vec::new() };
    let declared = declared(cx, key);
    let known: Vec<&str> = match (accepted, &declared) {
        (Some(accepted), _) => accepted.iter().map(String::as_str).collect(),
        (None, Some(declared)) => declared.clone(),
        (None, None) => return Vec::new(),
    };
    let is_unknown = |name: &str| !known.contains(&name) && (accepted.is_some() || !is_read(inputs, name));
    let unknown: Vec<String> = params.keys().filter(|name| is_unknown(name)).cloned().collect();
    unknown
        .into_iter()
        .map(|name| {
            if accepted.is_some() {
                params.remove(&name);
            }
            let message = format!("nothing reads the param `{name}` of resource type `{}`", key.r#type);
            let all = || match known.as_slice() {
                [] => "this type has no params here".to_owned(),
                known => format!("params: {}", known.join(", ")),
            };
            let hint = did_you_mean(&name, known.iter().copied()).unwrap_or_else(all);
            let problem = Diagnostic::warning(UNKNOWN, message).at(format!("/params/{}", pointer::escape(&name))).hint(hint);
            of_resource(cx, key, problem)
        })
        .collect()
}

/// Lists the params that a resource type declares; nothing if it leaves them open.
fn declared<'c>(cx: &'c Cx<'_>, key: &ResourceKey) -> Option<Vec<&'c str>> {
    let kind = desired::resource_type(&cx.input.layers, key.r#type.as_str())?;
    let properties = kind.spec.params.get("properties")?.as_object()?;
    Some(properties.keys().map(String::as_str).collect())
}

/// Returns whether a text of a definition's inputs reads a param, as templates do.
fn is_read(inputs: &Map<String, Value>, name: &str) -> bool {
    let forms = [format!("params.{name}"), format!("params['{name}']"), format!("params[\"{name}\"]")];
    let mut found = false;
    for value in inputs.values() {
        pointer::visit_texts(value, &mut |text| found |= reads_all(text) || forms.iter().any(|form| text.contains(form)));
    }
    found
}

/// Returns whether a text reads the params as a whole: `{{ params | tojson }}`, `{% for name in params %}`.
fn reads_all(text: &str) -> bool {
    text.match_indices("params").any(|(start, word)| {
        let is_word = |character: char| character.is_alphanumeric() || matches!(character, '_' | '.');
        let before = text.get(..start).and_then(|before| before.chars().next_back());
        let after = text.get(start + word.len()..).and_then(|after| after.chars().next());
        (text.contains("{{") || text.contains("{%"))
            && !before.is_some_and(is_word)
            && !after.is_some_and(|after| is_word(after) || after == '[')
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_read_params_by_name_or_as_a_whole() {
        let inputs = |text: &str| json!({ "outputs": { "a": [text] } }).as_object().cloned().unwrap_or_default();
        for text in ["{{ params.size }}", "{{ params['size'] }}", "{{ params | tojson }}", "{% for name in params %}{% endfor %}"] {
            assert!(is_read(&inputs(text), "size"), "{text}");
        }
        for text in ["{{ params.other }}", "params", "{{ values.params }}", "{{ my_params }}", "{{ params[0] }}"] {
            assert!(!is_read(&inputs(text), "size"), "{text}");
        }
    }
}
