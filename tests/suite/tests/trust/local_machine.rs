//! The local machine: terminals, caches, the data folder and the process itself.

mod data_folder;
mod terminal;
