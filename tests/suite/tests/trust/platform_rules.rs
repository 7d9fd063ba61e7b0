//! Platform rules: connections, references, rights and names.
