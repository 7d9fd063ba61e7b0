//! Secrets of somebody's own in texts with a grammar: one character of the wrong kind and the text means something else.

use serde_json::Value;
use windlass_model::{
    Diagnostic,
    sealed::{self, Origin, Part, Sealed, SealedPart, View},
};

/// What a text looks like.
#[derive(Clone, Copy)]
enum Shape {
    Url,
    Json,
}

/// Warns of every URL and JSON text that holds a secret as it was given; places begin with `base`.
///
/// What the host generates has letters and digits, unless somebody asks for others, and needs no encoding.
pub(crate) fn warnings(value: &Value, base: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    sealed::visit(value, &mut |at, text| {
        let Some(shape) = shape(text) else { return };
        let given: Vec<String> = match shape {
            Shape::Url => behind_the_host(text).filter(|part| is_given(&part.origin)).map(|part| part.origin.label()).collect(),
            Shape::Json => text.sealed().filter(|part| is_given(&part.origin)).map(|part| part.origin.label()).collect(),
        };
        if given.is_empty() {
            return;
        }
        let (what, breaks, encode) = match shape {
            Shape::Url => ("a URL", "`@`, `/` or `%`", "url_component"),
            Shape::Json => ("a JSON text", "a quote or a backslash", "json_string"),
        };
        let message = format!("{what} holds {} as it was stored: {breaks} in it would break the text", given.join(", "));
        found.push(
            Diagnostic::warning("unencoded-secret", message)
                .at(format!("{base}{at}"))
                .hint(format!("store the value encoded, or make the text in a definition, with `{encode}` around the secret")),
        );
    });
    found
}

fn is_given(origin: &Origin) -> bool {
    match origin {
        Origin::External { .. } => true,
        Origin::Derived { op, of } => View::of(op).is_some() && of.iter().flat_map(Sealed::sealed).any(|part| is_given(&part.origin)),
        Origin::Generated { .. } | Origin::Action { .. } | Origin::Output { .. } => false,
    }
}

fn shape(text: &Sealed) -> Option<Shape> {
    let (Some(Part::Text(first)), parts) = (text.parts().first(), text.parts()) else { return None };
    if let Some((scheme, _)) = first.split_once("://") {
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        let is_one_word = parts.iter().all(|part| !matches!(part, Part::Text(text) if text.contains(char::is_whitespace)));
        return (is_scheme && is_one_word).then_some(Shape::Url);
    }
    let Some(Part::Text(last)) = parts.last() else { return None };
    let ends = (first.trim_start().chars().next(), last.trim_end().chars().next_back());
    matches!(ends, (Some('{'), Some('}')) | (Some('['), Some(']'))).then_some(Shape::Json)
}

/// Returns the parts of a URL that are no host: a host has nothing that would be encoded.
fn behind_the_host(url: &Sealed) -> impl Iterator<Item = &SealedPart> {
    let texts =
        |parts: &[Part]| -> String { parts.iter().map(|part| if let Part::Text(text) = part { text.as_str() } else { "" }).collect() };
    url.parts().iter().enumerate().filter_map(move |(index, part)| {
        let Part::Sealed(sealed) = part else { return None };
        let (before, after) = url.parts().split_at_checked(index)?;
        let before = texts(before);
        let is_in_authority = before.split_once("://").is_some_and(|(_, rest)| !rest.contains(['/', '?', '#']));
        let rest_of_authority = texts(after);
        let rest_of_authority = rest_of_authority.split(['/', '?', '#']).next().unwrap_or_default();
        (!is_in_authority || rest_of_authority.contains('@')).then_some(&**sealed)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_model::sealed::Encoding;

    use super::*;

    /// `<x>` stands for a secret that somebody stored.
    fn text(template: &str) -> Value {
        let given = |name: &str| {
            let origin = Origin::External { connection: "secrets".into(), reference: name.into(), version: Some(1) };
            Part::from(SealedPart { encoding: Encoding::Text, origin, secret: true })
        };
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((before, tail)) = rest.split_once('<') {
            let (name, after) = tail.split_once('>').unwrap();
            parts.extend([Part::Text(before.to_owned()), given(name)]);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Sealed::new(parts).to_json()
    }

    fn told(template: &str) -> Vec<String> {
        let found = warnings(&json!({ "a": text(template) }), "/x");
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_has_a_grammar_is_told() {
        for breaks in [
            "postgres://app:<password>@db/app",
            "https://host/path/<key>",
            "https://<host>/hook?token=<key>",
            "amqp://<user>:<password>@<host>:5672",
            "{\"key\": \"<key>\"}\n",
            "[\"<key>\"]",
        ] {
            let told = told(breaks);
            assert_eq!(told.len(), 1, "{breaks}: {told:?}");
            assert!(told[0].contains("/x/a") && !told[0].contains("host,") && !told[0].contains(", host"), "{told:?}");
        }
        for fine in [
            "<key>",
            "https://<host>/path",
            "https://<host>:443",
            "Bearer <key>",
            "see https://x for <key>",
            "[section]\nkey=<key>",
            "a=<key>",
        ] {
            assert!(told(fine).is_empty(), "{fine}: {:?}", told(fine));
        }
    }
}
