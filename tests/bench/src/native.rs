//! The first-party drivers linked natively behind the same port: what Wasm costs is the difference.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use anyhow::Result;
use windlass_engine::{
    driver::{Body, CallError, ComponentInfo, Description, DriverAnswer, DriverContext, DriverFault, DriverHost, DriverRequest},
    recorder::Recorder,
};
use windlass_model::{Diagnostic, Digest, Severity};
use windlass_sdk::{
    diagnostic,
    native::Driver,
    recorder::{Recorder as GuestRecorder, scope},
    resource::{Context, ResourceKey},
};
use windlass_suite::world::World;

/// Drivers by digest.
pub(crate) struct NativeHost<'w> {
    drivers: HashMap<Digest, Driver>,
    world: &'w World,
}

impl<'w> NativeHost<'w> {
    pub(crate) fn new(world: &'w World) -> Result<Self> {
        let drivers = [
            ("builtin:dns-static", Driver::resource::<windlass_driver_dns_static::DnsStatic>()),
            ("builtin:kubernetes-namespace", Driver::resource::<windlass_driver_kubernetes_namespace::KubernetesNamespace>()),
            ("builtin:postgres", Driver::resource::<windlass_driver_postgres::Postgres>()),
            ("builtin:redis", Driver::resource::<windlass_driver_redis::Redis>()),
            ("builtin:workload-default", Driver::workload::<windlass_driver_workload_default::WorkloadDefault>()),
        ];
        Ok(Self {
            drivers: drivers.into_iter().filter_map(|(name, driver)| world.digests.get(name).map(|digest| (*digest, driver))).collect(),
            world,
        })
    }
}

/// Hands what a driver stages to the host's recorder.
struct Bridge(Rc<RefCell<Option<Recorder>>>);

impl Bridge {
    fn with<R: Default, E>(&self, run: impl FnOnce(&mut Recorder) -> Result<R, E>) -> R {
        self.0.borrow_mut().as_mut().and_then(|recorder| run(recorder).ok()).unwrap_or_default()
    }
}

impl GuestRecorder for Bridge {
    fn construct(&mut self, interface: &str, resource: &str, name: &str, spec: &str) -> u32 {
        self.with(|recorder| recorder.construct(interface, resource, name, spec))
    }

    fn method(&mut self, handle: u32, method: &str, argument: Option<&str>) -> String {
        self.with(|recorder| recorder.method(handle, method, argument))
    }

    fn after(&mut self, handle: u32, action: &str) {
        self.with(|recorder| recorder.after(handle, action));
    }

    fn sealed(&mut self, function: &str, values: &[&str], number: Option<u8>) -> String {
        self.with(|recorder| recorder.sealed(function, values, number))
    }
}

fn context(context: &DriverContext) -> Context {
    Context {
        application: context.application.clone(),
        environment: context.environment.clone(),
        environment_type: context.environment_type.clone(),
        namespace: context.namespace.clone(),
    }
}

fn convert(diagnostics: Vec<diagnostic::Diagnostic>) -> Vec<Diagnostic> {
    diagnostics
        .into_iter()
        .map(|found| Diagnostic {
            severity: match found.severity {
                diagnostic::Severity::Error => Severity::Error,
                diagnostic::Severity::Warning => Severity::Warning,
                diagnostic::Severity::Info => Severity::Info,
            },
            code: found.code,
            message: found.message,
            subject: String::new(),
            pointer: found.pointer,
            hint: found.hint,
        })
        .collect()
}

impl DriverHost for NativeHost<'_> {
    fn inspect(&self, component: &Digest) -> Result<Arc<ComponentInfo>, DriverFault> {
        self.world.host.inspect(component)
    }

    fn describe(&self, component: &Digest) -> Result<Arc<Description>, DriverFault> {
        self.world.host.describe(component)
    }

    fn call(&self, component: &Digest, request: &DriverRequest, recorder: Recorder) -> (Result<DriverAnswer, CallError>, Recorder) {
        let Some(driver) = self.drivers.get(component) else { return self.world.host.call(component, request, recorder) };
        let shared = Rc::new(RefCell::new(Some(recorder)));
        let (result, bridge) = scope(Box::new(Bridge(Rc::clone(&shared))), || match (driver, request) {
            (Driver::Resource { define, .. }, DriverRequest::Define { context: at, key, workloads, params, inputs }) => {
                let key = ResourceKey { r#type: key.0.clone(), class: key.1.clone(), id: key.2.clone() };
                define(context(at), key, workloads.clone(), params, inputs)
                    .map(|(outputs, warnings)| DriverAnswer { body: Body::Outputs(outputs), warnings: convert(warnings) })
            }
            (Driver::Workload { render, .. }, DriverRequest::Render { context: at, name, workload, inputs, manifests }) => {
                render(context(at), name.clone(), workload, inputs, manifests)
                    .map(|(manifests, warnings)| DriverAnswer { body: Body::Manifests(manifests), warnings: convert(warnings) })
            }
            (Driver::Resource { .. }, DriverRequest::Render { .. }) | (Driver::Workload { .. }, DriverRequest::Define { .. }) => {
                Err(diagnostic::Diagnostic::error("world", "the other world").into())
            }
        });
        drop(bridge);
        let recorder = shared.borrow_mut().take().unwrap_or_else(|| unreachable!("the bridge gives the recorder back"));
        (result.map_err(|diagnostics| CallError::Refused(convert(diagnostics.0))), recorder)
    }
}
