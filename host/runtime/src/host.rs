//! The driver host: components by digest, compiled once, a fresh instance for each call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::Duration,
};

use bytes::Bytes;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::{Component, InstancePre, Linker},
};
use windlass_engine::{
    Planners,
    driver::{CallError, ComponentInfo, ComponentSource, Description, DriverAnswer, DriverFault, DriverHost, DriverRequest, Fault, World},
    recorder::Recorder,
    schema::SchemaCache,
};
use windlass_model::{Digest, limits};

use crate::{
    admission::{Admission, Admitted, ChildAdmission, Facts},
    cache::{self, CachePlace, CodeCache},
    call::{self, CallState},
    convert::{self, resource, workload},
    inspect, link, wasi,
};

/// How a host is set up.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Where compiled code is kept; nowhere if nothing is said.
    pub cache: Option<CachePlace>,
    /// Calls that may run at the same time.
    pub parallelism: usize,
    /// Where components are inspected and compiled.
    pub admission: Admission,
    /// The longest that one call may take.
    pub call_time: Duration,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self { cache: None, parallelism: 1, admission: Admission::default(), call_time: limits::DRIVER_CALL_TIME_MAX }
    }
}

/// Runs drivers in wasmtime.
pub struct WasmHost {
    engine: Engine,
    linker: Linker<CallState>,
    wasi_linker: OnceLock<Result<Linker<CallState>, String>>,
    planners: Planners,
    source: Arc<dyn ComponentSource>,
    cache: Option<CodeCache>,
    infos: Mutex<HashMap<Digest, Arc<ComponentInfo>>>,
    descriptions: Mutex<HashMap<Digest, Arc<Description>>>,
    admission: Admission,
    call_time: Duration,
    admitted: Mutex<HashMap<Digest, Arc<OnceLock<Result<Component, Fault>>>>>,
    drivers: Mutex<HashMap<Digest, Arc<OnceLock<Result<Driver, Fault>>>>>,
}

/// A component that is ready to be instantiated.
struct Driver {
    pre: Pre,
    uses_wasi: bool,
}

enum Pre {
    Resource(resource::ResourceDriverPre<CallState>),
    Workload(workload::WorkloadDriverPre<CallState>),
}

impl WasmHost {
    /// Sets a host up.
    pub fn new(settings: &HostSettings, planners: &Planners, source: Arc<dyn ComponentSource>) -> Result<Self, Fault> {
        let load = |error: wasmtime::Error| Fault::Load(format!("the Wasm runtime can't be set up: {error}"));
        let engine = Engine::new(&config(settings.parallelism.max(1))).map_err(load)?;
        let mut linker = Linker::new(&engine);
        link::link(&mut linker, planners).map_err(load)?;
        tick(&engine);
        // A cache that is not trusted costs the time of compiling again, no more.
        let cache = settings.cache.as_ref().and_then(|place| CodeCache::open(place).ok());
        Ok(Self {
            engine,
            linker,
            wasi_linker: OnceLock::new(),
            planners: planners.clone(),
            source,
            cache,
            infos: Mutex::default(),
            descriptions: Mutex::default(),
            admission: settings.admission.clone(),
            call_time: settings.call_time,
            admitted: Mutex::default(),
            drivers: Mutex::default(),
        })
    }

    fn fault(&self, component: &Digest, fault: Fault) -> DriverFault {
        DriverFault { driver: self.source.name(component).unwrap_or_else(|| "unknown".to_owned()), component: *component, fault }
    }

    fn bytes(&self, component: &Digest) -> Result<Bytes, Fault> {
        let bytes = self.source.bytes(component).ok_or_else(|| Fault::Missing("no source has it".to_owned()))?;
        if Digest::of_bytes(&bytes) != *component {
            return Err(Fault::Load("its bytes don't have its digest".to_owned()));
        }
        Ok(bytes)
    }

    fn info(&self, component: &Digest) -> Result<Arc<ComponentInfo>, Fault> {
        if let Some(known) = lock(&self.infos).get(component) {
            return Ok(Arc::clone(known));
        }
        if let Some(facts) = self.cache.as_ref().and_then(|cache| cache.load_facts::<Facts>(component)) {
            return Ok(self.learn(component, facts));
        }
        if let Some(child) = self.child_for(component) {
            self.admitted(component, child)?;
            return lock(&self.infos).get(component).map(Arc::clone).ok_or_else(|| Fault::Load("it was not admitted".to_owned()));
        }
        let info = Arc::new(inspect::inspect(&self.bytes(component)?)?);
        lock(&self.infos).insert(*component, Arc::clone(&info));
        Ok(info)
    }

    /// Takes over what is known of a component.
    fn learn(&self, component: &Digest, Facts { info, description }: Facts) -> Arc<ComponentInfo> {
        let info = Arc::new(info);
        lock(&self.descriptions).insert(*component, Arc::new(description));
        lock(&self.infos).insert(*component, Arc::clone(&info));
        info
    }

    /// Returns how a component is admitted that did not come with the program itself.
    fn child_for(&self, component: &Digest) -> Option<&ChildAdmission> {
        match &self.admission {
            Admission::Child(child) if !child.own.contains(component) => Some(child),
            Admission::Child(_) | Admission::InProcess => None,
        }
    }

    /// Has a component admitted by a child process, once; others that need it at the same time wait for that.
    fn admitted(&self, component: &Digest, child: &ChildAdmission) -> Result<Component, Fault> {
        let slot = Arc::clone(lock(&self.admitted).entry(*component).or_default());
        slot.get_or_init(|| {
            let Admitted { facts, code } = child.admit(&self.bytes(component)?)?;
            let compiled = cache::deserialize(&self.engine, &code)
                .ok_or_else(|| Fault::Load("the machine code of the process that admits components does not fit".to_owned()))?;
            if let Some(cache) = &self.cache {
                cache.store_code(component, &self.engine, &code);
                cache.store_facts(component, &facts);
            }
            self.learn(component, facts);
            Ok(compiled)
        })
        .clone()
    }

    /// Compiles and links a component, once; others that need it at the same time wait for that.
    fn driver(&self, component: &Digest) -> Result<Arc<OnceLock<Result<Driver, Fault>>>, Fault> {
        let slot = Arc::clone(lock(&self.drivers).entry(*component).or_default());
        match slot.get_or_init(|| self.load(component)) {
            Ok(_) => Ok(slot),
            Err(fault) => Err(fault.clone()),
        }
    }

    fn load(&self, component: &Digest) -> Result<Driver, Fault> {
        let info = self.info(component)?;
        let compiled = match self.cache.as_ref().and_then(|cache| cache.load(component, &self.engine)) {
            Some(compiled) => compiled,
            None => match self.child_for(component) {
                Some(child) => self.admitted(component, child)?,
                None => self.compile(component)?,
            },
        };
        let uses_wasi = info.imports.iter().any(|import| import.starts_with("wasi:"));
        let linker = if uses_wasi { self.wasi_linker().map_err(Fault::Load)? } else { &self.linker };
        let pre: InstancePre<CallState> = linker.instantiate_pre(&compiled).map_err(|error| load_fault(&error))?;
        let pre = match info.world {
            World::ResourceDriver => Pre::Resource(resource::ResourceDriverPre::new(pre).map_err(|error| Fault::World(error.to_string()))?),
            World::WorkloadDriver => Pre::Workload(workload::WorkloadDriverPre::new(pre).map_err(|error| Fault::World(error.to_string()))?),
        };
        Ok(Driver { pre, uses_wasi })
    }

    /// Compiles a component in this process.
    fn compile(&self, component: &Digest) -> Result<Component, Fault> {
        let compiled = Component::from_binary(&self.engine, &self.bytes(component)?).map_err(|error| load_fault(&error))?;
        if let Some(cache) = &self.cache
            && let Ok(code) = compiled.serialize()
        {
            cache.store_code(component, &self.engine, &code);
        }
        Ok(compiled)
    }

    fn wasi_linker(&self) -> Result<&Linker<CallState>, String> {
        self.wasi_linker
            .get_or_init(|| {
                let mut linker = Linker::new(&self.engine);
                wasi::link(&mut linker).and_then(|()| link::link(&mut linker, &self.planners)).map_err(|error| error.to_string())?;
                Ok(linker)
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    fn describe_driver(&self, driver: &Driver) -> Result<Arc<Description>, Fault> {
        let mut store = call::store(
            &self.engine,
            CallState { wasi: driver.uses_wasi.then(|| wasi::context(&[0])), ..CallState::default() },
            self.call_time,
        );
        let description = match &driver.pre {
            Pre::Resource(pre) => pre
                .instantiate(&mut store)
                .and_then(|instance| instance.windlass_driver_resource_definition().call_describe(&mut store))
                .map(convert::resource_description),
            Pre::Workload(pre) => pre
                .instantiate(&mut store)
                .and_then(|instance| instance.windlass_driver_workload_profile().call_describe(&mut store))
                .map(convert::workload_description),
        };
        description.map(Arc::new).map_err(|error| call::fault(&error, self.call_time))
    }

    fn run(&self, driver: &Driver, request: &DriverRequest, recorder: Recorder) -> (Result<DriverAnswer, CallError>, Recorder) {
        let wasi = driver.uses_wasi.then(|| {
            let seed = Digest::of(request).unwrap_or_else(|_| Digest::of_bytes(&[]));
            wasi::context(seed.as_bytes())
        });
        let fallback = recorder_like(&self.planners);
        let mut store = call::store(&self.engine, CallState { recorder: Some(recorder), wasi, ..CallState::default() }, self.call_time);
        let result = call(driver, &mut store, request);
        let mut recorder = store.into_data().recorder.unwrap_or(fallback);
        let result = match result {
            Ok(result) => result.and_then(|answer| match recorder.count_json(texts(&answer)) {
                Ok(()) => Ok(answer),
                Err(limit) => Err(CallError::Fault(DriverFault {
                    driver: String::new(),
                    component: Digest::of_bytes(&[]),
                    fault: Fault::Limit { limit: limit.limit, value: limit.value },
                })),
            }),
            Err(error) => Err(CallError::Fault(DriverFault {
                driver: String::new(),
                component: Digest::of_bytes(&[]),
                fault: call::fault(&error, self.call_time),
            })),
        };
        (result, recorder)
    }
}

/// Inspects, compiles and describes one component, and checks that its schemas are bounded: what a process for admission does.
pub(crate) fn admit(planners: &Planners, bytes: Bytes) -> Result<Admitted, Fault> {
    let digest = Digest::of_bytes(&bytes);
    let host = WasmHost::new(&HostSettings::default(), planners, Arc::new(One { digest, bytes }))?;
    let info = host.info(&digest)?.as_ref().clone();
    let slot = host.driver(&digest)?;
    let Some(Ok(driver)) = slot.get() else { return Err(Fault::Load("it was not loaded".to_owned())) };
    let description = host.describe_driver(driver)?.as_ref().clone();
    SchemaCache::default().driver(&digest, &description).map_err(Fault::Answer)?;
    let compiled = match &driver.pre {
        Pre::Resource(pre) => pre.instance_pre().component(),
        Pre::Workload(pre) => pre.instance_pre().component(),
    };
    let code = compiled.serialize().map_err(|error| load_fault(&error))?;
    Ok(Admitted { facts: Facts { info, description }, code })
}

/// The one component that a process for admission knows.
struct One {
    digest: Digest,
    bytes: Bytes,
}

impl ComponentSource for One {
    fn bytes(&self, component: &Digest) -> Option<Bytes> {
        (*component == self.digest).then(|| self.bytes.clone())
    }

    fn name(&self, _: &Digest) -> Option<String> {
        None
    }
}

fn load_fault(error: &wasmtime::Error) -> Fault {
    Fault::Load(error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// A recorder for the case that a store loses its own: it grants nothing.
fn recorder_like(planners: &Planners) -> Recorder {
    Recorder::new(windlass_engine::recorder::RecorderInput {
        planners: planners.clone(),
        node: windlass_model::NodeKey::Workload(
            windlass_model::name::WorkloadName::try_from("lost".to_owned()).unwrap_or_else(|_| unreachable!("`lost` is a label")),
        ),
        authorities: std::collections::BTreeMap::new(),
        contexts: std::collections::BTreeMap::new(),
        secret_versions: Arc::default(),
        tokens: windlass_engine::tokens::TokenTable::default(),
        budget: Arc::default(),
    })
}

/// Lists the JSON texts of an answer.
fn texts(answer: &DriverAnswer) -> impl Iterator<Item = &str> {
    let texts = match &answer.body {
        windlass_engine::driver::Body::Outputs(text) => std::slice::from_ref(text),
        windlass_engine::driver::Body::Manifests(texts) => texts,
    };
    texts.iter().map(String::as_str)
}

fn call(
    driver: &Driver,
    store: &mut wasmtime::Store<CallState>,
    request: &DriverRequest,
) -> wasmtime::Result<Result<DriverAnswer, CallError>> {
    match (&driver.pre, request) {
        (Pre::Resource(pre), DriverRequest::Define { context, key: (r#type, class, id), workloads, params, inputs }) => {
            use resource::exports::windlass::driver::resource_definition as wit;
            let instance = pre.instantiate(&mut *store)?;
            let request = wit::Request {
                context: convert::resource_context(context),
                key: resource::windlass::driver::types::ResourceKey { type_: r#type.clone(), class: class.clone(), id: id.clone() },
                workloads: workloads.clone(),
                params: params.clone(),
                inputs: inputs.clone(),
            };
            let answer = instance.windlass_driver_resource_definition().call_define(store, &request)?;
            Ok(answer.map(convert::resource_answer).map_err(|diagnostics| CallError::Refused(convert::resource_diagnostics(diagnostics))))
        }
        (Pre::Workload(pre), DriverRequest::Render { context, name, workload, inputs, manifests }) => {
            use workload::exports::windlass::driver::workload_profile as wit;
            let instance = pre.instantiate(&mut *store)?;
            let request = wit::Request {
                context: convert::workload_context(context),
                name: name.clone(),
                workload: workload.clone(),
                inputs: inputs.clone(),
                manifests: manifests.clone(),
            };
            let answer = instance.windlass_driver_workload_profile().call_render(store, &request)?;
            Ok(answer.map(convert::workload_answer).map_err(|diagnostics| CallError::Refused(convert::workload_diagnostics(diagnostics))))
        }
        (Pre::Resource(_), DriverRequest::Render { .. }) | (Pre::Workload(_), DriverRequest::Define { .. }) => {
            Err(wasmtime::Error::msg("the component implements the other world"))
        }
    }
}

impl DriverHost for WasmHost {
    fn inspect(&self, component: &Digest) -> Result<Arc<ComponentInfo>, DriverFault> {
        self.info(component).map_err(|fault| self.fault(component, fault))
    }

    fn describe(&self, component: &Digest) -> Result<Arc<Description>, DriverFault> {
        let info = self.info(component).map_err(|fault| self.fault(component, fault))?;
        if let Some(known) = lock(&self.descriptions).get(component) {
            return Ok(Arc::clone(known));
        }
        let slot = self.driver(component).map_err(|fault| self.fault(component, fault))?;
        let Some(Ok(driver)) = slot.get() else {
            return Err(self.fault(component, Fault::Load("it was not loaded".to_owned())));
        };
        let description = self.describe_driver(driver).map_err(|fault| self.fault(component, fault))?;
        if let Some(cache) = &self.cache {
            cache.store_facts(component, &Facts { info: info.as_ref().clone(), description: description.as_ref().clone() });
        }
        lock(&self.descriptions).insert(*component, Arc::clone(&description));
        Ok(description)
    }

    fn call(&self, component: &Digest, request: &DriverRequest, recorder: Recorder) -> (Result<DriverAnswer, CallError>, Recorder) {
        let slot = match self.driver(component) {
            Ok(slot) => slot,
            Err(fault) => return (Err(CallError::Fault(self.fault(component, fault))), recorder),
        };
        let Some(Ok(driver)) = slot.get() else {
            return (Err(CallError::Fault(self.fault(component, Fault::Load("it was not loaded".to_owned())))), recorder);
        };
        let (result, recorder) = self.run(driver, request, recorder);
        let result = result.map_err(|error| match error {
            CallError::Fault(fault) => CallError::Fault(self.fault(component, fault.fault)),
            refused @ CallError::Refused(_) => refused,
        });
        (result, recorder)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One thread ticks as long as the engine lives.
fn tick(engine: &Engine) {
    let engine = engine.weak();
    thread::Builder::new()
        .name("epoch".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(limits::EPOCH_TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })
        .map(drop)
        .unwrap_or_default();
}

/// Only what ordinary toolchains emit is on; everything that could differ between runs is off.
fn config(parallelism: usize) -> Config {
    let calls = u32::try_from(parallelism.saturating_mul(2).max(4)).unwrap_or(4);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(calls)
        .total_core_instances(calls * 16)
        .total_memories(calls * 2)
        .total_tables(calls * 4)
        .max_core_instances_per_component(64)
        .max_memories_per_component(4)
        .max_tables_per_component(16)
        // Guests run on the stack of the thread that calls them: a pool of others would be protected page by page at each start.
        .total_stacks(0)
        .max_component_instance_size(4 * 1024 * 1024)
        .max_core_instance_size(4 * 1024 * 1024)
        .max_memory_size(limits::DRIVER_MEMORY_BYTES_MAX)
        .table_elements(limits::DRIVER_TABLE_ELEMENTS_MAX)
        // The pages that a small guest dirties are zeroed in place instead of being given back: stack, data and arena of an
        // ordinary driver are below half of this.
        .linear_memory_keep_resident(1024 * 1024)
        .table_keep_resident(64 * 1024);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .max_wasm_stack(limits::DRIVER_STACK_BYTES_MAX)
        .wasm_backtrace_max_frames(None)
        .concurrency_support(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
