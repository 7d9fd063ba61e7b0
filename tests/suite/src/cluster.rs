//! One application on the cluster that the whole test run shares, in a namespace of its own.

use std::{
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    time::{Duration, Instant},
};

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use windlass_cluster::{SCENES, Shared};

use crate::binary::{Folder, application_document};

/// How long something may take that happens by itself.
const SOON: Duration = Duration::from_secs(30);

fn application_name(name: &str) -> String {
    format!("t{}-{name}", std::process::id())
}

/// The connection to a cluster with these settings, and a profile for its scenes.
#[must_use]
pub fn cluster_connection(settings: &str) -> String {
    format!(
        "apiVersion: windlass.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: cluster }}\nspec:\n  capability: kubernetes\n  kubernetes: {{ {settings} }}\n---\n{SCENES}"
    )
}

/// Says how a connection gets into the cluster of the test run.
#[must_use]
pub fn by_kubeconfig(shared: &Shared) -> String {
    format!("kubeconfig: {{ file: {} }}", shared.kubeconfig().display())
}

/// Makes kube's own client of a cluster.
///
/// # Panics
///
/// If the kubeconfig can't be used.
pub async fn kube_client(kubeconfig: &Path) -> kube::Client {
    let fail = |error: &dyn std::fmt::Display| -> ! { unreachable!("{}: {error}", kubeconfig.display()) };
    let read = Kubeconfig::read_from(kubeconfig).unwrap_or_else(|error| fail(&error));
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap_or_else(|error| fail(&error));
    kube::Client::try_from(config).unwrap_or_else(|error| fail(&error))
}

/// How long the server's log is by now.
fn length(shared: &Shared) -> u64 {
    std::fs::metadata(shared.audit_log()).map_or(0, |metadata| metadata.len())
}

/// An application with a connection to the cluster.
#[derive(Debug)]
pub struct Scene {
    /// Where windlass runs; the application is in `app`.
    pub folder: Folder,
    /// The application's name.
    pub application: String,
    /// The namespace of its environment `dev`.
    pub namespace: String,
    shared: Shared,
    /// How long the server's log was: what is told of this application stands behind that.
    log_from: u64,
}

impl Scene {
    /// Makes an application of a name that no other test has.
    ///
    /// # Panics
    ///
    /// Outside of `cargo xtask test`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let shared = Shared::find().unwrap_or_else(|error| unreachable!("{error}"));
        Self::with_connection(name, &by_kubeconfig(&shared))
    }

    /// Makes an application whose connection has these settings.
    ///
    /// # Panics
    ///
    /// Outside of `cargo xtask test`.
    #[must_use]
    pub fn with_connection(name: &str, settings: &str) -> Self {
        let shared = Shared::find().unwrap_or_else(|error| unreachable!("{error}"));
        let application = application_name(name);
        let folder = Folder::new();
        folder.write("app/application.yaml", &application_document(&application));
        folder.write("platform/connection.yaml", &cluster_connection(settings));
        folder.ok("platform apply platform");
        let log_from = length(&shared);
        Self { namespace: format!("{application}-dev"), folder, application, shared, log_from }
    }

    /// Makes an application on a cluster of the test's own.
    ///
    /// # Panics
    ///
    /// Outside of `cargo xtask test`.
    #[must_use]
    pub fn on(name: &str, shared: Shared) -> Self {
        let settings = by_kubeconfig(&shared);
        Self { shared, log_from: 0, ..Self::with_connection(name, &settings) }
    }

    /// Makes an application of another name with the same documents and the same store: a platform is stored once for many.
    ///
    /// # Panics
    ///
    /// If files can't be written.
    #[must_use]
    pub fn copy(&self, name: &str) -> Self {
        let application = application_name(name);
        let folder = Folder::new();
        folder.copy_from(self.folder.path());
        folder.write("app/application.yaml", &application_document(&application));
        let log_from = length(&self.shared);
        Self { namespace: format!("{application}-dev"), folder, application, shared: self.shared.clone(), log_from }
    }

    /// Looks into another environment of the application.
    #[must_use]
    pub fn in_environment(&self, environment: &str) -> Self {
        Self {
            folder: Folder::new(),
            namespace: format!("{}-{environment}", self.application),
            application: self.application.clone(),
            shared: self.shared.clone(),
            log_from: self.log_from,
        }
    }

    /// Counts how often the server made each object of the namespace anew: once is right.
    #[must_use]
    pub fn made(&self) -> std::collections::BTreeMap<String, usize> {
        let mut made = std::collections::BTreeMap::new();
        for event in self.events() {
            let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let is_made = text("/verb") == "patch" && event.pointer("/responseStatus/code").and_then(Value::as_u64) == Some(201);
            if is_made {
                *made.entry(format!("{}/{}", text("/objectRef/resource"), text("/objectRef/name"))).or_insert(0) += 1;
            }
        }
        made
    }

    /// Lists the marked objects of the namespace.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let kinds = "secrets,services,deployments,configmaps,persistentvolumeclaims,statefulsets";
        let listed = self.kubectl(&["-n", &self.namespace, "get", kinds, "-l", "windlass.dev/owner", "-o", "name"]).unwrap_or_default();
        let mut objects: Vec<String> = listed.lines().map(str::to_owned).collect();
        objects.sort();
        objects
    }

    /// Runs kubectl as the administrator.
    ///
    /// # Errors
    ///
    /// If it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.shared.kubectl(arguments, None).map_err(|error| error.to_string())
    }

    /// Asks the server whether it would take manifests.
    ///
    /// # Errors
    ///
    /// With what it says against them.
    pub fn try_out(&self, manifests: &str) -> Result<(), String> {
        let arguments = ["apply", "--server-side", "--dry-run=server", "--filename", "-"];
        self.shared.kubectl(&arguments, Some(manifests)).map(drop).map_err(|error| error.to_string())
    }

    /// Returns an object of the namespace.
    ///
    /// # Panics
    ///
    /// If it is not there.
    #[must_use]
    pub fn get(&self, object: &str) -> Value {
        let text = self
            .kubectl(&["-n", &self.namespace, "get", object, "-o", "json", "--show-managed-fields"])
            .unwrap_or_else(|error| unreachable!("{error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| unreachable!("{error}"))
    }

    /// Waits until kubectl succeeds in the namespace.
    ///
    /// # Panics
    ///
    /// If it never does.
    pub fn wait_for(&self, arguments: &[&str]) {
        let all: Vec<&str> = ["-n", &self.namespace].into_iter().chain(arguments.iter().copied()).collect();
        let until = Instant::now() + SOON;
        while let Err(error) = self.kubectl(&all) {
            assert!(Instant::now() < until, "{error}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the namespace is gone.
    ///
    /// # Panics
    ///
    /// If it never goes.
    pub fn wait_for_gone(&self) {
        let until = Instant::now() + SOON;
        while self.kubectl(&["get", "namespace", &self.namespace]).is_ok() {
            assert!(Instant::now() < until, "the namespace `{}` stays", self.namespace);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Counts the requests by which windlass changed something in the namespace, by the server's own log.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.requests().iter().filter(|request| matches!(request.0.as_str(), "create" | "update" | "patch" | "delete")).count()
    }

    /// Lists what windlass asked for in the namespace: verb and path.
    #[must_use]
    pub fn requests(&self) -> Vec<(String, String)> {
        let text = |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.events().iter().map(|event| (text(event, "/verb"), text(event, "/requestURI"))).collect()
    }

    /// Reads what windlass asked for in the namespace out of the server's own log.
    fn events(&self) -> Vec<Value> {
        let mut bytes = Vec::new();
        if let Ok(mut log) = std::fs::File::open(self.shared.audit_log()) {
            let _ = log.seek(SeekFrom::Start(self.log_from)).and_then(|_| log.read_to_end(&mut bytes));
        }
        let log = String::from_utf8_lossy(&bytes);
        let text = |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        log.lines()
            .filter(|line| line.contains(&self.namespace))
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| {
                let uri = text(event, "/requestURI");
                let is_here = text(event, "/objectRef/namespace") == self.namespace || text(event, "/objectRef/name") == self.namespace;
                let by_us = uri.contains("fieldManager=windlass") || text(event, "/userAgent").is_empty();
                is_here && by_us && !uri.contains("dryRun=All")
            })
            .collect()
    }
}
