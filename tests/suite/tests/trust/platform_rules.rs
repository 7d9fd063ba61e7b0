//! Platform rules: connections, references, rights and names.

mod connections;
mod growth;
mod host_access;
mod references;
mod rollback;
mod secret_paths;
