//! Kubernetes objects that must exist: `windlass:kubernetes/objects`.

use serde_json::Value;

use crate::{
    diagnostic,
    handle::{handle, ordered},
    sealed::Sealable,
};

/// The annotation of a PersistentVolumeClaim that says which version of a program its data are of: `PostgreSQL 17`. A change of it
/// is refused while planning: for programs that do not open the data of another version.
pub const DATA_VERSION: &str = "windlass.dev/data-version";

/// One object that must exist. Making a handle creates nothing: it records an action.
#[derive(Debug)]
pub struct Object(object::Handle);

impl Object {
    /// Stages an object; `name` is unique among the node's objects.
    pub fn new(name: &str, manifest: &Value) -> Self {
        Self(object::Handle::new(name, &diagnostic::write_tree(manifest)))
    }

    /// Yields the value at a JSON Pointer of the live object; the host waits until it is there.
    pub fn field(&self, pointer: &str) -> Sealable {
        Sealable::new(self.0.field(pointer))
    }
}

handle!(
    object,
    "windlass:kubernetes/objects",
    "object",
    crate::bindings::imports::windlass::kubernetes::objects::Object,
    [field = "field"(pointer)]
);
ordered!(Object);

/// Escapes text for `command`, `args`, `env` and the commands of probes, where Kubernetes replaces `$(NAME)` by a variable and `$$`
/// by `$`: the process receives the text as it was before.
#[must_use]
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        let (before, from_run) = rest.split_at(start);
        let after = from_run.trim_start_matches('$');
        let (run, _) = from_run.split_at(from_run.len() - after.len());
        out.push_str(before);
        out.push_str(run);
        if run.len() > 1 || after.starts_with('(') {
            out.push_str(run);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Kubernetes does with a text, where each variable is set.
    fn expanded(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let variable = after.strip_prefix('(').and_then(|after| after.split_once(')'));
            rest = match (after.strip_prefix('$'), variable) {
                (Some(after), _) => {
                    out.push('$');
                    after
                }
                (None, Some((_, after))) => {
                    out.push_str("EXPANDED");
                    after
                }
                (None, None) => {
                    out.push('$');
                    after
                }
            };
        }
        out + rest
    }

    #[test]
    fn processes_receive_every_text_unchanged() {
        let mut texts = vec![String::new()];
        for _ in 0..7 {
            texts = texts.iter().flat_map(|text| ["", "$", "(", ")", "A"].map(|more| format!("{text}{more}"))).collect();
            texts.sort();
            texts.dedup();
        }
        for text in &texts {
            assert_eq!(expanded(&literal(text)), *text, "{text}");
        }
        assert_eq!(literal("$HOME ${HOME} 5$"), "$HOME ${HOME} 5$");
        assert_eq!(literal("echo $$ $(PRICE) a$$$$b"), "echo $$$$ $$(PRICE) a$$$$$$$$b");
    }
}
