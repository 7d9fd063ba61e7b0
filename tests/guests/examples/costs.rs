//! A guest of the tests: asks one function of the host for as much as its inputs say.
#![allow(unused_imports, unused_variables, unreachable_code, unsafe_code, reason = "guests misbehave in many ways")]

use windlass_guests::prelude::*;

/// Applies an encoding or a hash to its own result.
fn chain(secret: &str, length: usize, step: fn(&Sealable) -> Sealable) -> Sealable {
    (0..length).fold(Sealable::new(secret), |inner, _| step(&inner))
}

fn config(name: &str) -> Object {
    Object::new(name, &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } }))
}

fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
    let (secret, what) = (input(&request, "secret"), input(&request, "what"));
    let n: usize = input(&request, "n").parse().unwrap_or_default();
    let value = match what.as_str() {
        "to-base64" => chain(&secret, n, Sealable::to_base64),
        "to-url-component" => chain(&secret, n, Sealable::to_url_component),
        "to-json-string" => chain(&secret, n, Sealable::to_json_string),
        "to-yaml-string" => chain(&secret, n, Sealable::to_yaml_string),
        "scram-sha256" => chain(&secret, n, Sealable::scram_sha256),
        "bcrypt" => chain(&secret, n, |inner| inner.bcrypt(4)),
        "fingerprint" => chain(&secret, n, |inner| windlass_sdk::sealed::fingerprint(&[inner.clone()])),
        // Twice itself, again and again: as wide as 2^n.
        "doubling" => (0..n).fold(Sealable::new(&secret), |inner, _| windlass_sdk::sealed::fingerprint(&[inner.clone(), inner])),
        "wide" => windlass_sdk::sealed::fingerprint(&vec![Sealable::new(&secret); n]),
        "empty" => windlass_sdk::sealed::fingerprint(&vec![Sealable::new(""); n]),
        "to-text" => Sealable::new(format!("{}{secret}", "x".repeat(n))).to_text(),
        "escapes" => Sealable::new(format!("{}{secret}", "\"".repeat(n))).to_json_string(),
        "bcrypt-rounds" => {
            for index in 0..n {
                let _hash = Sealable::new(format!("{index}{secret}")).bcrypt(12);
            }
            Sealable::new("fine")
        }
        "scram-rounds" => {
            for index in 0..n {
                let _hash = Sealable::new(format!("{index}{secret}")).scram_sha256();
            }
            Sealable::new("fine")
        }
        "bcrypt-same" => {
            for _ in 0..n {
                let _hash = Sealable::new(&secret).bcrypt(12);
            }
            Sealable::new("fine")
        }
        "bcrypt-cost" => Sealable::new(&secret).bcrypt(u8::try_from(n).unwrap_or(u8::MAX)),
        "concatenation" => Sealable::new(Sealable::new(&secret).to_base64().to_string().repeat(n)),
        "written" => {
            let token = windlass_sdk::sealed::fingerprint(&[Sealable::new(&secret)]);
            return outputs(&json!({ "value": vec![token; n] }).to_string());
        }
        "written-spec" => {
            let token = windlass_sdk::sealed::fingerprint(&[Sealable::new(&secret)]);
            Object::new("c", &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "items": vec![token; n] }));
            Sealable::new("fine")
        }
        "answer" => return outputs(&format!("{{\"value\":[{}0]}}", "0,".repeat(n.saturating_sub(1)))),
        "constructor" => {
            let manifest = format!("{{\"apiVersion\":\"v1\",\"items\":[{}0]}}", "0,".repeat(n.saturating_sub(1)));
            Object::new("c", &serde_json::from_str(&manifest).unwrap_or_default());
            Sealable::new("fine")
        }
        "field" => {
            let (object, pointer) = (config("c"), format!("/{}", "x".repeat(1024 * 1024 - 1)));
            for _ in 0..n {
                object.field(&pointer);
            }
            Sealable::new("fine")
        }
        "after" => {
            let (object, action) = (config("c"), "x".repeat(1024 * 1024));
            for _ in 0..n {
                object.after(&action);
            }
            Sealable::new("fine")
        }
        "action" => {
            let object = config("c");
            for _ in 0..n {
                object.action();
            }
            Sealable::new("fine")
        }
        "value" => {
            let generated = Generated::new("key");
            for _ in 0..n {
                generated.value();
            }
            Sealable::new("fine")
        }
        _ => Sealable::new("fine"),
    };
    outputs(&json!({ "value": value }).to_string())
}

windlass_guests::guest!(define);
