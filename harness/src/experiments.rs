//! The experiments that the binary carries, one TOML per table of the paper, and those that a user writes.

use std::path::Path;

use crate::cli::WrongOptions;
use crate::nearest::UnknownName;

/// An experiment file: its name, where it is, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    /// The file's name without `.toml`; the records' folder begins with it.
    pub name: String,
    /// The path that error messages show.
    pub path: String,
    /// The TOML text.
    pub text: String,
}

/// The built-in experiments: name, path in the repository, text.
const BUILT_IN: [(&str, &str, &str); 4] = [
    ("quick", "harness/experiments/quick.toml", include_str!("../experiments/quick.toml")),
    ("cifar10", "harness/experiments/cifar10.toml", include_str!("../experiments/cifar10.toml")),
    ("cifar100", "harness/experiments/cifar100.toml", include_str!("../experiments/cifar100.toml")),
    (
        "tiny-imagenet",
        "harness/experiments/tiny-imagenet.toml",
        include_str!("../experiments/tiny-imagenet.toml"),
    ),
];

impl Experiment {
    /// The built-in experiments, the quickest first.
    pub fn built_in() -> Vec<Self> {
        let owned = |&(name, path, text): &(&str, &str, &str)| Self {
            name: name.to_owned(),
            path: path.to_owned(),
            text: text.to_owned(),
        };
        BUILT_IN.iter().map(owned).collect()
    }

    /// The experiment that sets the keys and types that every other experiment follows.
    pub(crate) fn schema() -> Self {
        let (name, path, text) = BUILT_IN[0];
        Self { name: name.to_owned(), path: path.to_owned(), text: text.to_owned() }
    }

    /// The built-in experiment `name`, or the file where `name` ends in `.toml`.
    ///
    /// # Errors
    /// An unknown name (with the nearest one), or a file that cannot be read.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        let path = Path::new(name);
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(path)
                .map_err(|error| WrongOptions(format!("cannot read experiment {name}: {error}")))?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Self { name: stem, path: name.to_owned(), text });
        }
        let file = format!("{name}.toml");
        if Path::new(&file).is_file() && Self::built_in().iter().all(|experiment| experiment.name != name) {
            let what = format!("no experiment is named {name}; did you mean the file {file}?");
            return Err(WrongOptions(what).into());
        }
        let known = || BUILT_IN.iter().map(|(name, ..)| *name);
        Self::built_in()
            .into_iter()
            .find(|experiment| experiment.name == name)
            .ok_or_else(|| UnknownName::new("experiment", name, known()).into())
    }

    /// The experiment's presets, the default one first.
    pub fn presets(&self) -> anyhow::Result<Vec<String>> {
        crate::config::presets(self)
    }
}
