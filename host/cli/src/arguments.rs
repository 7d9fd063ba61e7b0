//! The command line.

mod groups;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use windlass_engine::transport::InsecureTransport;
use windlass_model::{
    event::DeploymentNumber,
    name::{ApplicationName, EnvironmentName, EnvironmentTypeName},
};

pub(crate) use groups::{Driver, Env, Platform, Secret};

const EXAMPLES: &str = "\
Examples:
  windlass init shop                                    a working application and platform
  windlass deploy shop -e dev --create-env development  make it so
  windlass plan shop -e dev --image web=ghcr.io/acme/web:2
  windlass explain apps/Deployment/shop-dev/web#/spec/replicas -e dev --app shop
  windlass rollback -e dev --app shop

Exit codes:
  0 done   1 failed   2 changes present (only with --detailed-exitcode)   3 waiting for approval
  4 timed out while the deployment goes on   5 refused by policy   64 wrong usage   65 bad input
  130 interrupted";

/// Deploys applications described once, by definitions that are sandboxed WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "windlass", version, about, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Where state, secrets and manifests are kept
    #[arg(long, global = true, env = "WINDLASS_DATA_DIR", default_value = ".windlass", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// File of the key that secrets are encrypted with [default: DATA_DIR/key, made if it is not there; WINDLASS_KEY holds the key itself]
    #[arg(long, global = true, env = "WINDLASS_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Kubeconfigs may name programs and files of this machine (exec plugins, paths of keys); without it they are refused
    #[arg(long, global = true, env = "WINDLASS_ALLOW_LOCAL_CREDENTIALS")]
    pub allow_local_credentials: bool,
    /// Connections that say `insecure: true` may lead to other machines; without it they are refused there
    #[arg(long, global = true, env = "WINDLASS_ALLOW_INSECURE_TRANSPORT")]
    pub allow_insecure_transport: bool,
    /// How many deployments of an environment are kept, with everything that they were made of; the last one that succeeded always is
    #[arg(long, global = true, env = "WINDLASS_KEEP_DEPLOYMENTS", default_value = "100", value_name = "NUMBER")]
    pub keep_deployments: std::num::NonZeroU32,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
}

impl Global {
    /// Returns where connections that say `insecure: true` may lead.
    pub(crate) fn insecure_transport(&self) -> InsecureTransport {
        if self.allow_insecure_transport { InsecureTransport::Anywhere } else { InsecureTransport::Loopback }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// The format of what is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
    Yaml,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Output {
    /// The format
    #[arg(short, long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub output: Format,
}

/// Which environment.
#[derive(Clone, Debug, Args)]
pub(crate) struct Environment {
    /// The environment
    #[arg(short, long, value_name = "NAME")]
    pub env: EnvironmentName,
    /// The application [default: the document's, the folder's, or the only one stored]
    #[arg(long, value_name = "NAME")]
    pub app: Option<ApplicationName>,
}

/// What is deployed.
#[derive(Clone, Debug, Args)]
pub(crate) struct Application {
    /// The image of a container whose image is `.`: WORKLOAD[/CONTAINER]=REF, or REF for a single Score file
    #[arg(short, long = "image", value_name = "[WORKLOAD[/CONTAINER]=]REF")]
    pub images: Vec<String>,
    /// A file merged over the single Score document
    #[arg(long, alias = "override-file", value_name = "FILE")]
    pub overrides_file: Option<PathBuf>,
    /// A field set in the single Score document
    #[arg(long = "override-property", value_name = "PATH=VALUE")]
    pub override_properties: Vec<String>,
    /// Platform documents for this command alone, stronger than the stored ones
    #[arg(long, value_name = "DIR")]
    pub platform: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Planning {
    #[command(flatten)]
    pub environment: Environment,
    #[command(flatten)]
    pub application: Application,
    /// Make the environment, of this type, if it does not exist
    #[arg(long, value_name = "TYPE")]
    pub create_env: Option<EnvironmentTypeName>,
    /// A single Score file removes the application's other workloads
    #[arg(long)]
    pub prune: bool,
    /// Refuse a plan that can be finished only when its first stage is ready
    #[arg(long)]
    pub complete: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Applying {
    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
    /// Data may be destroyed
    #[arg(long)]
    pub allow_destroy: bool,
    /// An object that may be taken over from whoever owns it
    #[arg(long = "take-ownership", value_name = "OBJECT")]
    pub take_ownership: Vec<String>,
    /// How long to wait: 90s, 15m, 1h
    #[arg(long, value_parser = duration, default_value = "15m", value_name = "TIME")]
    pub timeout: Duration,
    /// Looks at everything as closely as `drift` does: a command says so on its own
    #[arg(skip)]
    pub refresh: bool,
}

/// Reads `RESOURCE=NAME`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((resource, name)) if !resource.is_empty() && !name.is_empty() => Ok((resource.to_owned(), name.to_owned())),
        _ => Err(format!("`{text}` is no RESOURCE=NAME")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no time: 90s, 15m, 1h"))?;
    match unit {
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err(format!("`{unit}` is no unit of time: s, m, h")),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a working application and platform, or one more workload
    Init {
        /// The folder
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Add just this workload
        #[arg(long, value_name = "NAME")]
        workload: Option<windlass_model::name::WorkloadName>,
        /// Its resources: postgres,redis,dns,route,volume,…
        #[arg(long, value_delimiter = ',', requires = "workload", value_name = "TYPE,…")]
        with: Vec<String>,
    },
    /// Check documents as a deployment would, and show everything that is wrong at once
    Validate {
        /// Files and folders; platform documents among them go before those that are stored
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Folder of more platform documents
        #[arg(long, value_name = "DIR")]
        platform: Option<PathBuf>,
        /// The environment, with its secrets and images [default: one of each type]
        #[arg(short, long, value_name = "NAME")]
        env: Option<EnvironmentName>,
        /// Type of an environment that does not exist yet [default: each type]
        #[arg(long, value_name = "TYPE")]
        r#type: Option<EnvironmentTypeName>,
        /// The application's name [default: that of the documents]
        #[arg(long, value_name = "NAME")]
        app: Option<ApplicationName>,
    },
    /// Print the JSON Schema of a document kind, for editors
    Schema {
        /// Workload, Application, ResourceDefinition, WorkloadProfile, EnvironmentType, Connection, ResourceType, or ResolvedWorkload: what profiles receive
        kind: String,
    },
    /// Print manifests without keeping any state
    Render {
        /// Score files, a folder or an Application document
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Write to a file instead; `-` is standard output
        #[arg(short, long, default_value = "-", value_name = "FILE")]
        output: PathBuf,
        /// The environment's name
        #[arg(short, long, default_value = "development", value_name = "NAME")]
        env: EnvironmentName,
        /// The environment's type
        #[arg(long, default_value = "development", value_name = "TYPE")]
        r#type: EnvironmentTypeName,
        /// The namespace of all objects
        #[arg(short, long, value_name = "NAME")]
        namespace: Option<String>,
        /// Render the Namespace too
        #[arg(long)]
        generate_namespace: bool,
        /// Print fresh generated values instead of `«generated …»`
        #[arg(long)]
        with_secrets: bool,
        /// The application [default: the document's or folder's]
        #[arg(long, value_name = "NAME")]
        app: Option<ApplicationName>,
        #[command(flatten)]
        application: Application,
    },
    /// What the platform team wrote
    #[command(subcommand)]
    Platform(Platform),
    /// Environments
    #[command(subcommand)]
    Env(Env),
    /// Show what a deployment would do
    Plan {
        /// A Score file, a folder or an Application document
        path: Option<PathBuf>,
        #[command(flatten)]
        planning: Planning,
        #[command(flatten)]
        output: Output,
        /// Write plan, model, platform and components to a file that `deploy` applies
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Plan the removal of everything
        #[arg(long)]
        destroy: bool,
        /// Also look at what exists and report what differs, outside of the plan
        #[arg(long)]
        refresh: bool,
        /// Also let Terraform and OpenTofu say what they would do for their modules; needs their credentials
        #[arg(long)]
        preview: bool,
        /// End with 2 if there are changes
        #[arg(long)]
        detailed_exitcode: bool,
    },
    /// Make it so
    Deploy {
        /// A Score file, a folder, an Application document, or a plan written by `plan --out`
        path: PathBuf,
        #[command(flatten)]
        planning: Planning,
        #[command(flatten)]
        applying: Applying,
        /// Also set back what only a close look shows: `drift`'s, which runs Terraform and OpenTofu
        #[arg(long)]
        refresh: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Show what is not as it was left, field by field, and who changed it
    Drift {
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        output: Output,
        /// End with 2 if something differs
        #[arg(long)]
        detailed_exitcode: bool,
    },
    /// Go on with a deployment that was cut off
    Resume {
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        applying: Applying,
    },
    /// Show how an environment stands
    Status {
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        output: Output,
    },
    /// List an environment's deployments
    History {
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        output: Output,
    },
    /// Show the events of a deployment
    Events {
        /// Its number [default: the newest]
        deployment: Option<DeploymentNumber>,
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        output: Output,
        /// Wait for more until it ends
        #[arg(short, long)]
        follow: bool,
    },
    /// Draw the resource graph
    Graph {
        /// A Score file, a folder or an Application document [default: what is deployed]
        path: Option<PathBuf>,
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        application: Application,
        /// The environment's type, where it does not exist yet
        #[arg(long, value_name = "TYPE")]
        r#type: Option<EnvironmentTypeName>,
        /// The format
        #[arg(long, value_enum, default_value_t = GraphFormat::Svg, value_name = "FORMAT")]
        format: GraphFormat,
    },
    /// Tell why something is as it is: which document, which rule, which component
    Explain {
        /// An object (`apps/Deployment/shop-dev/web`), a resource (`postgres#web.db`) or a workload (`workload/web`), with `#/json/pointer` of a field
        object: String,
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        output: Output,
    },
    /// Bring an earlier deployment's model, definitions and components back
    Rollback {
        /// Its number [default: the last one that succeeded before the newest]
        deployment: Option<DeploymentNumber>,
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        applying: Applying,
    },
    /// Take everything away
    Destroy {
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        applying: Applying,
    },
    /// Give a resource new credentials, roll what uses them, and end the old ones
    Rotate {
        /// The resource: `postgres#web.db`
        resource: String,
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        applying: Applying,
    },
    /// Make what exists already part of an environment, without making it again
    Adopt {
        /// A resource, and what it is called outside: `postgres#web.db=shop-db`; for a module the file of its state
        #[arg(value_name = "RESOURCE=NAME", value_parser = pair, required_unless_present = "all")]
        pairs: Vec<(String, String)>,
        /// Everything that the plan would make and that exists already
        #[arg(long, conflicts_with = "pairs")]
        all: bool,
        /// A Score file, a folder, or an Application document; what was deployed last if nothing is said
        #[arg(long, value_name = "PATH")]
        path: Option<PathBuf>,
        #[command(flatten)]
        planning: Planning,
        #[command(flatten)]
        applying: Applying,
    },
    /// Let go of what a resource left behind: it stays as it is, and is nobody's
    Release {
        /// The resource: `postgres#web.db`
        resource: String,
        #[command(flatten)]
        environment: Environment,
    },
    /// Tell what blocks the removal of a resource or an environment, and what would be lost; ends with 5 if something does
    Deletable {
        /// The resource: `postgres#web.db` [default: the whole environment]
        resource: Option<String>,
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        output: Output,
    },
    /// Secrets of an environment
    #[command(subcommand)]
    Secret(Secret),
    /// Driver components
    #[command(subcommand)]
    Driver(Driver),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write man pages to a folder
    Man {
        /// The folder
        dir: PathBuf,
    },
    /// Plan from standard input to standard output, in a process that owns nothing
    #[command(hide = true)]
    PlanWorker,
    /// Let the kernel confine this process, and become a program
    #[command(hide = true)]
    Confined {
        /// What the process may touch, in JSON
        request: String,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Inspect, compile and describe the component on standard input, in a process with limits
    #[command(hide = true)]
    AdmitComponent {
        #[arg(long)]
        scarce: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    Svg,
    Dot,
    Mermaid,
    Json,
}
