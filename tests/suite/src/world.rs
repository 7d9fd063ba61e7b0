//! A planning world made of texts: documents, components, an environment.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use windlass_capability_directory::ObjectsPlanner;
use windlass_capability_secrets::GeneratedPlanner;
use windlass_document::{ApplicationInput, Nowhere, load_application, load_platform};
use windlass_engine::{PlanInput, PlanOutput, Planners, plan, planner::Planner};
use windlass_model::{
    Digest,
    platform::{LayerName, Layers, Platform},
    state::{EnvironmentKey, RecordedState},
};
use windlass_runtime::{CachePlace, HostSettings, WasmHost};
use windlass_source::Components;

use crate::binary;

/// Everything that planning needs.
pub struct World {
    /// The planners.
    pub planners: Planners,
    /// The runtime.
    pub host: WasmHost,
    /// The components.
    pub components: Arc<Components>,
    /// Digests by name, as `builtin:NAME` and `file:PATH`.
    pub digests: BTreeMap<String, Digest>,
    cache: tempfile::TempDir,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Loads every component that was built: first-party ones as `builtin:NAME`, guests as `file:NAME.wasm`.
    ///
    /// # Panics
    ///
    /// If the components were not built.
    #[must_use]
    pub fn new() -> Self {
        Self::with_call_time(HostSettings::default().call_time)
    }

    /// As `new`, where one call may take as long as a test wants.
    ///
    /// # Panics
    ///
    /// If the components were not built.
    #[must_use]
    pub fn with_call_time(call_time: Duration) -> Self {
        let planners = Planners::new([Arc::new(ObjectsPlanner) as Arc<dyn Planner>, Arc::new(GeneratedPlanner)]);
        let components = Arc::new(Components::default());
        let mut digests = BTreeMap::new();
        let folder = binary::components();
        for (folder, prefix, suffix) in [(folder.clone(), "builtin:", ""), (folder.join("guests"), "file:", ".wasm")] {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|extension| extension == "wasm") {
                    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                    let name = format!("{prefix}{stem}{suffix}");
                    let digest = components.add_file(&name, &path).unwrap_or_else(|error| unreachable!("{error}"));
                    digests.insert(name, digest);
                }
            }
        }
        assert!(digests.len() > 8, "components were not built: run `cargo xtask test`");
        let cache = tempfile::tempdir().unwrap_or_else(|error| unreachable!("a temporary folder: {error}"));
        let place = CachePlace { folder: cache.path().join("code"), key: cache.path().join("key") };
        let host = WasmHost::new(
            &HostSettings { cache: Some(place), parallelism: 4, call_time, ..HostSettings::default() },
            &planners,
            components.clone(),
        );
        Self { planners, host, components, digests, cache }
    }

    /// Adds a component under a name.
    pub fn add(&mut self, name: &str, bytes: Vec<u8>) {
        let digest = self.components.add(name, Bytes::from(bytes));
        self.digests.insert(name.to_owned(), digest);
    }

    /// Reads the platform documents of a folder.
    ///
    /// # Panics
    ///
    /// If they are invalid.
    #[must_use]
    pub fn platform(&self, folder: &Path) -> Platform {
        let loaded = load_platform(folder, &Nowhere).unwrap_or_else(|problems| unreachable!("{problems}"));
        Platform { components: self.digests.clone(), ..loaded.platform }
    }

    /// Makes an input from documents in a folder: workloads and Application in `app`, platform in `platform`,
    /// the built-in platform behind it.
    ///
    /// # Panics
    ///
    /// If documents are invalid.
    #[must_use]
    pub fn input(&self, folder: &Path) -> PlanInput {
        let loaded = load_application(&ApplicationInput { paths: vec![folder.join("app")], ..ApplicationInput::default() })
            .unwrap_or_else(|problems| unreachable!("{problems}"));
        let mut layers = Vec::new();
        if folder.join("platform").exists() {
            layers.push((LayerName::Stored, Arc::new(self.platform(&folder.join("platform")))));
        }
        layers.push((LayerName::BuiltIn, Arc::new(self.platform(&binary::root().join("host/cli/platform")))));
        PlanInput {
            environment: EnvironmentKey {
                application: loaded.model.application.clone(),
                environment: "dev".parse().unwrap_or_else(|_| unreachable!("a label")),
            },
            environment_type: "development".parse().unwrap_or_else(|_| unreachable!("a label")),
            model: Arc::new(loaded.model),
            layers: Layers(layers),
            recorded: RecordedState::default(),
            claims: std::sync::Arc::default(),
            secrets: BTreeMap::new(),
            last_images: BTreeMap::new(),
            previous: None,
            destroy: false,
            follows: None,
        }
    }

    /// Plans.
    #[must_use]
    pub fn plan(&self, input: &PlanInput) -> PlanOutput {
        plan(input, &self.planners, &self.host)
    }

    /// Plans and returns the findings as text, digests left out.
    #[must_use]
    pub fn findings(&self, input: &PlanInput) -> Vec<String> {
        let output = self.plan(input);
        let mut out: Vec<String> = output.diagnostics.iter().map(|diagnostic| format!("{} {diagnostic}", diagnostic.code)).collect();
        for digest in self.digests.values() {
            out.iter_mut().for_each(|text| *text = text.replace(&digest.short(), "DIGEST").replace(&digest.to_string(), "DIGEST"));
        }
        debug_assert!(self.cache.path().exists());
        out
    }
}
