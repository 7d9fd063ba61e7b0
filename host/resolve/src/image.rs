//! References of images.

use std::net::Ipv6Addr;

use oci_spec::distribution::Reference;
use windlass_model::{Diagnostic, pointer, score::Workload};

/// Warns of images that no cluster takes: they stay as typed, for whoever fills them in later, and a kubelet would refuse them long
/// after the deployment.
#[must_use]
pub fn unusable_images(workload: &Workload) -> Vec<Diagnostic> {
    let unusable = workload.containers.iter().filter(|(_, container)| !is_reference(&container.image));
    unusable
        .map(|(name, container)| {
            Diagnostic::warning("image", format!("container `{name}` has the image `{}`, which no cluster takes", container.image))
                .at(format!("/containers/{}/image", pointer::escape(name)))
                .hint("it is [HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]; placeholders do nothing here")
        })
        .collect()
}

fn is_reference(image: &str) -> bool {
    let is_address = |host: &str| host.parse::<Ipv6Addr>().is_ok();
    // The library knows no IPv6 addresses.
    match image.strip_prefix('[').and_then(|image| image.split_once(']')).filter(|(host, _)| is_address(host)) {
        Some((_, rest)) => format!("localhost{rest}").parse::<Reference>().is_ok(),
        None => image.parse::<Reference>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_typing_errors() {
        let digest = format!("@sha256:{}", "0a".repeat(32));
        for good in ["nginx", "nginx:1.27", "ghcr.io/acme/web:1", "host:5000/a/b_c__d:x", "REG.example.org/a", "[::1]:5000/a:1"] {
            assert!(is_reference(good) && is_reference(&format!("{good}{digest}")), "{good}");
        }
        for bad in ["", "NGINX:1", "a b", "nginx:", "nginx:${TAG}", "nginx@sha256:0a", "[::g]/a", "https://ghcr.io/acme/web:1"] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}
