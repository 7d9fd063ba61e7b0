//! A real cluster without containers: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, built from their Go
//! modules, and kwok in the place of kubelets. TLS and RBAC are on; every process listens on a free loopback port.
//!
//! One cluster serves a whole test run: `cargo xtask test` starts it and tells the tests by [`SHARED`].

mod binaries;
mod gateway;
mod processes;
mod servers;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

pub use binaries::{Binaries, hash_files};
pub use gateway::GatewayController;
use processes::{Process, free_port, start_in};
pub use servers::{Postgres, SERVERS, Servers, SharedServers, Tools, decode, encode, post};

/// The variable that names the folder of the cluster that a whole test run shares.
pub const SHARED: &str = "WINDLASS_TEST_CLUSTER";
/// A workload profile that passes on the annotations by which the cluster plays its scenes.
pub const SCENES: &str = "apiVersion: windlass.dev/v1alpha1
kind: WorkloadProfile
metadata: { name: default }
spec:
  stages:
    - name: render
      driver: { builtin: workload-default }
      grants:
        - import: windlass:kubernetes/objects
          kinds: [apps/v1/Deployment, apps/v1/StatefulSet, batch/v1/Job, batch/v1/CronJob, v1/Service, v1/ConfigMap, v1/Secret]
          metadata: [windlass.test/]
";
/// How long the API server may take until it is ready, and the node after it.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A running cluster; dropping it stops every process by its pid.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    kubectl: PathBuf,
    /// In the order in which they were started; stopped in reverse.
    processes: Vec<Process>,
}

/// The files of a cluster that somebody else started.
#[derive(Clone, Debug)]
pub struct Shared {
    folder: PathBuf,
}

impl Shared {
    /// Finds the cluster of this test run.
    ///
    /// # Errors
    ///
    /// If the tests were started without `cargo xtask test`.
    pub fn find() -> Result<Self> {
        let folder = std::env::var_os(SHARED).with_context(|| format!("{SHARED} is not set: run `cargo xtask test`"))?;
        Ok(Self { folder: PathBuf::from(folder) })
    }

    /// The kubeconfig of the administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The kubeconfig of a user who may do nothing until somebody lets them.
    #[must_use]
    pub fn limited_kubeconfig(&self) -> PathBuf {
        self.folder.join("limited.kubeconfig")
    }

    /// Every request that the API server got, a JSON object in each line.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// The servers that it runs, for a test that needs a cluster of its own.
    ///
    /// # Errors
    ///
    /// If the folder is not that of a cluster.
    pub fn binaries(&self) -> Result<Binaries> {
        let kubectl = PathBuf::from(fs::read_to_string(self.folder.join("kubectl"))?.trim());
        Ok(Binaries::at(kubectl.parent().context("kubectl stands nowhere")?))
    }

    /// Runs kubectl and returns what it prints.
    ///
    /// # Errors
    ///
    /// If it fails: with what it said.
    pub fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let kubectl = fs::read_to_string(self.folder.join("kubectl"))?;
        kubectl_with(Path::new(kubectl.trim()), &self.kubeconfig(), arguments, input)
    }
}

impl Cluster {
    /// Starts a cluster in an empty folder and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If a process does not come up: with the end of its log.
    pub fn start(binaries: &Binaries, folder: &Path) -> Result<Self> {
        start_in(folder, || Self::start_once(binaries, folder))
    }

    fn start_once(binaries: &Binaries, folder: &Path) -> Result<Self> {
        let [etcd, peer, server, kubelet] = [free_port()?, free_port()?, free_port()?, free_port()?];
        write_identities(folder, server)?;
        fs::write(folder.join("kubectl"), binaries.tool("kubectl").display().to_string())?;
        let mut cluster = Self { folder: folder.to_path_buf(), kubectl: binaries.tool("kubectl"), processes: Vec::new() };
        let at = |name: &str| folder.join(name).display().to_string();
        cluster.spawn(
            binaries,
            "etcd",
            &[
                format!("--data-dir={}", at("etcd")),
                format!("--listen-client-urls=http://127.0.0.1:{etcd}"),
                format!("--advertise-client-urls=http://127.0.0.1:{etcd}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
                format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
                // A test cluster lives for one run: nothing in it needs to survive a power failure.
                "--unsafe-no-fsync".to_owned(),
                "--log-level=error".to_owned(),
            ],
        )?;
        cluster.spawn(
            binaries,
            "kube-apiserver",
            &[
                format!("--etcd-servers=http://127.0.0.1:{etcd}"),
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
                format!("--secure-port={server}"),
                format!("--cert-dir={}", at("certificates")),
                format!("--service-account-key-file={}", at("account.pub")),
                format!("--service-account-signing-key-file={}", at("account.key")),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--token-auth-file={}", at("tokens.csv")),
                "--authorization-mode=RBAC".to_owned(),
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                // Logs are asked for at kwok, which knows no names.
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
                format!("--audit-policy-file={}", at("audit-policy.yaml")),
                format!("--audit-log-path={}", at("audit.log")),
            ],
        )?;
        cluster.wait_for_server(server)?;
        let kubeconfig = format!("--kubeconfig={}", at("kubeconfig"));
        cluster.spawn(
            binaries,
            "kube-controller-manager",
            &[
                kubeconfig.clone(),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                format!("--service-account-private-key-file={}", at("account.key")),
                // On a busy machine kwok's heartbeats are late: its node must not count as lost, nor its pods.
                "--node-monitor-grace-period=1h".to_owned(),
            ],
        )?;
        cluster.spawn(
            binaries,
            "kube-scheduler",
            &[kubeconfig.clone(), "--leader-elect=false".to_owned(), "--secure-port=0".to_owned()],
        )?;
        // Before kwok: it plays only kinds that are there when it starts.
        cluster.furnish(binaries)?;
        cluster.spawn(
            binaries,
            "kwok",
            &[
                kubeconfig,
                "--manage-all-nodes=true".to_owned(),
                format!("--config={}", at("scenes.yaml")),
                "--node-ip=127.0.0.1".to_owned(),
                format!("--node-port={kubelet}"),
                format!("--server-address=127.0.0.1:{kubelet}"),
                // Any will do: nobody checks it.
                format!("--tls-cert-file={}", at("certificates/apiserver.crt")),
                format!("--tls-private-key-file={}", at("certificates/apiserver.key")),
            ],
        )?;
        cluster.wait_for_node()?;
        Ok(cluster)
    }

    fn spawn(&mut self, binaries: &Binaries, name: &str, arguments: &[String]) -> Result<()> {
        let log = self.folder.join(format!("{name}.log"));
        self.processes.push(Process::start(name, &binaries.tool(name), arguments, &log)?);
        Ok(())
    }

    /// The certificate is made by the server at its start: only then a kubeconfig can name it.
    fn wait_for_server(&mut self, port: u16) -> Result<()> {
        let certificate = self.folder.join("certificates/apiserver.crt");
        let until = Instant::now() + READY_WITHIN;
        loop {
            if let Ok(text) = fs::read(&certificate) {
                for (file, token) in [("kubeconfig", ADMIN_TOKEN), ("limited.kubeconfig", LIMITED_TOKEN)] {
                    fs::write(self.folder.join(file), kubeconfig(port, &text, token))?;
                }
                if self.kubectl(&["get", "--raw", "/readyz"], None).is_ok_and(|answer| answer.trim() == "ok") {
                    return Ok(());
                }
            }
            self.check()?;
            if Instant::now() > until {
                bail!("the API server is not ready after {} s\n{}", READY_WITHIN.as_secs(), self.log_of("kube-apiserver"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A node without kwok keeps its taint, and every test would wait for its pods until its patience ends.
    fn wait_for_node(&mut self) -> Result<()> {
        let until = Instant::now() + READY_WITHIN;
        let wanted = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status} {.items[*].spec.taints[*].key}";
        loop {
            let state = self.kubectl(&["get", "nodes", "-o", wanted], None)?;
            if state.trim() == "True" {
                return Ok(());
            }
            self.check()?;
            if Instant::now() > until {
                bail!("the node takes no pods after {} s: {state}\n{}", READY_WITHIN.as_secs(), self.log_of("kwok"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Fails if a process ended by itself.
    ///
    /// # Errors
    ///
    /// With the end of its log.
    pub fn check(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Brings in what an empty cluster lacks: nodes, a storage class, the Gateway API.
    fn furnish(&self, binaries: &Binaries) -> Result<()> {
        let volumes: String = (0..VOLUMES)
            .map(|number| format!("---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {{ name: volume-{number} }}\nspec:\n  capacity: {{ storage: 100Gi }}\n  accessModes: [ReadWriteOnce, ReadWriteMany]\n  storageClassName: standard\n  persistentVolumeReclaimPolicy: Retain\n  hostPath: {{ path: /dev/null }}\n"))
            .collect();
        let furniture = format!("{}{volumes}", include_str!("../scenes/cluster.yaml"));
        self.kubectl(&["create", "-f", "-"], Some(&furniture))?;
        self.kubectl(&["apply", "--server-side", "-f", &binaries.gateway_crds().display().to_string()], None)?;
        self.kubectl(&["wait", "--for=condition=established", "--timeout=30s", "crd", "--all"], None)?;
        Ok(())
    }

    /// Returns the files that tests need.
    #[must_use]
    pub fn shared(&self) -> Shared {
        Shared { folder: self.folder.clone() }
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        kubectl_with(&self.kubectl, &self.folder.join("kubeconfig"), arguments, input)
    }

    /// Stops the API server as `kill -9` does, and starts it again after a while.
    ///
    /// # Errors
    ///
    /// If it does not come back.
    pub fn restart_server(&mut self, after: Duration) -> Result<()> {
        let server = self.processes.iter_mut().find(|process| process.is("kube-apiserver")).context("there is no API server")?;
        server.kill();
        std::thread::sleep(after);
        server.again()
    }

    fn log_of(&self, name: &str) -> String {
        let text = fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
        text.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        while let Some(process) = self.processes.pop() {
            drop(process);
        }
    }
}

fn kubectl_with(kubectl: &Path, kubeconfig: &Path, arguments: &[&str], input: Option<&str>) -> Result<String> {
    use std::io::Write as _;
    let mut child = Command::new(kubectl)
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("kubectl can't be started")?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Volumes that claims are bound to; nobody frees one in the life of a test cluster.
const VOLUMES: usize = 100;

/// These name nobody outside of a loopback server that lives for one run.
const ADMIN_TOKEN: &str = "test-administrator";
const LIMITED_TOKEN: &str = "test-limited";

fn write_identities(folder: &Path, port: u16) -> Result<()> {
    let key = rcgen::KeyPair::generate().context("no key can be made")?;
    fs::write(folder.join("account.key"), key.serialize_pem())?;
    fs::write(folder.join("account.pub"), key.public_key_pem())?;
    fs::write(
        folder.join("tokens.csv"),
        format!("{ADMIN_TOKEN},administrator,1,\"system:masters\"\n{LIMITED_TOKEN},limited,2,\"limited\"\n"),
    )?;
    fs::write(folder.join("audit-policy.yaml"), include_str!("../scenes/audit-policy.yaml"))?;
    let crash = folder.join("crash.log");
    fs::write(&crash, include_str!("../scenes/crash.log"))?;
    fs::write(folder.join("scenes.yaml"), include_str!("../scenes/pods.yaml").replace("CRASH_LOG", &crash.display().to_string()))?;
    fs::write(folder.join("port"), port.to_string())?;
    Ok(())
}

fn kubeconfig(port: u16, certificate: &[u8], token: &str) -> String {
    let authority = encode(certificate);
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\ncontexts:\n- {{ name: test, context: {{ cluster: test, user: test }} }}\nclusters:\n- name: test\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority-data: {authority}\nusers:\n- {{ name: test, user: {{ token: {token} }} }}\n"
    )
}
