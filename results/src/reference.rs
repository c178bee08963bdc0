//! Published numbers, embedded in the program: `results/reference/<experiment>.toml`, each with its source.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::dotted::{at, keys};
use crate::{Column, Error, Result, rows};

/// The embedded tables: path in the repository and text.
const EMBEDDED: [(&str, &str); 1] =
    [("results/reference/cifar100.toml", include_str!("../reference/cifar100.toml"))];

/// One published table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The experiment of ours that it belongs to.
    pub experiment: String,
    /// The paper.
    pub paper: String,
    /// Where the numbers were read.
    pub source: String,
    /// Which table it is there.
    pub table: String,
    /// The preset of ours that follows the published protocol.
    pub preset: String,
    /// Members of the published ensembles and students.
    pub members: usize,
    /// Seeds behind each number.
    pub seeds: usize,
    /// The data set, as `data.dataset` of a configuration names it.
    pub dataset: String,
    /// The keys of a configuration that the numbers depend on, each with the value that they were published for.
    pub protocol: toml::Table,
    /// Further keys, which say how the published networks were trained.
    pub recipe: toml::Table,
    /// The rows, by our names.
    pub rows: BTreeMap<String, Published>,
}

/// One published row: numbers as they were printed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    acc: String,
    nll: String,
    bs: String,
    ece: String,
    cnll: String,
    cbs: String,
    cece: String,
}

impl Reference {
    /// Why these numbers cannot stand beside a run of `preset` with the resolved configuration `config`; none where they can.
    /// Other data never do. Another protocol does not under the preset that is named after the published one; under any
    /// other preset a reader is told that nothing can be compared, whatever the network.
    pub fn excludes(&self, preset: &str, config: &toml::Table) -> Option<String> {
        let mut wanted = vec![("data.dataset".to_owned(), toml::Value::from(self.dataset.as_str()))];
        if preset == self.preset {
            keys(&self.protocol, "", &mut wanted);
        }
        let other = |(key, value): &(String, toml::Value)| {
            let own = at(config, key);
            let own = own.map_or_else(|| "does not say".to_owned(), |own| format!("has {own}"));
            format!(
                "The published numbers are of {key} = {value}, and a run of these {own}: they are left out."
            )
        };
        wanted.iter().find(|(key, value)| at(config, key) != Some(value)).map(other)
    }

    /// Where `row`, with the resolved configuration `config`, was trained otherwise than the published networks: a key, our value
    /// and theirs; none where it says nothing else.
    pub fn departs(&self, row: &str, config: &toml::Table) -> Option<String> {
        let mut wanted = Vec::new();
        keys(&self.recipe, "", &mut wanted);
        let is_teacher = rows::teacher_index(row).is_some();
        if !is_teacher && !self.rows.contains_key(row) {
            return None;
        }
        let recipe = format!("recipe.{row}");
        let has_recipe = at(config, &recipe).is_some();
        wanted.retain(|(key, _)| match key.split('.').next().unwrap_or_default() {
            "method" => key.starts_with(&format!("method.{row}.")),
            "student" => !is_teacher,
            _ => true,
        });
        let number = |value: &toml::Value| value.as_float().or(value.as_integer().map(|whole| whole as f64));
        wanted.iter().find_map(|(key, theirs)| {
            let key = match key.strip_prefix("student.") {
                Some(rest) if has_recipe => format!("{recipe}.{rest}"),
                _ => key.clone(),
            };
            let own = at(config, &key)?;
            let is_same = own == theirs || number(own).is_some_and(|own| Some(own) == number(theirs));
            (!is_same).then(|| format!("{key} = {own} where the published ones have {theirs}"))
        })
    }
}

impl Published {
    /// The number in `column` as it was printed, accuracy in percent; none where nothing is published.
    pub fn printed(&self, column: Column) -> Option<&str> {
        match column {
            Column::Acc => Some(&self.acc),
            Column::Nll => Some(&self.nll),
            Column::Bs => Some(&self.bs),
            Column::Ece => Some(&self.ece),
            Column::Cnll => Some(&self.cnll),
            Column::Cbs => Some(&self.cbs),
            Column::Cece => Some(&self.cece),
            Column::Dee | Column::Kld | Column::Dis => None,
        }
    }

    /// The number in `column` in our units: accuracy as a fraction.
    pub fn value(&self, column: Column) -> Option<f64> {
        self.printed(column)?.parse().ok().map(|printed: f64| printed / column.scale())
    }
}

/// The published table for `experiment`, if there is one.
///
/// # Errors
/// Where an embedded table is not valid, which the crate's tests exclude.
pub fn find(experiment: &str) -> Result<Option<Reference>> {
    Ok(all()?.into_iter().find(|reference| reference.experiment == experiment))
}

/// Every published table that the program carries.
///
/// # Errors
/// As [`find`].
pub fn all() -> Result<Vec<Reference>> {
    EMBEDDED.iter().map(|(path, text)| parse(Path::new(path), text)).collect()
}

fn parse(path: &Path, text: &str) -> Result<Reference> {
    toml::from_str(text).map_err(|source| Error::Toml {
        what: "reference table",
        path: path.to_owned(),
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_table_is_complete_and_numeric() {
        for reference in all().unwrap() {
            assert!(!reference.source.is_empty() && reference.seeds >= 1, "{}", reference.experiment);
            for (row, published) in &reference.rows {
                let known = row.starts_with("de-") || rows::STUDENTS.contains(&row.as_str());
                assert!(known, "{row}: no table has this row");
                for column in Column::ALL {
                    assert_eq!(
                        published.printed(column).is_some(),
                        published.value(column).is_some(),
                        "{row}"
                    );
                }
                assert!((0.0..=1.0).contains(&published.value(Column::Acc).unwrap()), "{row}");
            }
        }
        assert_eq!(find("cifar10").unwrap(), None);
    }

    /// The sums of the columns in METHODOLOGY.md's table of published numbers.
    #[test]
    fn cifar100_holds_the_published_columns() {
        let reference = find("cifar100").unwrap().unwrap();
        assert_eq!((reference.rows.len(), reference.members, reference.seeds), (8, 4, 1));
        let sum = |column| reference.rows.values().filter_map(|row| row.value(column)).sum::<f64>();
        for (column, expected) in [
            (Column::Acc, 6.5173),
            (Column::Nll, 5.831),
            (Column::Bs, 2.130),
            (Column::Ece, 0.336),
            (Column::Cnll, 5.682),
            (Column::Cbs, 2.103),
            (Column::Cece, 0.215),
        ] {
            assert!((sum(column) - expected).abs() < 1e-9, "{column:?}: {}", sum(column));
        }
    }

    /// The equivalents that the protocol derives from the published calibrated likelihoods.
    #[test]
    fn published_rows_give_the_protocols_equivalents() {
        let reference = find("cifar100").unwrap().unwrap();
        let cnll = |row: &str| reference.rows[row].value(Column::Cnll).unwrap();
        let curve: Vec<f64> = (1..=4).map(|n| cnll(&rows::ensemble(n))).collect();
        let students = [
            ("be-kd", "1.48"),
            ("be-kd-gaussian", "1.36"),
            ("be-kd-ods", "2.74"),
            ("be-kd-conf-ods", "3.44"),
        ];
        for (row, expected) in students {
            assert_eq!(format!("{:.2}", metrics::dee(&curve, cnll(row)).unwrap().value), expected, "{row}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = parse(Path::new("x.toml"), "experiment = \"a\"\nsede = 1\n").unwrap_err();
        let Error::Toml { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().contains("sede"), "{source}");
    }
}
