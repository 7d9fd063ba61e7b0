//! Clusters of EKS.
