//! Every kept input of every target is read again.

use std::{
    fs,
    time::{Duration, Instant},
};

/// An input that takes longer, even unoptimised and beside other tests, points at a cost that grows faster than the input.
const TIME_MAX: Duration = Duration::from_secs(10);

#[test]
fn no_kept_input_breaks_its_target() {
    for (name, target) in windlass_fuzz::TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(windlass_fuzz::corpus(name)).unwrap() {
            let path = entry.unwrap().path();
            let started = Instant::now();
            target(&fs::read(&path).unwrap());
            assert!(started.elapsed() < TIME_MAX, "{} takes {:?}", path.display(), started.elapsed());
            count += 1;
        }
        assert!(count > 0, "the target {name} has no corpus");
    }
}

#[test]
fn no_small_change_of_a_kept_input_breaks_its_target() {
    for (name, target) in windlass_fuzz::TARGETS {
        for entry in fs::read_dir(windlass_fuzz::corpus(name)).unwrap().take(20) {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            for at in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
                target(bytes.get(..at).unwrap());
                let mut changed = bytes.clone();
                for change in [0x00, 0xFF, b'{', b'"'] {
                    *changed.get_mut(at).unwrap() = change;
                    target(&changed);
                }
            }
        }
    }
}
