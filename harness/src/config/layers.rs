//! Layers of settings: the base tables, a preset, the command line. Each is a flat map from dotted key to value and
//! place, so that merging is replacing, and what a later layer may say is what the base says: same key, same type.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::recipe::EPOCHS;
use super::report::{ConfigError, Problem};
use crate::experiments::Experiment;
use crate::nearest::{UnknownName, nearest};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    pub(crate) value: Value,
    pub(crate) place: String,
}

/// Values by dotted key. Tables are not leaves: an empty one leaves no trace.
pub(crate) type Leaves = BTreeMap<String, Leaf>;

/// A setting from the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    key: String,
    value: Value,
    place: String,
}

impl Override {
    /// The override of an option such as `--seeds 3`, which sets `key`.
    pub fn option(option: &str, key: &str, value: impl Into<Value>) -> Self {
        Self { key: key.to_owned(), value: value.into(), place: option.to_owned() }
    }

    /// The key that it sets.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The text of `--set` that this came from, if any.
    pub fn set_text(&self) -> Option<&str> {
        self.place.strip_prefix("--set ")
    }

    /// Parses `key=value` of `--set`. The value is TOML; what is not TOML is taken as a string.
    ///
    /// # Errors
    /// Where there is no `=` or no key before it.
    pub fn set(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').unwrap_or_default();
        let key = key.trim();
        if key.is_empty() {
            return Err(format!("expected key=value, such as teacher.lr=0.05, found `{text}`"));
        }
        let parsed = format!("value = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("value"));
        let value = parsed.unwrap_or_else(|| Value::String(value.trim().to_owned()));
        Ok(Self { key: key.to_owned(), value, place: format!("--set {text}") })
    }
}

/// A parsed experiment file.
pub(crate) struct File {
    experiment: String,
    default_preset: String,
    base: Leaves,
    presets: BTreeMap<String, Leaves>,
    problems: Vec<Problem>,
}

/// The merged layers, and what could not be merged.
pub(crate) struct Merged {
    pub(crate) leaves: Leaves,
    pub(crate) problems: Vec<Problem>,
}

impl File {
    /// Parses the text of an experiment.
    pub(crate) fn parse(experiment: &Experiment) -> anyhow::Result<Self> {
        let place = |at: usize| {
            let line = experiment.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            format!("{}:{line}", experiment.path)
        };
        let (spans, errors) = DeTable::parse_recoverable(&experiment.text);
        if !errors.is_empty() {
            let problem = |error: &toml::de::Error| Problem {
                place: place(error.span().map_or(0, |span| span.start)),
                message: error.message().to_owned(),
            };
            let problems = errors.iter().map(problem).collect();
            let (experiment, preset) = (experiment.name.clone(), "any".to_owned());
            return Err(ConfigError { experiment, preset, problems }.into());
        }
        let values: Table = experiment.text.parse()?;
        let mut leaves = Leaves::new();
        collect("", &values, Some(spans.get_ref()), &place, &mut leaves);

        let mut presets = BTreeMap::new();
        if let Some(Value::Table(tables)) = values.get("presets") {
            for name in tables.keys() {
                let prefix = format!("presets.{name}.");
                let own = leaves
                    .iter()
                    .filter_map(|(key, leaf)| Some((key.strip_prefix(&prefix)?.to_owned(), leaf.clone())));
                presets.insert(name.clone(), own.collect());
            }
        }
        let default_preset = match leaves.remove("default_preset").map(|leaf| leaf.value) {
            Some(Value::String(name)) if presets.contains_key(&name) => name,
            _ => {
                let named: Vec<&str> = presets.keys().map(String::as_str).collect();
                let which = match named[..] {
                    [] => "it has none: begin with a copy of one of harness/experiments".to_owned(),
                    _ => format!("which are {}", named.join(", ")),
                };
                let message = format!("`default_preset` must name one of the file's presets, {which}");
                let problems = vec![Problem { place: experiment.path.clone(), message }];
                let (experiment, preset) = (experiment.name.clone(), "any".to_owned());
                return Err(ConfigError { experiment, preset, problems }.into());
            }
        };
        leaves.retain(|key, _| !key.starts_with("presets."));
        let (experiment, base) = (experiment.name.clone(), leaves);
        Ok(Self { experiment, default_preset, base, presets, problems: Vec::new() })
    }

    /// Holds the base tables to the keys and types of another file's, whose values stand in for wrong ones so that the
    /// rest can be checked. The methods' settings are each file's own: the methods check them.
    pub(crate) fn conform(&mut self, schema: &Self, path: &str) {
        for (key, leaf) in std::mem::take(&mut self.base) {
            let place = leaf.place.clone();
            let result = if is_of_a_method(&key) { Ok(leaf.value) } else { schema.accept(&key, leaf.value) };
            match (result, schema.base.get(&key)) {
                (Ok(value), _) => drop(self.base.insert(key, Leaf { value, place })),
                (Err(message), stand_in) => {
                    self.problems.push(Problem { place, message });
                    self.base.extend(stand_in.map(|leaf| (key, leaf.clone())));
                }
            }
        }
        for (key, leaf) in schema.base.iter().filter(|(key, _)| !is_of_a_method(key)) {
            if !self.base.contains_key(key) {
                let message = format!("key `{key}` is missing, such as {key} = {}", leaf.value);
                self.problems.push(Problem { place: path.to_owned(), message });
                self.base.insert(key.clone(), leaf.clone());
            }
        }
    }

    /// The names of the presets, the default one first.
    pub(crate) fn presets(&self) -> Vec<String> {
        let others = self.presets.keys().filter(|name| **name != self.default_preset).cloned();
        std::iter::once(self.default_preset.clone()).chain(others).collect()
    }

    /// The preset's name, checked; the default one where none is asked for.
    pub(crate) fn preset(&self, name: Option<&str>) -> Result<String, UnknownName> {
        match name {
            None => Ok(self.default_preset.clone()),
            Some(name) if self.presets.contains_key(name) => Ok(name.to_owned()),
            Some(name) => Err(UnknownName::new("preset", name, self.presets())),
        }
    }

    /// Base, then preset, then the command line.
    pub(crate) fn merge(&self, preset: &str, overrides: &[Override]) -> Merged {
        let mut merged = Merged { leaves: self.base.clone(), problems: self.problems.clone() };
        for (key, leaf) in self.presets.get(preset).into_iter().flatten() {
            self.replace(&mut merged, key, leaf.clone());
        }
        for Override { key, value, place } in overrides {
            // A table on the command line is merged key by key, like one in a file.
            let mut leaves = Leaves::new();
            match value {
                Value::Table(table) => collect(key, table, None, &|_| place.clone(), &mut leaves),
                _ => drop(leaves.insert(key.clone(), Leaf { value: value.clone(), place: place.clone() })),
            }
            for (key, leaf) in leaves {
                self.replace(&mut merged, &key, leaf);
            }
        }
        merged
    }

    fn replace(&self, merged: &mut Merged, key: &str, leaf: Leaf) {
        let place = leaf.place;
        match self.accept(key, leaf.value) {
            Ok(value) => drop(merged.leaves.insert(key.to_owned(), Leaf { value, place })),
            Err(message) => merged.problems.push(Problem { place, message }),
        }
    }

    /// `value` in the type that `key` has, or what is wrong.
    fn accept(&self, key: &str, value: Value) -> Result<Value, String> {
        let Some(base) = self.base.get(key).or_else(|| self.base.get(&model(key)?)) else {
            return Err(self.unknown_key(key));
        };
        let value = convert(value, &base.value).map_err(|why| format!("`{key}` {why}"))?;
        // What a method's settings may be, it says itself.
        if !is_of_a_method(key) {
            fits(&value, &base.value).map_err(|why| format!("`{key}` {why}"))?;
        }
        Ok(value)
    }

    fn unknown_key(&self, key: &str) -> String {
        let recipe = key.strip_prefix("recipe.").and_then(|rest| rest.split('.').next());
        let own = self
            .base
            .keys()
            .filter_map(|known| Some(format!("recipe.{}.{}", recipe?, known.strip_prefix("student.")?)));
        let known: Vec<String> = self.base.keys().cloned().chain(own).collect();
        let below = format!("{key}.");
        let keys: Vec<&str> = known.iter().filter_map(|known| known.strip_prefix(&below)).collect();
        if !keys.is_empty() {
            return format!("`{key}` is a table; set one of its keys ({})", keys.join(", "));
        }
        if key == "preset" {
            return "`preset` is no key of an experiment: name it by --preset".to_owned();
        }
        let method = key.strip_prefix("method.").and_then(|rest| rest.split('.').next());
        if let Some(method) = method.filter(|name| methods::find(name).is_some())
            && !known.iter().any(|known| known.starts_with(&format!("method.{method}.")))
        {
            return format!(
                "{} has no table [method.{method}]: add it to a copy of its file, and name that",
                self.experiment
            );
        }
        match nearest(key, known.iter().map(String::as_str)) {
            Some(best) => format!("unknown key `{key}`; did you mean `{best}`?"),
            None => format!("unknown key `{key}` in experiment {}", self.experiment),
        }
    }
}

/// The key of the base tables whose type a key has that need not be among them: a method's own recipe has the keys of a
/// student's, and [`EPOCHS`] is a number of epochs.
fn model(key: &str) -> Option<String> {
    if key == EPOCHS {
        return Some("teacher.epochs".to_owned());
    }
    let (_, setting) = key.strip_prefix("recipe.")?.split_once('.')?;
    Some(format!("student.{setting}"))
}

/// `value` as the type of `base`: an integer may stand for a float, an array's elements follow the base's first one.
fn convert(value: Value, base: &Value) -> Result<Value, String> {
    match (value, base) {
        (Value::Integer(number), Value::Float(_)) => Ok(Value::Float(number as f64)),
        (Value::Array(values), Value::Array(bases)) => match bases.first() {
            Some(first) => values
                .into_iter()
                .map(|value| convert(value, first))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            None => Ok(Value::Array(values)),
        },
        (value, base) if value.same_type(base) => Ok(value),
        (value, base) => Err(format!(
            "must be {} such as {base}, found {} {value}",
            article(base.type_str()),
            article(value.type_str())
        )),
    }
}

/// Whether a converted `value` is one that the configuration has room for: its integers are counts, from 0, and its arrays
/// of numbers have the base's length.
fn fits(value: &Value, base: &Value) -> Result<(), String> {
    match (value, base) {
        (Value::Integer(number), _) if *number < 0 => Err(format!("must be 0 or more, found {number}")),
        (Value::Array(values), Value::Array(bases)) if bases.iter().any(Value::is_integer) => {
            if values.len() != bases.len() {
                let (length, found) = (bases.len(), values.len());
                return Err(format!("must have {length} values, such as {base}, found {found}"));
            }
            values.iter().zip(bases).try_for_each(|(value, base)| fits(value, base))
        }
        _ => Ok(()),
    }
}

/// Whether a key is one of a method's own settings.
fn is_of_a_method(key: &str) -> bool {
    key.starts_with("method.")
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// Adds the leaves of `table` under `prefix`. `spans` is the same table with positions, where it comes from a file.
fn collect(
    prefix: &str,
    table: &Table,
    spans: Option<&DeTable<'_>>,
    place: &impl Fn(usize) -> String,
    leaves: &mut Leaves,
) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let at = spans.and_then(|table| table.iter().find(|(spanned, _)| spanned.get_ref().as_ref() == name));
        match value {
            Value::Table(inner) => {
                let spans = match at.map(|(_, value)| value.get_ref()) {
                    Some(DeValue::Table(spans)) => Some(spans),
                    _ => None,
                };
                collect(&key, inner, spans, place, leaves);
            }
            _ => {
                let place = place(at.map_or(0, |(spanned, _)| spanned.span().start));
                leaves.insert(key, Leaf { value: value.clone(), place });
            }
        }
    }
}

/// The values of a table by dotted key.
pub(crate) fn flatten(table: &Table) -> BTreeMap<String, Value> {
    let mut leaves = Leaves::new();
    collect("", table, None, &|_| String::new(), &mut leaves);
    leaves.into_iter().map(|(key, leaf)| (key, leaf.value)).collect()
}

/// The nested table of flat leaves.
pub(crate) fn table(leaves: &Leaves) -> Table {
    let mut root = Table::new();
    for (key, leaf) in leaves {
        insert(&mut root, key, leaf.value.clone());
    }
    root
}

fn insert(table: &mut Table, key: &str, value: Value) {
    let Some((first, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    // The base has no key that is both a value and a table, and later layers use only its keys.
    let below = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(below) = below {
        insert(below, rest, value);
    }
}
