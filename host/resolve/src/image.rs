//! References of images.

use std::net::Ipv6Addr;

use windlass_model::{Diagnostic, pointer, score::Workload};

/// The longest name that registries take.
const NAME_CHARS_MAX: usize = 255;
/// The longest tag.
const TAG_CHARS_MAX: usize = 128;

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

/// The grammar of the distribution specification; its library's expressions take half of a cold start to compile.
fn is_reference(image: &str) -> bool {
    let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
    // A colon behind the last slash begins a tag, one before it a port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        Some(_) | None => (rest, None),
    };
    let is_path = |path: &str| path.split('/').all(is_component);
    let is_name = is_path(name) || name.split_once('/').is_some_and(|(host, path)| is_host(host) && is_path(path));
    is_name && name.len() <= NAME_CHARS_MAX && tag.is_none_or(is_tag) && digest.is_none_or(is_digest)
}

/// Words of lower case, with `.`, `_`, `__` or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| is_word(*b))
        && bytes.last().is_some_and(|b| is_word(*b))
        && bytes.split(|b| is_word(*b)).all(|between| matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-'))
}

fn is_host(text: &str) -> bool {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return address.parse::<Ipv6Addr>().is_ok() && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        let is_inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    name.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let is_inside = text.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'));
    text.len() <= TAG_CHARS_MAX && text.bytes().next().is_some_and(is_word) && is_inside
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let known = matches!((algorithm, digits.len()), ("sha256", 64) | ("sha384", 96) | ("sha512", 128));
    known && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use oci_spec::distribution::Reference;

    use super::*;

    #[test]
    fn references_are_told_from_typing_errors() {
        let digest = format!("@sha256:{}", "0a".repeat(32));
        for good in ["nginx", "nginx:1.27", "ghcr.io/acme/web:1", "host:5000/a/b_c__d:x", "REG.example.org/a", "[::1]:5000/a:1", "[::1]/a"]
        {
            assert!(is_reference(good) && is_reference(&format!("{good}{digest}")), "{good}");
        }
        for bad in ["", "NGINX:1", "a b", "nginx:", "nginx:${TAG}", "nginx@sha256:0a", "[::g]/a", "[::1]x/a", "https://ghcr.io/acme/web:1"]
        {
            assert!(!is_reference(bad), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_library_says_the_same(
            name in "[aB0]([aB0.:/_-]{0,12}[a0])?",
            tag in "(:[aB0_.-]{0,4}){0,2}",
            digest in "(@sha(256|384|512|7):[0aF]{0,3})?",
            repeated in 0..65_usize,
        ) {
            let image = format!("{name}{tag}{digest}{}", if digest.is_empty() { String::new() } else { "a".repeat(repeated) });
            proptest::prop_assert_eq!(is_reference(&image), image.parse::<Reference>().is_ok(), "{}", image);
        }
    }
}
