//! Paths of secrets.

/// Splits a path into mount and rest.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let (mount, rest) = path.split_once('/')?;
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    (plain(mount) && rest.split('/').all(plain)).then_some((mount, rest))
}
