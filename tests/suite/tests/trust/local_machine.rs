//! The local machine: terminals, caches, the data folder and the process itself.
