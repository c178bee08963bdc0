//! What of a configuration a run depends on.

use toml::Table;

use crate::rows;

/// The parts of a configuration that the outcome of `row` depends on, so that more seeds, other methods or a longer curve of
/// teachers do not disown finished runs. The row's own settings are in `method`, its own recipe, instead of `student`, in
/// `recipe`.
pub fn relevant(config: &Table, row: &str) -> Table {
    let mut table = config.clone();
    for key in ["seeds", "methods", "teachers"] {
        table.remove(key);
    }
    let [method, recipe] =
        ["method", "recipe"].map(|key| table.remove(key).and_then(|all| all.get(row).cloned()));
    if rows::teacher_index(row).is_some() {
        table.remove("student");
        table.remove("members");
        return table;
    }
    if recipe.is_some() {
        table.remove("student");
    }
    for (key, own) in [("method", method), ("recipe", recipe)] {
        table.extend(own.map(|own| (key.to_owned(), own)));
    }
    table
}
