//! Every sink of Kubernetes objects passes one contract.

use windlass_capability_directory::DirectoryExecutor;
use windlass_suite::{contract, memory::Memory};

#[tokio::test]
async fn memory() {
    contract::check(&Memory::default(), &contract::directory()).await;
}

#[tokio::test]
async fn slow_memory() {
    contract::check(&Memory::slow(3), &contract::directory()).await;
}

#[tokio::test]
async fn directory() {
    let folder = tempfile::tempdir().unwrap();
    contract::check(&DirectoryExecutor::new(folder.path()), &contract::directory()).await;
    let left: Vec<_> = std::fs::read_dir(folder.path().join("manifests/shop/dev"))
        .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "nothing is left behind: {left:?}");
}
