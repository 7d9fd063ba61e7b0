//! The pure half of `windlass:secrets/generated`.

use serde::Deserialize;
use serde_json::{Value, json};
use windlass_engine::planner::{
    Authority, CapabilityDescriptor, KindDescriptor, MethodDescriptor, OutputDeclaration, Planner, SpecContext,
};
use windlass_model::{ActionId, Diagnostic, plan::Change, platform::Family};

/// Characters of a value whose policy says nothing: enough for 190 bits.
const LENGTH_DEFAULT: usize = 32;
/// Shorter ones can be guessed.
const LENGTH_MIN: usize = 8;
/// What makes eight letters and digits enough where attempts are counted, and eight digits not.
const BITS_MIN: usize = 40;
/// Longer ones don't fit where passwords go.
const LENGTH_MAX: usize = 256;
/// No character that a URL, a shell or JSON would change.
const ALPHABET_DEFAULT: &str = "A-Za-z0-9";

/// Plans generated values.
#[derive(Clone, Copy, Debug, Default)]
pub struct GeneratedPlanner;

static DESCRIPTOR: CapabilityDescriptor = CapabilityDescriptor {
    interface: "windlass:secrets/generated",
    version: "0.1.0",
    revision: 1,
    family: Family::Secrets,
    kinds: &[KindDescriptor { resource: "secret", methods: &[MethodDescriptor { name: "value", argument: false }] }],
};

/// How a value looks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    #[serde(default = "length_default")]
    pub length: usize,
    #[serde(default = "alphabet_default")]
    pub alphabet: String,
}

fn length_default() -> usize {
    LENGTH_DEFAULT
}

fn alphabet_default() -> String {
    ALPHABET_DEFAULT.to_owned()
}

impl Policy {
    /// Reads a policy.
    pub(crate) fn parse(spec: &Value) -> Result<Self, Diagnostic> {
        if !spec.is_object() {
            return Err(Diagnostic::error("secret-policy", "the policy is no JSON object"));
        }
        let policy: Self = serde_json::from_value(spec.clone()).map_err(|error| {
            Diagnostic::error("secret-policy", format!("the policy does not fit: {error}"))
                .hint("`{ \"length\": 32, \"alphabet\": \"A-Za-z0-9\" }`")
        })?;
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&policy.length) {
            return Err(Diagnostic::error(
                "secret-policy",
                format!("a length of {} is outside {LENGTH_MIN} to {LENGTH_MAX}", policy.length),
            )
            .at("/length"));
        }
        let characters = policy.characters().len();
        if characters < 2 {
            return Err(Diagnostic::error("secret-policy", "the alphabet needs two characters or more").at("/alphabet"));
        }
        // Whole bits only: what a character is worth at least.
        let bits = usize::try_from(characters.ilog2()).unwrap_or(1);
        if policy.length * bits < BITS_MIN {
            let why = format!("{} of {characters} different characters can be guessed", policy.length);
            return Err(Diagnostic::error("secret-policy", why)
                .at("/length")
                .hint(format!("take {} or more, or a larger alphabet", BITS_MIN.div_ceil(bits))));
        }
        Ok(policy)
    }

    /// Spells the alphabet out.
    pub(crate) fn characters(&self) -> Vec<char> {
        let given: Vec<char> = self.alphabet.chars().collect();
        let mut out = Vec::new();
        let mut index = 0;
        while let Some(c) = given.get(index).copied() {
            match (given.get(index + 1), given.get(index + 2)) {
                (Some('-'), Some(end)) if *end >= c && c.is_ascii() && end.is_ascii() => {
                    out.extend(c..=*end);
                    index += 3;
                }
                _ => {
                    out.push(c);
                    index += 1;
                }
            }
        }
        out.sort_unstable();
        out.dedup();
        out.retain(|c| c.is_ascii_graphic());
        out
    }
}

impl Planner for GeneratedPlanner {
    fn descriptor(&self) -> &'static CapabilityDescriptor {
        &DESCRIPTOR
    }

    fn normalise(&self, _: &str, spec: Value, _: &Authority, _: &SpecContext) -> Value {
        match Policy::parse(&spec) {
            Ok(Policy { length, alphabet }) => json!({ "length": length, "alphabet": alphabet }),
            Err(_) => spec,
        }
    }

    fn check(&self, spec: &Value, _: &Authority, _: &SpecContext) -> Vec<Diagnostic> {
        Policy::parse(spec).err().into_iter().collect()
    }

    fn identity(&self, _: &Value, action: &ActionId, _: &SpecContext) -> String {
        action.to_string()
    }

    fn holds_data(&self, _: &Value) -> bool {
        false
    }

    fn secret_sinks(&self, _: &Value) -> Vec<&'static str> {
        Vec::new()
    }

    fn open_only(&self, _: &Value) -> Vec<&'static str> {
        vec!["/**"]
    }

    fn classify(&self, _: &Value, _: &Value) -> Change {
        // A new policy holds for the next rotation: changing the value now would lock somebody out.
        Change::Update
    }

    fn rank(&self, _: &Value) -> u16 {
        0
    }

    fn output(&self, _: &Value, method: &str, _: Option<&str>, _: &Authority, _: &SpecContext) -> Result<OutputDeclaration, Diagnostic> {
        Ok(OutputDeclaration { output: method.to_owned(), secret: true, generated: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        let policy = Policy::parse(&json!({})).unwrap();
        assert_eq!((policy.length, policy.characters().len()), (32, 62));
        assert_eq!(Policy::parse(&json!({"alphabet": "a-c-"})).unwrap().characters(), ['-', 'a', 'b', 'c']);
        let guessed = json!({"length": 8, "alphabet": "0-9"});
        for wrong in [json!({"length": 3}), json!({"alphabet": "a"}), json!({"lenght": 8}), json!([]), guessed.clone()] {
            assert!(Policy::parse(&wrong).is_err(), "{wrong}");
        }
        assert!(Policy::parse(&guessed).unwrap_err().hint.unwrap().contains("take 14 or more"));
        for right in [json!({"length": 8}), json!({"length": 14, "alphabet": "0-9"}), json!({"length": 40, "alphabet": "01"})] {
            assert!(Policy::parse(&right).is_ok(), "{right}");
        }
    }
}
