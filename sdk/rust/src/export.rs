//! The export macros and the glue between WIT and the SDK's types.

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::{resource, workload};

/// Makes a type the component's `resource-definition`.
#[macro_export]
macro_rules! export_resource {
    ($driver:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::export::resource::exports::windlass::driver::resource_definition as wit;

            struct Component;

            impl wit::Guest for Component {
                fn describe() -> wit::Description {
                    $crate::export::describe_resource::<$driver>()
                }

                fn define(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
                    $crate::export::define::<$driver>(request)
                }
            }

    $crate::export::resource::export_resource_component!(Component with_types_in $crate::export::resource);
        };
    };
}

/// Makes a type the component's `workload-profile`.
#[macro_export]
macro_rules! export_workload {
    ($driver:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::export::workload::exports::windlass::driver::workload_profile as wit;

            struct Component;

            impl wit::Guest for Component {
                fn describe() -> wit::Description {
                    $crate::export::describe_workload::<$driver>()
                }

                fn render(request: wit::Request) -> Result<wit::Answer, Vec<wit::Diagnostic>> {
                    $crate::export::render::<$driver>(request)
                }
            }

    $crate::export::workload::export_workload_component!(Component with_types_in $crate::export::workload);
        };
    };
}

#[cfg(target_arch = "wasm32")]
mod glue {
    use crate::{
        bindings::{
            resource::exports::windlass::driver::resource_definition as resource,
            workload::exports::windlass::driver::workload_profile as workload,
        },
        diagnostic::{Diagnostic, Severity},
        resource::{self as driver, Context, ResourceDefinition, ResourceKey},
        workload::{self as profile, WorkloadProfile},
    };

    macro_rules! diagnostics {
        ($name:ident, $wit:ident, $bindings:ident) => {
            fn $name(diagnostics: Vec<Diagnostic>) -> Vec<$wit::Diagnostic> {
                use crate::bindings::$bindings::windlass::driver::types::Severity as Wit;
                diagnostics
                    .into_iter()
                    .map(|Diagnostic { severity, code, message, pointer, hint }| $wit::Diagnostic {
                        severity: match severity {
                            Severity::Error => Wit::Error,
                            Severity::Warning => Wit::Warning,
                            Severity::Info => Wit::Info,
                        },
                        code,
                        message,
                        pointer,
                        hint,
                    })
                    .collect()
            }
        };
    }

    diagnostics!(resource_diagnostics, resource, resource);
    diagnostics!(workload_diagnostics, workload, workload);

    pub fn describe_resource<D: ResourceDefinition>() -> resource::Description {
        let driver::Description { summary, inputs_schema, params_schema, outputs_schema } = driver::describe::<D>();
        resource::Description { summary, inputs_schema, params_schema, outputs_schema }
    }

    pub fn define<D: ResourceDefinition>(request: resource::Request) -> Result<resource::Answer, Vec<resource::Diagnostic>> {
        let resource::Request { context, key, workloads, params, inputs } = request;
        let context = Context {
            application: context.application,
            environment: context.environment,
            environment_type: context.environment_type,
            namespace: context.namespace,
        };
        let key = ResourceKey { r#type: key.type_, class: key.class, id: key.id };
        driver::define::<D>(context, key, workloads, &params, &inputs)
            .map(|(outputs, warnings)| resource::Answer { outputs, warnings: resource_diagnostics(warnings) })
            .map_err(|diagnostics| resource_diagnostics(diagnostics.0))
    }

    pub fn describe_workload<D: WorkloadProfile>() -> workload::Description {
        let driver::Description { summary, inputs_schema, params_schema, outputs_schema } = profile::describe::<D>();
        workload::Description { summary, inputs_schema, params_schema, outputs_schema }
    }

    pub fn render<D: WorkloadProfile>(request: workload::Request) -> Result<workload::Answer, Vec<workload::Diagnostic>> {
        let workload::Request { context, name, workload, inputs, manifests } = request;
        let context = Context {
            application: context.application,
            environment: context.environment,
            environment_type: context.environment_type,
            namespace: context.namespace,
        };
        profile::render::<D>(context, name, &workload, &inputs, &manifests)
            .map(|(manifests, warnings)| workload::Answer { manifests, warnings: workload_diagnostics(warnings) })
            .map_err(|diagnostics| workload_diagnostics(diagnostics.0))
    }
}

#[cfg(target_arch = "wasm32")]
pub use glue::{define, describe_resource, describe_workload, render};
