//! Where two values differ, field by field.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{elements, pointer::Pointer};

/// What differs at one place; nothing on a side where there is nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference<'v> {
    /// The first value there.
    pub from: Option<&'v Value>,
    /// The second.
    pub to: Option<&'v Value>,
}

/// Finds the deepest places where two values differ. Lists whose elements do not correspond place by place differ as a whole, as does what
/// `is_one` says is one thing.
pub fn differences<'v>(
    from: &'v Value,
    to: &'v Value,
    is_one: &impl Fn(&Value) -> bool,
    found: &mut impl FnMut(&Pointer<'_>, Difference<'v>),
) {
    walk(from, to, &Pointer::Root, is_one, found);
}

fn walk<'v>(
    from: &'v Value,
    to: &'v Value,
    at: &Pointer<'_>,
    is_one: &impl Fn(&Value) -> bool,
    found: &mut impl FnMut(&Pointer<'_>, Difference<'v>),
) {
    if from == to {
        return;
    }
    match (from, to) {
        (Value::Object(a), Value::Object(b)) if !is_one(from) && !is_one(to) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let at = &at.field(key);
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => walk(a, b, at, is_one, found),
                    (from, to) => found(at, Difference { from, to }),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if !is_one(from) && !is_one(to) && elements::correspond(a, b) => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                walk(a, b, &at.element(index), is_one, found);
            }
        }
        (from, to) => found(at, Difference { from: Some(from), to: Some(to) }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn goes_as_deep_as_both_have_the_same_form() {
        let from = json!({ "a": { "b": 1, "c": 2 }, "list": [1, { "x": 1 }], "short": [1], "one": { "whole": 1 }, "same": [0] });
        let to = json!({ "a": { "b": 1, "d": 2 }, "list": [1, { "x": 2 }], "short": [1, 2], "one": { "whole": 2 }, "same": [0] });
        let mut found = Vec::new();
        differences(&from, &to, &|value| value.get("whole").is_some(), &mut |at, Difference { from, to }| {
            found.push((at.to_string(), from.cloned(), to.cloned()));
        });
        let expected = [
            ("/a/c", Some(json!(2)), None),
            ("/a/d", None, Some(json!(2))),
            ("/list/1/x", Some(json!(1)), Some(json!(2))),
            ("/one", Some(json!({ "whole": 1 })), Some(json!({ "whole": 2 }))),
            ("/short", Some(json!([1])), Some(json!([1, 2]))),
        ];
        assert_eq!(found, expected.map(|(at, from, to)| (at.to_owned(), from, to)));
    }

    #[test]
    fn lists_with_other_elements_differ_as_a_whole() {
        let env = |name: &str| json!({ "env": [{ "name": "A", "value": "1" }, { "name": name, "value": "2" }] });
        let mut found = Vec::new();
        differences(&env("B"), &env("C"), &|_| false, &mut |at, _| found.push(at.to_string()));
        assert_eq!(found, ["/env"]);
    }
}
