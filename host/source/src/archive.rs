//! ZIP archives from elsewhere: unpacked within bounds, regular files and folders only, and never outside of the folder.

use std::{
    fs::{self, File},
    io::{Cursor, Read as _, Write as _},
    path::{Component, Path, PathBuf},
};

use windlass_model::limits;

/// What an archive may grow to; tests use smaller numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Entries, folders included.
    pub entries_max: usize,
    /// Bytes of all files together.
    pub unpacked_bytes_max: u64,
    /// How many bytes one byte of the archive may become.
    pub expansion_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            entries_max: limits::ARCHIVE_ENTRIES_MAX,
            unpacked_bytes_max: limits::ARCHIVE_UNPACKED_BYTES_MAX,
            expansion_max: limits::ARCHIVE_EXPANSION_MAX,
        }
    }
}

/// Unpacks regular files and folders into an empty folder. An archive with any other entry is refused.
///
/// # Errors
///
/// The reason, for people: which entry, and which limit.
pub(crate) fn unpack(archive: &[u8], into: &Path, bounds: Bounds) -> Result<(), String> {
    let expanded_max = (archive.len() as u64).saturating_mul(bounds.expansion_max);
    let broken = |error: zip::result::ZipError| format!("its archive can't be read: {error}");
    let declared = declared_entries(archive);
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).map_err(broken)?;
    if archive.len() > bounds.entries_max {
        return Err(format!("its archive has {} entries; {} are allowed", archive.len(), bounds.entries_max));
    }
    // Of two entries of one name each program reads another one.
    if declared.is_some_and(|declared| declared != archive.len()) {
        return Err("its archive has two entries of one name".to_owned());
    }

    let mut unpacked = 0;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let path = into.join(relative(&name).ok_or_else(|| format!("its archive has `{name}`, which leaves the folder"))?);
        let failed = |error: std::io::Error| format!("`{name}` of its archive can't be unpacked: {error}");
        if entry.is_dir() {
            fs::create_dir_all(&path).map_err(failed)?;
            continue;
        }
        if !entry.is_file() {
            return Err(format!("its archive has `{name}`, which is no regular file"));
        }

        let mut content = Vec::new();
        let left = bounds.unpacked_bytes_max.min(expanded_max) - unpacked;
        unpacked += entry.by_ref().take(left + 1).read_to_end(&mut content).map_err(failed)? as u64;
        if unpacked > bounds.unpacked_bytes_max {
            return Err(format!("its archive holds more than {} bytes", bounds.unpacked_bytes_max));
        }
        if unpacked > expanded_max {
            return Err(format!("its archive grows to more than {} times its size", bounds.expansion_max));
        }
        write(&path, &content).map_err(failed)?;
    }
    Ok(())
}

/// Returns how many entries the end of an archive declares: the reader keeps one of each name.
fn declared_entries(archive: &[u8]) -> Option<usize> {
    const END: &[u8] = b"PK\x05\x06";
    /// Where the number stands behind the signature.
    const COUNT: usize = 10;
    let at = archive.windows(END.len()).rposition(|bytes| bytes == END)?;
    let count = archive.get(at + COUNT..at + COUNT + 2)?;
    Some(usize::from(u16::from_le_bytes(count.try_into().ok()?)))
}

/// Returns the path that a name means below a folder. `None`: it is absolute, leaves the folder, or means different things to
/// different programs.
pub(crate) fn relative(name: &str) -> Option<PathBuf> {
    if name.is_empty() || name.chars().any(|c| c.is_control() || matches!(c, '\\' | ':')) {
        return None;
    }
    let path = Path::new(name);
    path.components().all(|part| matches!(part, Component::Normal(_))).then(|| path.to_owned())
}

/// Writes a file that is not there yet.
fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create_new(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn zipped(write: impl FnOnce(&mut ZipWriter<Cursor<Vec<u8>>>)) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        write(&mut writer);
        writer.finish().unwrap().into_inner()
    }

    fn unpacked_within(bounds: Bounds, archive: &[u8]) -> (tempfile::TempDir, Result<(), String>) {
        let folder = tempfile::tempdir().unwrap();
        let result = unpack(archive, folder.path(), bounds);
        (folder, result)
    }

    fn refused(archive: &[u8]) -> String {
        unpacked_within(Bounds::default(), archive).1.unwrap_err()
    }

    fn with_file(name: &str, content: &[u8]) -> Vec<u8> {
        zipped(|archive| {
            archive.start_file(name, SimpleFileOptions::default()).unwrap();
            archive.write_all(content).unwrap();
        })
    }

    /// Replaces a name by one of the same length, which no writer would write.
    fn renamed(archive: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let mut archive = archive;
        for at in 0..archive.len() - from.len() {
            if archive[at..].starts_with(from.as_bytes()) {
                archive[at..at + to.len()].copy_from_slice(to.as_bytes());
            }
        }
        archive
    }

    #[test]
    fn files_and_folders_are_unpacked() {
        let options = SimpleFileOptions::default();
        let archive = zipped(|archive| {
            archive.add_directory("bucket", options).unwrap();
            archive.start_file("bucket/main.tf", options).unwrap();
            archive.write_all(b"# one").unwrap();
        });
        let (folder, result) = unpacked_within(Bounds::default(), &archive);
        result.unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("bucket/main.tf")).unwrap(), "# one");
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let plain = with_file("abcdefgh.tf", b"x");
        for name in ["../cdefg.tf", "a/../../h.t", "/bcdefgh.tf", "..\\defgh.tf", "C:\\defgh.tf", "abc\ndefg.tf", "abc\0efgh.tf"] {
            let said = refused(&renamed(plain.clone(), "abcdefgh.tf", name));
            assert!(said.contains("leaves the folder"), "{name:?}: {said}");
        }
    }

    #[test]
    fn links_and_second_entries_of_a_name_are_refused() {
        let options = SimpleFileOptions::default();
        let link = refused(&zipped(|archive| archive.add_symlink("main.tf", "/etc/passwd", options).unwrap()));
        assert!(link.contains("no regular file"), "{link}");
        let twice = zipped(|archive| {
            archive.start_file("a.tf", options).unwrap();
            archive.start_file("b.tf", options).unwrap();
        });
        let twice = refused(&renamed(twice, "b.tf", "a.tf"));
        assert!(twice.contains("two entries of one name"), "{twice}");
        let below_a_file = refused(&zipped(|archive| {
            archive.start_file("a", options).unwrap();
            archive.start_file("a/b.tf", options).unwrap();
        }));
        assert!(below_a_file.contains("can't be unpacked"), "{below_a_file}");
    }

    #[test]
    fn entries_are_bounded() {
        let options = SimpleFileOptions::default();
        let many = |count: usize| zipped(|archive| (0..count).for_each(|i| archive.start_file(format!("{i}.tf"), options).unwrap()));
        unpacked_within(Bounds::default(), &many(limits::ARCHIVE_ENTRIES_MAX)).1.unwrap();
        let said = refused(&many(limits::ARCHIVE_ENTRIES_MAX + 1));
        assert!(said.contains(&format!("{} entries", limits::ARCHIVE_ENTRIES_MAX + 1)), "{said}");
    }

    #[test]
    fn unpacked_bytes_are_bounded_whatever_the_headers_say() {
        let bounds = Bounds { unpacked_bytes_max: 1000, ..Bounds::default() };
        unpacked_within(bounds, &with_file("main.tf", &[0; 1000])).1.unwrap();
        let said = unpacked_within(bounds, &with_file("main.tf", &[0; 1001])).1.unwrap_err();
        assert!(said.contains("more than 1000 bytes"), "{said}");
        let (first, second) = ([0; 600], [0; 401]);
        let together = zipped(|archive| {
            for (name, content) in [("a.tf", &first[..]), ("b.tf", &second[..])] {
                archive.start_file(name, SimpleFileOptions::default()).unwrap();
                archive.write_all(content).unwrap();
            }
        });
        assert!(unpacked_within(bounds, &together).1.is_err(), "all files count together");
    }

    #[test]
    fn expansion_is_bounded() {
        let bomb = with_file("main.tf", &vec![0; 1024 * 1024]);
        let ratio = 1024 * 1024 / bomb.len() as u64 + 1;
        unpacked_within(Bounds { expansion_max: ratio, ..Bounds::default() }, &bomb).1.unwrap();
        let said = unpacked_within(Bounds { expansion_max: ratio - 1, ..Bounds::default() }, &bomb).1.unwrap_err();
        assert!(said.contains("times its size"), "{said}");
        assert!(refused(&bomb).contains("times its size"), "a megabyte of zeros is no module");
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        assert!(refused(b"no archive").contains("can't be read"));
        let mut cut = with_file("main.tf", b"# one");
        cut.truncate(cut.len() - 10);
        assert!(refused(&cut).contains("can't be read"));
    }
}
