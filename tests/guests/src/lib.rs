//! What the tests' guests share: a driver whose schemas allow anything, so that only the host's own checks stand.

/// What a guest needs.
pub mod prelude {
    pub use serde_json::json;
    pub use windlass_sdk::{
        export::resource::{exports::windlass::driver::resource_definition as wit, windlass::driver::types::Severity},
        kubernetes::Object,
        sealed::Sealable,
        secrets::Generated,
    };

    /// Answers with outputs.
    pub fn outputs(text: &str) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
        Ok(wit::Answer { outputs: text.to_owned(), warnings: Vec::new() })
    }

    /// Reads a string of the inputs.
    pub fn input(request: &wit::Request, name: &str) -> String {
        let inputs: serde_json::Value = serde_json::from_str(&request.inputs).unwrap_or_default();
        inputs.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }
}

/// Exports a function as a driver; its inputs are anything if nothing is said.
#[macro_export]
macro_rules! guest {
    ($define:ident) => {
        $crate::guest!($define, r#"{"x-windlass-sealed":true}"#);
    };
    ($define:ident, $inputs:expr) => {
        const _: () = {
            use $crate::prelude::wit;

            struct Component;

            impl wit::Guest for Component {
                fn describe() -> wit::Description {
                    let any = r#"{"x-windlass-sealed":true}"#.to_owned();
                    wit::Description {
                        summary: "a guest of the tests".to_owned(),
                        inputs_schema: $inputs.to_owned(),
                        params_schema: any.clone(),
                        outputs_schema: any,
                    }
                }

        fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
                    $define(request)
                }
            }

            windlass_sdk::export::resource::export_resource_component!(Component with_types_in windlass_sdk::export::resource);
        };
    };
}
