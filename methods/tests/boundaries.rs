//! What this crate leaves to others.

use std::fs;
use std::path::{Path, PathBuf};

/// The parts of the standard library that reach out of the program.
const OUTSIDE: [&str; 6] = ["std::fs", "std::net", "std::process", "std::env", "std::path", "std::time"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// A method sees batches, networks and draws alone, so that a run depends on nothing else.
#[test]
fn methods_touch_no_file_and_no_network() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 15, "{sources:?}");
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        let found: Vec<&str> = OUTSIDE.into_iter().filter(|module| text.contains(module)).collect();
        assert!(found.is_empty(), "{} uses {found:?}", path.display());
    }
}

/// Draws come from `step.noise` alone: another source would not know the seed or the step, and not the pieces of a batch.
#[test]
fn methods_draw_from_their_step_alone() {
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        if path.ends_with("noise.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let own = ["Streams {", "Stream::new", "Tensor::rand", ".rand_like", ".randn_like", "Var::rand"];
        let found: Vec<&str> = own.into_iter().filter(|word| text.contains(word)).collect();
        assert!(found.is_empty(), "{} draws by {found:?}: take the draws of `step.noise`", path.display());
    }
}
