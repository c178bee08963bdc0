//! How networks are trained: a recipe for the teachers, one for the students, and one for each method that has its own.

use nn::Schedule;
use nn::schedule::Decay;
use serde::{Deserialize, Serialize};
use toml::Value;

use super::check::MOST_EPOCHS;
use super::layers::{Leaf, Leaves};
use super::{Config, Problem};
use crate::model;
use crate::nearest::UnknownName;

/// The key that changes the epochs of all recipes: it says how many `[teacher]` has.
pub(super) const EPOCHS: &str = "epochs";

/// How a network is trained: a column of the table in METHODOLOGY.md, section "Training".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// B: images a step.
    pub batch: usize,
    /// Base learning rate of the slow weights.
    pub lr: f64,
    /// Base learning rate of the fast weights r and s.
    pub lr_fast: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Weight decay of the slow weights, norms and biases included.
    pub weight_decay: f64,
    /// Weight decay of the fast weights.
    pub weight_decay_fast: f64,
    /// Nesterov's form of the momentum.
    pub nesterov: bool,
    /// The factor on the base rates.
    pub schedule: Schedule,
    /// Validate at epoch 1 and at every multiple of this.
    pub validate_every: usize,
    /// Validate after each of the last epochs, this many.
    pub validate_last: usize,
}

impl RecipeConfig {
    /// Whether `epoch` (from 1) ends with a validation: the first, every `validate_every`-th, and the last ones.
    pub fn validates(&self, epoch: usize) -> bool {
        epoch == 1 || epoch.is_multiple_of(self.validate_every) || epoch + self.validate_last > self.epochs
    }

    /// Steps of one epoch over `rows` images; the last, partial batch counts.
    pub fn steps(&self, rows: usize) -> usize {
        rows.div_ceil(self.batch)
    }

    /// What is counted in epochs.
    fn times(&self) -> impl Iterator<Item = usize> {
        let others = [self.epochs, self.validate_every, self.validate_last];
        others.into_iter().chain(self.schedule.milestones)
    }

    /// Multiplies all times by `ratio`: epochs, milestones, and how often it validates, each at least 1.
    fn scale(&mut self, ratio: f64) {
        let scaled = |count: usize| (count as f64 * ratio).round() as usize;
        self.epochs = scaled(self.epochs).max(1);
        self.validate_every = scaled(self.validate_every).max(1);
        self.validate_last = scaled(self.validate_last).max(1);
        let schedule = &mut self.schedule;
        schedule.milestones = schedule.milestones.map(|milestone| match schedule.decay {
            // Before epoch e, e - 1 are over.
            Decay::Linear => 1 + scaled(milestone.saturating_sub(1)),
            // A warm-up stays one.
            Decay::Cosine => scaled(milestone).max(usize::from(milestone > 0)),
        });
        // A schedule has no fewer than two epochs.
        let [warm, decay, end] = &mut schedule.milestones;
        *end = (*end).max(*decay + 1).min(self.epochs.max(2));
        *decay = (*decay).min(*end - 1);
        *warm = (*warm).min(*decay);
    }
}

/// Gives all recipes the epochs that the key [`EPOCHS`] asks for: `[teacher]` so many, the others in proportion.
pub(super) fn scale(config: &mut Config, epochs: &Leaf) -> Option<Problem> {
    let wanted = epochs.value.as_integer().and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(0);
    if !(1..=MOST_EPOCHS).contains(&wanted) {
        let message = format!("`{EPOCHS}` must be 1 to {MOST_EPOCHS}, found {}", epochs.value);
        return Some(Problem { place: epochs.place.clone(), message });
    }
    // Recipes that are out of range are reported as they are.
    let all = || [&config.teacher, &config.student].into_iter().chain(config.recipe.values());
    if all().all(|recipe| recipe.epochs > 0 && recipe.times().all(|time| time <= MOST_EPOCHS)) {
        let ratio = wanted as f64 / config.teacher.epochs as f64;
        for recipe in [&mut config.teacher, &mut config.student].into_iter().chain(config.recipe.values_mut())
        {
            recipe.scale(ratio);
        }
    }
    None
}

/// The times of recipes that the command line sets one by one though `epochs` scales them all: nobody would get what they asked
/// for.
pub(super) fn scaled(leaves: &Leaves, epochs: &Leaf) -> Vec<Problem> {
    const TIMES: [&str; 4] = ["epochs", "validate_every", "validate_last", "milestones"];
    let is_time = |key: &str| key.rsplit('.').next().is_some_and(|last| TIMES.contains(&last));
    // Where all times get shorter a 1 stays one.
    let shortens =
        leaves.get("teacher.epochs").and_then(|leaf| leaf.value.as_integer()) >= epochs.value.as_integer();
    let stays = |leaf: &Leaf| shortens && leaf.value.as_integer() == Some(1);
    let asked =
        leaves.iter().filter(|(key, leaf)| is_time(key) && leaf.place.starts_with("--set ") && !stays(leaf));
    let problem = |(key, leaf): (&String, &Leaf)| Problem {
        place: leaf.place.clone(),
        message: format!(
            "`{key}` would be scaled by `{EPOCHS} = {}` ({}), as every recipe is: set one of them, or take a preset without \
             `{EPOCHS}`",
            epochs.value, epochs.place
        ),
    };
    asked.map(problem).collect()
}

/// Makes every recipe of a method's own whole, from that of the teachers or students, as the method says. Reports recipes of
/// methods and forms of decay that do not exist, and leaves them out.
pub(super) fn complete(leaves: &mut Leaves) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, leaf) in leaves.iter_mut().filter(|(key, _)| key.ends_with("schedule.decay")) {
        let name = leaf.value.as_str().unwrap_or_default();
        if !Decay::NAMES.contains(&name) {
            let message = format!("`{key}`: {}", UnknownName::new("decay", name, Decay::NAMES));
            problems.push(Problem { place: leaf.place.clone(), message });
            leaf.value = Value::String(Decay::NAMES[0].to_owned());
        }
    }
    let method = |key: &str| Some(key.strip_prefix("recipe.")?.split_once('.')?.0.to_owned());
    let mut methods: Vec<String> = leaves.keys().filter_map(|key| method(key)).collect();
    methods.dedup();
    for method in methods {
        let own = format!("recipe.{method}.");
        let wrong = match method.as_str() {
            "teacher" => Some("the recipe of `teacher` is the table [teacher]".to_owned()),
            name => model::method(name).err().map(|unknown| unknown.to_string()),
        };
        if let Some(message) = wrong {
            let place =
                leaves.iter().find(|(key, _)| key.starts_with(&own)).map(|(_, leaf)| leaf.place.clone());
            problems.push(Problem { place: place.unwrap_or_default(), message });
            leaves.retain(|key, _| !key.starts_with(&own));
            continue;
        }
        let base = format!("{}.", base(&method, leaves));
        let missing: Vec<(String, Leaf)> = leaves
            .iter()
            .filter_map(|(key, leaf)| Some((format!("{own}{}", key.strip_prefix(&base)?), leaf)))
            .filter(|(key, _)| !leaves.contains_key(key))
            .map(|(key, leaf)| (key, leaf.clone()))
            .collect();
        leaves.extend(missing);
    }
    problems
}

/// The table that a method's own recipe changes: `teacher` or `student`.
fn base(method: &str, leaves: &Leaves) -> &'static str {
    match self::method(method, leaves).map(|method| method.recipe()) {
        Some(methods::Recipe::Teacher) => "teacher",
        _ => "student",
    }
}

/// The method `name` with its settings, where both are right.
pub(super) fn method(name: &str, leaves: &Leaves) -> Option<Box<dyn methods::Method>> {
    let prefix = format!("method.{name}.");
    let settings = leaves
        .iter()
        .filter_map(|(key, leaf)| Some((key.strip_prefix(&prefix)?.to_owned(), leaf.clone())))
        .collect();
    (methods::find(name)?.from_toml)(super::layers::table(&settings)).ok()
}
