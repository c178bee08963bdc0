//! An analysis as a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::names::{Direction, Set, Space};
use super::place::row_and_seed;
use super::tensors::{Stored, Written};
use super::{
    Against, Analysis, Cost, Curve, Diversity, Estimator, JacobianMatch, Match, MatchError, Matrix,
    Remainder, Transfer,
};
use crate::{Error, Result};

/// The key of the header in the file's metadata.
const HEADER: &str = "divkd.analysis";

/// Version of the layout; a file of another one is not read.
const VERSION: u32 = 1;

/// What is not an array: TOML text in the file's metadata.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    row: String,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    training_norm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimator: Option<Estimator>,
    cost: Cost,
    models: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    perturbations: BTreeMap<String, toml::Table>,
}

impl Analysis {
    /// Writes the analysis to `path` ([`path()`](super::path)), in one rename. Equal analyses are equal bytes. An
    /// existing file is replaced: that none is there is for the caller to know.
    ///
    /// # Errors
    /// Where arrays do not have the shapes of the layout, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = self.bytes(path)?;
        // What cannot be read back is not written.
        Self::from_bytes(path, &bytes)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let draft = path.with_file_name(format!(".tmp-{name}"));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        File::create(&draft)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .map_err(Error::io("write", &draft))
            .and_then(|()| fs::rename(&draft, path).map_err(Error::io("rename the draft to", path)))
            .inspect_err(|_| {
                // On a full disk half a file only takes space.
                let _ = fs::remove_file(&draft);
            })
    }

    /// Reads an analysis.
    ///
    /// # Errors
    /// Where the file cannot be read, is of another layout or version, names another row or seed than the file's name,
    /// lacks a tensor, or a tensor has another type, another shape or values that are not finite (Jacobian distances
    /// and cosines may be NaN).
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_bytes(path, &fs::read(path).map_err(Error::io("read", path))?)
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let mut tensors = Written::default();
        for (set, diversity) in &self.diversity {
            tensors.vector(format!("diversity.{}.confidence", set.name()), &diversity.confidence);
            tensors.vector(format!("diversity.{}.kl", set.name()), &diversity.kl);
        }
        if let Some(confidence) = &self.confidence {
            tensors.matrix("confidence".to_owned(), confidence);
        }
        if let Some(Transfer { values, clean }) = &self.transfer {
            tensors.matrix("transfer".to_owned(), values);
            tensors.vector("transfer.clean".to_owned(), clean);
        }
        if let Some(remainder) = &self.remainder {
            tensors.vector("remainder.norm".to_owned(), &remainder.norm);
            for ((direction, space), curve) in &remainder.curves {
                let name = format!("remainder.{}.{}", direction.name(), space.name());
                tensors.matrix(format!("{name}.change"), &curve.change);
                tensors.matrix(format!("{name}.rest"), &curve.rest);
            }
        }
        if let Some(jacobian) = &self.jacobian {
            tensors.indices("jacobian.examples".to_owned(), &jacobian.examples);
            for (space, found) in &jacobian.spaces {
                let name = format!("jacobian.{}", space.name());
                tensors.matrix(format!("{name}.distance"), &found.distance);
                tensors.matrix(format!("{name}.cosine"), &found.cosine);
                if let Some(error) = &found.error {
                    tensors.matrix(format!("{name}.distance.error"), &error.distance);
                    tensors.matrix(format!("{name}.cosine.error"), &error.cosine);
                }
            }
        }
        let header = Header {
            version: VERSION,
            row: self.row.clone(),
            seed: self.seed,
            training_norm: self.remainder.as_ref().map(|remainder| remainder.training_norm),
            against: self.jacobian.as_ref().map(|jacobian| jacobian.against),
            estimator: self.jacobian.as_ref().map(|jacobian| jacobian.estimator),
            cost: self.cost,
            models: self.models.clone(),
            perturbations: self.perturbations.clone(),
        };
        let header =
            toml::to_string(&header).map_err(|source| Error::Encode { path: path.to_owned(), source })?;
        tensors
            .serialize(HEADER, header)
            .map_err(|source| Error::Safetensors { path: path.to_owned(), source })
    }

    fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let header = header(path, bytes)?;
        let stored = Stored::open(path, bytes)?;
        Ok(Self {
            diversity: diversity(&stored)?,
            confidence: confidence(&stored)?,
            transfer: transfer(&stored)?,
            remainder: header.training_norm.map(|norm| remainder(&stored, norm)).transpose()?,
            jacobian: header
                .against
                .zip(header.estimator)
                .map(|(against, estimator)| jacobian(&stored, against, estimator))
                .transpose()?,
            row: header.row,
            seed: header.seed,
            cost: header.cost,
            models: header.models,
            perturbations: header.perturbations,
        })
    }
}

fn header(path: &Path, bytes: &[u8]) -> Result<Header> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)
        .map_err(|source| Error::Safetensors { path: path.to_owned(), source })?;
    let text = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER));
    let wrong = |key, expected: &str, found: &str, advice| Error::Mismatch {
        path: path.to_owned(),
        key,
        expected: expected.to_owned(),
        found: found.to_owned(),
        advice,
    };
    let again = "remove the file; `divkd reproduce` or `divkd analyze` makes it again";
    let Some(text) = text else { return Err(wrong("metadata", HEADER, "none of this name", again)) };
    let invalid = |source| Error::Toml {
        what: "analysis file: its header is damaged",
        path: path.to_owned(),
        source: Box::new(source),
    };
    let table: toml::Table = toml::from_str(text).map_err(invalid)?;
    let version = table.get("version").map(ToString::to_string).unwrap_or_default();
    if version != VERSION.to_string() {
        return Err(wrong("version of the layout", &VERSION.to_string(), &version, again));
    }
    let header: Header = table.try_into().map_err(invalid)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if row_and_seed(&name) != Some((header.row.as_str(), header.seed)) {
        let own = format!("{}.seed-{}.safetensors", header.row, header.seed);
        return Err(wrong("name", &own, &name, "the file was renamed: give it back its name"));
    }
    Ok(header)
}

fn diversity(stored: &Stored<'_>) -> Result<BTreeMap<Set, Diversity>> {
    let mut sets = BTreeMap::new();
    let mut images = None;
    let names = stored.names().filter_map(|name| name.strip_prefix("diversity.")?.strip_suffix(".kl"));
    // In one order, for the first set says how many images there are.
    for set in names.map(Set::named).collect::<BTreeSet<_>>() {
        let name = |what| format!("diversity.{}.{what}", set.name());
        let mut read = |what| {
            let values = finite(stored, &name(what), stored.vector(&name(what))?)?;
            let expected = *images.get_or_insert(values.len());
            if values.len() == expected && expected > 0 {
                Ok(values)
            } else {
                Err(stored.wrong(&name(what), &format!("{} values", expected.max(1)), &values.len()))
            }
        };
        let diversity = Diversity { confidence: read("confidence")?, kl: read("kl")? };
        sets.insert(set, diversity);
    }
    Ok(sets)
}

fn confidence(stored: &Stored<'_>) -> Result<Option<Matrix>> {
    if !stored.has("confidence") {
        return Ok(None);
    }
    let values = stored.matrix("confidence", None)?;
    check_finite(stored, "confidence", values.values())?;
    Ok(Some(values))
}

fn transfer(stored: &Stored<'_>) -> Result<Option<Transfer>> {
    if !stored.has("transfer") {
        return Ok(None);
    }
    let clean = finite(stored, "transfer.clean", stored.vector("transfer.clean")?)?;
    let values = stored.matrix("transfer", Some((clean.len(), clean.len())))?;
    check_finite(stored, "transfer", values.values())?;
    Ok(Some(Transfer { values, clean }))
}

fn remainder(stored: &Stored<'_>, training_norm: f64) -> Result<Remainder> {
    let norm = finite(stored, "remainder.norm", stored.vector("remainder.norm")?)?;
    let mut curves = BTreeMap::new();
    let mut pairs = None;
    for direction in Direction::ALL {
        for space in Space::ALL {
            let mut read = |what| {
                let name = format!("remainder.{}.{}.{what}", direction.name(), space.name());
                let shape = pairs.map(|pairs| (norm.len(), pairs));
                let values = stored.matrix(&name, shape)?;
                if values.len() != norm.len() {
                    let expected = format!("{} rows, as remainder.norm has values", norm.len());
                    return Err(stored.wrong(&name, &expected, &values.len()));
                }
                pairs = Some(values.columns());
                check_finite(stored, &name, values.values())?;
                Ok(values)
            };
            curves.insert((direction, space), Curve { change: read("change")?, rest: read("rest")? });
        }
    }
    Ok(Remainder { norm, training_norm, curves })
}

fn jacobian(stored: &Stored<'_>, against: Against, estimator: Estimator) -> Result<JacobianMatch> {
    let examples = stored.indices("jacobian.examples")?;
    let mut spaces = BTreeMap::new();
    let mut members = None;
    for space in Space::ALL {
        let mut read = |what| {
            let name = format!("jacobian.{}.{what}", space.name());
            let values = stored.matrix(&name, members.map(|members| (members, examples.len())))?;
            if values.columns() != examples.len() {
                let expected = format!("{} columns, one for each of jacobian.examples", examples.len());
                return Err(stored.wrong(&name, &expected, &values.columns()));
            }
            if let Some(value) = values.values().iter().find(|value| value.is_infinite()) {
                return Err(stored.wrong(&name, "finite numbers or NaN", value));
            }
            members = Some(values.len());
            Ok(values)
        };
        let (distance, cosine) = (read("distance")?, read("cosine")?);
        let error = match estimator {
            Estimator::Exact => None,
            Estimator::Projections(_) => {
                Some(MatchError { distance: read("distance.error")?, cosine: read("cosine.error")? })
            }
        };
        spaces.insert(space, Match { distance, cosine, error });
    }
    Ok(JacobianMatch { against, estimator, examples, spaces })
}

fn finite(stored: &Stored<'_>, name: &str, values: Vec<f32>) -> Result<Vec<f32>> {
    check_finite(stored, name, &values)?;
    Ok(values)
}

fn check_finite(stored: &Stored<'_>, name: &str, values: &[f32]) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(stored.wrong(name, "finite numbers", value)),
        None => Ok(()),
    }
}
