//! The local machine: terminals, caches, the data folder and the process itself.

mod address_space;
mod data_folder;
mod terminal;
