//! Commands about one thing: `platform`, `env`, `secret`, `driver`.

use std::path::PathBuf;

use clap::Subcommand;
use windlass_model::name::{ApplicationName, EnvironmentName, EnvironmentTypeName};

use super::{Environment, Output};

#[derive(Debug, Subcommand)]
pub(crate) enum Platform {
    /// Store platform documents; they apply to every environment from now on
    Apply {
        /// The folder; it replaces what was stored
        dir: PathBuf,
    },
    /// List documents of all layers
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show a document, with its file and its component's source
    Show {
        /// KIND/NAME or NAME
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Show which stored environments would change, and how, before anything is stored
    Diff {
        /// The folder
        dir: PathBuf,
        /// Only these environments
        #[arg(short, long, value_name = "NAME")]
        env: Vec<EnvironmentName>,
        #[command(flatten)]
        output: Output,
        /// End with 2 if something would change
        #[arg(long)]
        detailed_exitcode: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Env {
    /// Make an environment
    Create {
        /// Its name
        name: EnvironmentName,
        /// Its type
        #[arg(long, value_name = "TYPE")]
        r#type: EnvironmentTypeName,
        /// The application [default: that of the folder at hand]
        #[arg(long, value_name = "NAME")]
        app: Option<ApplicationName>,
    },
    /// List environments
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Forget an environment that was destroyed, with its history and secrets
    Rm {
        #[command(flatten)]
        environment: Environment,
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Show an environment: what exists by our doing
    Show {
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Store a value: the bytes of standard input as they are, or a line typed on a terminal and not shown
    Set {
        /// Its name: workloads read it as ${resources.env.NAME}
        name: String,
        /// Drop line breaks at the end of standard input, as `echo` and editors add them
        #[arg(long)]
        trim: bool,
        #[command(flatten)]
        environment: Environment,
    },
    /// List names and versions, never values
    List {
        #[command(flatten)]
        environment: Environment,
        #[command(flatten)]
        output: Output,
    },
    /// Forget a value; asks if something that is deployed was made of it
    Rm {
        /// Its name
        name: String,
        #[command(flatten)]
        environment: Environment,
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Driver {
    /// Show a component's world, privileges, schemas, digest, size, source and revision
    Inspect {
        /// The component, or the name of a built-in one
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}
