//! Generated WIT types and ours: taken apart exhaustively, so that a new field is a compile error.

use windlass_engine::{
    driver::{Body, Description, DriverAnswer, DriverContext},
    recorder::printable,
};
use windlass_model::{Diagnostic, Severity, limits};

/// The world of resource drivers.
pub(crate) mod resource {
    wasmtime::component::bindgen!({ path: "../../wit/driver", world: "windlass:driver/resource-driver" });
}

/// The world of workload drivers.
pub(crate) mod workload {
    wasmtime::component::bindgen!({ path: "../../wit/driver", world: "windlass:driver/workload-driver" });
}

macro_rules! conversions {
    ($world:ident, $context:ident, $description:ident, $diagnostics:ident) => {
        pub(crate) fn $context(context: &DriverContext) -> $world::windlass::driver::types::Context {
            let DriverContext { application, environment, environment_type, namespace } = context;
            $world::windlass::driver::types::Context {
                application: application.clone(),
                environment: environment.clone(),
                environment_type: environment_type.clone(),
                namespace: namespace.clone(),
            }
        }

        pub(crate) fn $description(description: $world::windlass::driver::types::Description) -> Description {
            let $world::windlass::driver::types::Description { summary, inputs_schema, params_schema, outputs_schema } = description;
            Description { summary: printable(&summary), inputs_schema, params_schema, outputs_schema }
        }

        pub(crate) fn $diagnostics(diagnostics: Vec<$world::windlass::driver::types::Diagnostic>) -> Vec<Diagnostic> {
            use $world::windlass::driver::types::Severity as Wit;
            diagnostics
                .into_iter()
                .take(limits::DIAGNOSTICS_MAX)
                .map(|diagnostic| {
                    let $world::windlass::driver::types::Diagnostic { severity, code, message, pointer, hint } = diagnostic;
                    Diagnostic {
                        severity: match severity {
                            Wit::Error => Severity::Error,
                            Wit::Warning => Severity::Warning,
                            Wit::Info => Severity::Info,
                        },
                        code: text(code),
                        message: text(message),
                        subject: String::new(),
                        pointer: text(pointer),
                        hint: hint.map(text),
                    }
                })
                .collect()
        }
    };
}

conversions!(resource, resource_context, resource_description, resource_diagnostics);
conversions!(workload, workload_context, workload_description, workload_diagnostics);

/// Guest text for people; a sealed token stays, so that the engine can refuse it.
fn text(text: String) -> String {
    if windlass_engine::tokens::refuse(&text).is_err() { text } else { printable(&text) }
}

/// Reads a resource driver's answer.
pub(crate) fn resource_answer(answer: resource::exports::windlass::driver::resource_definition::Answer) -> DriverAnswer {
    let resource::exports::windlass::driver::resource_definition::Answer { outputs, warnings } = answer;
    DriverAnswer { body: Body::Outputs(outputs), warnings: resource_diagnostics(warnings) }
}

/// Reads a workload driver's answer.
pub(crate) fn workload_answer(answer: workload::exports::windlass::driver::workload_profile::Answer) -> DriverAnswer {
    let workload::exports::windlass::driver::workload_profile::Answer { manifests, warnings } = answer;
    DriverAnswer { body: Body::Manifests(manifests), warnings: workload_diagnostics(warnings) }
}
