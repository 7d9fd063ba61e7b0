//! The driver host: components by digest, compiled once, a fresh instance for each call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use wasmtime::{
    Engine,
    component::{Component, InstancePre},
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
    call::{self, CallState, Driver, Pre},
    compile,
    convert::{self, resource, workload},
    engine::{AddressSpace, Runtime},
    inspect, wasi,
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
    /// How instances get their memory.
    pub memory: Memory,
    /// Called once where this process may not reserve the memory of a pool: each call takes longer then.
    pub on_scarce: fn(),
}

/// How instances get their memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// From a pool that is reserved in advance: fast where there are many calls.
    #[default]
    Pooled,
    /// For each call: for a process that makes few.
    OnDemand(AddressSpace),
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            cache: None,
            parallelism: 1,
            admission: Admission::default(),
            call_time: limits::DRIVER_CALL_TIME_MAX,
            memory: Memory::default(),
            on_scarce: || {},
        }
    }
}

/// Runs drivers in wasmtime.
pub struct WasmHost {
    runtime: OnceLock<Result<Runtime, Fault>>,
    settings: HostSettings,
    planners: Planners,
    source: Arc<dyn ComponentSource>,
    cache: Option<CodeCache>,
    infos: Mutex<HashMap<Digest, Arc<ComponentInfo>>>,
    descriptions: Mutex<HashMap<Digest, Arc<Description>>>,
    admitted: Mutex<HashMap<Digest, Arc<OnceLock<Result<Component, Fault>>>>>,
    drivers: Mutex<HashMap<Digest, Arc<OnceLock<Result<Driver, Fault>>>>>,
}

impl WasmHost {
    /// Makes a host; its engine is set up when a component is needed for the first time.
    #[must_use]
    pub fn new(settings: &HostSettings, planners: &Planners, source: Arc<dyn ComponentSource>) -> Self {
        Self {
            runtime: OnceLock::new(),
            settings: settings.clone(),
            planners: planners.clone(),
            source,
            // A cache that is not trusted costs the time of compiling again, no more.
            cache: settings.cache.as_ref().and_then(|place| CodeCache::open(place).ok()),
            infos: Mutex::default(),
            descriptions: Mutex::default(),
            admitted: Mutex::default(),
            drivers: Mutex::default(),
        }
    }

    fn runtime(&self) -> Result<&Runtime, Fault> {
        let made = self.runtime.get_or_init(|| {
            let HostSettings { memory, parallelism: calls, on_scarce, .. } = &self.settings;
            match *memory {
                Memory::Pooled => {
                    let runtime = Runtime::pooled(*calls, &self.planners)?;
                    if runtime.address_space == AddressSpace::Scarce {
                        on_scarce();
                    }
                    Ok(runtime)
                }
                Memory::OnDemand(address_space) => Runtime::on_demand(address_space, *calls, &self.planners),
            }
        });
        made.as_ref().map_err(Clone::clone)
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
        match &self.settings.admission {
            Admission::Child(child) if !child.own.contains(component) => Some(child),
            Admission::Child(_) | Admission::InProcess => None,
        }
    }

    /// Has a component admitted by a child process, once; others that need it at the same time wait for that.
    fn admitted(&self, component: &Digest, child: &ChildAdmission) -> Result<Component, Fault> {
        let slot = Arc::clone(lock(&self.admitted).entry(*component).or_default());
        slot.get_or_init(|| {
            let runtime = self.runtime()?;
            let Admitted { facts, code } = child.admit(&self.bytes(component)?, runtime.address_space)?;
            let compiled = cache::deserialize(&runtime.engine, &code)
                .ok_or_else(|| Fault::Load("the machine code of the process that admits components does not fit".to_owned()))?;
            if let Some(cache) = &self.cache {
                cache.store_code(component, &runtime.engine, &code);
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
        let (info, runtime) = (self.info(component)?, self.runtime()?);
        let compiled = match self.cache.as_ref().and_then(|cache| cache.load(component, &runtime.engine)) {
            Some(compiled) => compiled,
            None => match self.child_for(component) {
                Some(child) => self.admitted(component, child)?,
                None => self.compile(component, &runtime.engine)?,
            },
        };
        let uses_wasi = info.imports.iter().any(|import| import.starts_with("wasi:"));
        let linker = if uses_wasi { runtime.wasi_linker(&self.planners)? } else { &runtime.linker };
        let pre: InstancePre<CallState> = linker.instantiate_pre(&compiled).map_err(|error| load_fault(&error))?;
        let pre = match info.world {
            World::ResourceDriver => Pre::Resource(resource::ResourceDriverPre::new(pre).map_err(|error| Fault::World(error.to_string()))?),
            World::WorkloadDriver => Pre::Workload(workload::WorkloadDriverPre::new(pre).map_err(|error| Fault::World(error.to_string()))?),
        };
        Ok(Driver { pre, uses_wasi })
    }

    /// Compiles a component in this process.
    fn compile(&self, component: &Digest, engine: &Engine) -> Result<Component, Fault> {
        let compiled = compile::compile(engine, &self.bytes(component)?)?;
        if let Some(cache) = &self.cache
            && let Ok(code) = compiled.serialize()
        {
            cache.store_code(component, engine, &code);
        }
        Ok(compiled)
    }

    fn describe_driver(&self, driver: &Driver) -> Result<Arc<Description>, Fault> {
        let runtime = self.runtime()?;
        let _place = runtime.places.take();
        let mut store = call::store(
            &runtime.engine,
            CallState { wasi: driver.uses_wasi.then(|| wasi::context(&[0])), ..CallState::default() },
            self.settings.call_time,
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
        description.map(Arc::new).map_err(|error| call::fault(&error, self.settings.call_time))
    }

    /// Calls a component, and gives back what it recorded; a fault comes without the name of the component.
    fn run(
        &self,
        component: &Digest,
        request: &DriverRequest,
        recorder: Recorder,
    ) -> (Result<Result<DriverAnswer, CallError>, Fault>, Recorder) {
        let loaded = self.runtime().and_then(|runtime| Ok((runtime, self.driver(component)?)));
        let (runtime, slot) = match loaded {
            Ok(loaded) => loaded,
            Err(fault) => return (Err(fault), recorder),
        };
        let Some(Ok(driver)) = slot.get() else { return (Err(Fault::Load("it was not loaded".to_owned())), recorder) };
        let wasi = driver.uses_wasi.then(|| {
            let seed = Digest::of(request).unwrap_or_else(|_| Digest::of_bytes(&[]));
            wasi::context(seed.as_bytes())
        });
        let fallback = recorder_like(&self.planners);
        let _place = runtime.places.take();
        let state = CallState { recorder: Some(recorder), wasi, ..CallState::default() };
        let mut store = call::store(&runtime.engine, state, self.settings.call_time);
        let result = call::call(driver, &mut store, request);
        let mut recorder = store.into_data().recorder.unwrap_or(fallback);
        let result = result.map_err(|error| call::fault(&error, self.settings.call_time)).and_then(|answered| {
            if let Ok(answer) = &answered {
                let counted = recorder.count_json(call::texts(answer));
                counted.map_err(|limit| Fault::Limit { limit: limit.limit, value: limit.value })?;
            }
            Ok(answered)
        });
        (result, recorder)
    }
}

/// Inspects, compiles and describes one component, and checks that its schemas are bounded: what a process for admission does.
pub(crate) fn admit(planners: &Planners, bytes: Bytes, address_space: AddressSpace) -> Result<Admitted, Fault> {
    let digest = Digest::of_bytes(&bytes);
    let settings = HostSettings { memory: Memory::OnDemand(address_space), ..HostSettings::default() };
    let host = WasmHost::new(&settings, planners, Arc::new(One { digest, bytes }));
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

pub(crate) fn load_fault(error: &wasmtime::Error) -> Fault {
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
        let (result, recorder) = self.run(component, request, recorder);
        (result.unwrap_or_else(|fault| Err(CallError::Fault(self.fault(component, fault)))), recorder)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
