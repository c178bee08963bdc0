//! The experiment files, their presets, and what is said about wrong settings.

use harness::config::{self, Override, RecipeConfig, Resolved};
use harness::experiments::Experiment;
use harness::plan::{self, Row};
use nn::schedule::Decay;

fn resolve(name: &str, preset: Option<&str>, set: &[&str]) -> anyhow::Result<Resolved> {
    let overrides: Vec<Override> = set.iter().map(|text| Override::set(text).unwrap()).collect();
    config::resolve(&Experiment::find(name)?, preset, &overrides)
}

fn message(name: &str, preset: Option<&str>, set: &[&str]) -> String {
    resolve(name, preset, set).unwrap_err().to_string()
}

/// The numbers are those of METHODOLOGY.md's table "Training".
#[test]
fn cifar100_paper_is_the_protocol() {
    let resolved = resolve("cifar100", None, &[]).unwrap();
    assert_eq!(resolved.preset, "paper");
    insta::assert_snapshot!(toml::to_string(&resolved.config).unwrap());
}

/// Networks are named by a rule: who writes a depth that there is none of is told which there are.
#[test]
fn a_wrong_network_is_told_the_rule() {
    for (name, rule) in [
        ("wrn-12-2", "the depth is 6 n + 4 (10, 16, 22, 28, ..)"),
        ("wrn-28-100", "the factor 1 to 64"),
        ("resnet-18", "the depth is one of [8, 14, 20"),
        ("wrn-28", "write resnet-<depth> or wrn-<depth>-<widen>"),
    ] {
        let text = message("quick", None, &[&format!("network={name}")]);
        assert!(text.contains(&format!("unknown network `{name}`: ")) && text.contains(rule), "{text}");
        assert!(text.contains("did you mean"), "{text}");
    }
}

#[test]
fn everything_that_is_wrong_is_reported_at_once_with_the_nearest_name() {
    insta::assert_snapshot!(message(
        "quick",
        None,
        &[
            "teachr.epochs=3",
            "student.batch=many",
            "method.kd.tow=1",
            "method.kd.tau=0",
            "teacher=1",
            "network=rsnet-8",
            "data.dataset=cifar",
            "methods=[\"be-ods\"]",
            "teacher.lr=-1",
            "teacher.momentum=nan",
            "student.schedule.milestones=[5,2,1]",
            "members=8",
            "seeds=0",
        ]
    ));
}

/// What the configuration's types cannot hold, key by key, with all else that is wrong.
#[test]
fn numbers_of_another_sign_and_arrays_of_another_length_are_named() {
    let table = resolve("quick", None, &[]).unwrap().table().unwrap();
    let below = |prefix: &str, table: &toml::Table| -> Vec<String> {
        let integers = table.iter().filter(|(_, value)| value.is_integer());
        integers.map(|(key, _)| format!("{prefix}{key}")).collect()
    };
    let tables = ["data", "teacher", "student"];
    let nested = tables.iter().flat_map(|name| below(&format!("{name}."), table[*name].as_table().unwrap()));
    let mut keys: Vec<String> = below("", &table).into_iter().chain(nested).collect();
    assert!(keys.len() >= 16, "{keys:?}");
    keys.extend(["epochs", "recipe.kd.epochs", "recipe.latent-be.batch"].map(str::to_owned));
    for key in &keys {
        let message = message("quick", None, &[&format!("{key}=-3"), "teacher.lr=-1"]);
        let expected = format!("--set {key}=-3: `{key}` must be 0 or more, found -3");
        assert!(message.contains(&expected), "{message}");
        assert!(
            message.contains("2 errors") && message.contains("`teacher.lr` must be at least 0"),
            "{message}"
        );
    }
    for (value, why) in [
        ("[1, 2]", "must have 3 values, such as [1, 15, 27], found 2"),
        ("[]", "must have 3 values, such as [1, 15, 27], found 0"),
        ("[1, 2, 3, 4]", "must have 3 values, such as [1, 15, 27], found 4"),
        ("[1, -2, 3]", "must be 0 or more, found -2"),
    ] {
        let set = format!("teacher.schedule.milestones={value}");
        let message = message("quick", None, &[&set]);
        let expected = format!("--set {set}: `teacher.schedule.milestones` {why}");
        assert!(message.ends_with(&expected), "{message}");
    }
    // A list of names has any length.
    assert!(resolve("quick", None, &["methods=[\"be\"]"]).is_ok());
}

/// Counts that a slip of the keyboard makes too large to plan, load or compute are errors, not lack of memory.
#[test]
fn counts_have_upper_bounds() {
    let most = i64::MAX;
    for key in [
        "seeds",
        "members",
        "teachers",
        "data.train_rows",
        "data.val_rows",
        "data.test_rows",
        "teacher.epochs",
        "teacher.validate_every",
        "teacher.validate_last",
        "student.batch",
    ] {
        let text = message("quick", None, &[&format!("{key}={most}")]);
        assert!(text.contains(&format!("`{key}` must be ")) && text.contains("found 92233"), "{text}");
    }
    // Nor do times overflow that are scaled before they are checked.
    for set in ["teacher.validate_last=MOST", "student.schedule.milestones=[1,2,MOST]"] {
        let set = set.replace("MOST", &most.to_string());
        let text = message("quick", None, &["epochs=1000000", &set]);
        assert!(text.contains(" must ") && text.contains("found 92233"), "{text}");
    }
}

/// Nor is a setting wrong only once the one before it was mended.
#[test]
fn methods_say_all_that_is_wrong_with_their_settings() {
    let sets = ["method.be-kd-ods.alpha=2", "method.be-kd-ods.tau=-1", "method.be-kd-ods.eta=256"];
    let text = message("quick", None, &sets);
    let wrong = [
        "--set method.be-kd-ods.alpha=2: [method.be-kd-ods] alpha = 2 is a weight",
        "--set method.be-kd-ods.tau=-1: [method.be-kd-ods] tau = -1 is a temperature",
        "--set method.be-kd-ods.eta=256: [method.be-kd-ods] eta = 256 is a step size",
    ];
    for wrong in wrong {
        assert!(text.contains(wrong), "{wrong}: {text}");
    }
}

/// Real data has so many rows and no more; synthetic images are as many as are asked for.
#[test]
fn no_more_rows_are_planned_than_there_are() {
    for (experiment, key, most) in
        [("cifar10", "train", 45_000), ("cifar100", "val", 5_000), ("tiny-imagenet", "test", 10_000)]
    {
        let set = |rows: usize| format!("data.{key}_rows={rows}");
        assert!(resolve(experiment, Some("laptop"), &[&set(most)]).is_ok());
        let text = message(experiment, Some("laptop"), &[&set(most + 1)]);
        let wrong = format!("`data.{key}_rows` must be at most {most}, as the protocol splits {experiment}");
        assert!(text.contains(&wrong), "{text}");
    }
    assert!(resolve("quick", None, &["data.train_rows=60000"]).is_ok());
}

/// Records lie in a folder named after experiment and preset: a name that no folder of theirs has is found out before anything
/// is trained.
#[test]
fn names_must_be_those_of_folders() {
    let folder = tempfile::tempdir().unwrap();
    let text = Experiment::find("quick").unwrap().text;
    let path = folder.path().join("my quick.toml").display().to_string();
    std::fs::write(&path, &text).unwrap();
    let found = message(&path, Some("smoke"), &[]);
    assert!(found.contains("my quick.toml: experiment `my quick`: expected letters, digits"), "{found}");

    let path = folder.path().join("mine.toml").display().to_string();
    std::fs::write(&path, format!("{text}\n[presets.\"a/b\"]\nseeds = 2\n")).unwrap();
    let found = message(&path, Some("a/b"), &[]);
    assert!(found.contains("mine.toml: preset `a/b`: expected letters, digits"), "{found}");
    assert!(resolve(&path, Some("smoke"), &[]).is_ok());
}

#[test]
fn a_file_of_ones_own_is_held_to_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let text = Experiment::find("quick").unwrap().text;
    let good = path.display().to_string();
    std::fs::write(&path, &text).unwrap();
    assert_eq!(resolve(&good, None, &[]).unwrap().folder(), "mine-laptop");

    let bad = text
        .replace("bn_groups = 1", "bn_grups = 1")
        .replace("members = 4", "members = \"four\"")
        .replace("epochs = 3\n", "epoch = 3\n");
    std::fs::write(&path, bad).unwrap();
    let message = message(&good, Some("smoke"), &[]).replace(&good, "mine.toml");
    insta::assert_snapshot!(message);

    std::fs::write(&path, "members = [1\nseeds = ]\n").unwrap();
    let message = resolve(&good, None, &[]).unwrap_err().to_string();
    assert!(message.contains("mine.toml:2: "), "{message}");
}

/// The analyses at the end of a plan perturb images by these methods' settings, whether they are trained or not.
#[test]
fn the_perturbations_settings_are_asked_for_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let text = Experiment::find("quick").unwrap().text;
    let rows = "methods = [\"teacher\", \"be-kd\"]\n";
    for name in ["be-kd-gaussian", "be-kd-ods", "be-kd-conf-ods"] {
        let table = format!("[method.{name}]\nalpha = 0.9\ntau = 1.0\neta = 1.0\n");
        let smoke = format!("[presets.smoke.method.{name}]\ntau = 4.0\n");
        assert!(text.contains(&table) && text.contains(&smoke), "{name}");
        let without = text.replace(&table, "").replace(&smoke, "");
        let start = without.find("methods = [").unwrap();
        let end = start + without[start..].find("]\n").unwrap() + 2;
        let laptop = without[end..].replace("\"be-kd-gaussian\", \"be-kd-ods\", \"be-kd-conf-ods\"", "");
        std::fs::write(&path, [&without[..start], rows, &laptop].concat()).unwrap();
        let message = message(&path.display().to_string(), None, &[]);
        let expected =
            format!("[method.{name}] missing field `alpha`: its table is missing, which the analyses need");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn unknown_experiments_and_presets_suggest_the_nearest() {
    let quik = message("quik", None, &[]);
    assert!(quik.starts_with("unknown experiment `quik`; did you mean `quick`?"), "{quik}");
    let preset = message("cifar10", Some("labtop"), &[]);
    assert!(preset.starts_with("unknown preset `labtop`; did you mean `laptop`?"), "{preset}");
}

#[test]
fn overrides_convert_integers_and_bare_strings() {
    let config =
        resolve("quick", None, &["teacher.lr=1", "network=resnet-14", "data.augment=true"]).unwrap().config;
    assert_eq!(config.teacher.lr, 1.0);
    assert_eq!(config.network, "resnet-14");
    assert!(config.data.augment);
    assert!(Override::set("teacher.lr").is_err());
    assert!(Override::set("=1").is_err());
}

#[test]
fn validation_is_at_the_first_every_nth_and_the_last_epochs() {
    let recipe = resolve("cifar100", None, &[]).unwrap().config.teacher;
    let validated: Vec<usize> = (1..=300).filter(|epoch| recipe.validates(*epoch)).collect();
    let expected: Vec<usize> = [1].into_iter().chain((30..=270).step_by(30)).chain(271..=300).collect();
    assert_eq!(validated, expected);
}

#[test]
fn a_run_depends_on_its_own_settings_only() {
    let table = |set: &[&str]| resolve("quick", None, set).unwrap().table().unwrap();
    let changed = |set: &[&str], row: &Row| {
        config::differences(&config::relevant(&table(&[]), row), &config::relevant(&table(set), row))
    };
    let (teacher, kd) = (Row::Teacher(1), Row::Student("kd".to_owned()));
    assert!(changed(&["seeds=5", "teachers=7", "methods=[\"kd\"]"], &kd).is_empty());
    assert!(changed(&["student.lr=1", "method.kd.tau=2"], &teacher).is_empty());
    assert!(changed(&["method.be-kd.tau=2"], &kd).is_empty());
    assert_eq!(changed(&["method.kd.tau=2"], &kd), ["method.tau: was 1.0, is 2.0"]);
    assert_eq!(changed(&["data.train_rows=7"], &teacher).len(), 1);
    // A recipe of its own takes the place of the students'.
    assert!(
        changed(&["recipe.be.lr=1"], &kd).is_empty() && changed(&["recipe.be.lr=1"], &teacher).is_empty()
    );
    let own = |lr: &str| config::relevant(&table(&["recipe.kd.lr=1", lr]), &kd);
    assert!(config::differences(&own("student.lr=1"), &own("student.lr=2")).is_empty());
    let moved = config::differences(&own("student.lr=1"), &own("recipe.kd.lr=2"));
    assert_eq!(moved, ["recipe.lr: was 1.0, is 2.0"]);
}

/// Nam et al. 2022, as quoted in METHODOLOGY.md: 200 epochs of batch 128 at rate 0.1 with Nesterov's momentum, all else
/// (weight decay 5e-4 among it) that of the students.
#[test]
fn a_method_may_have_a_recipe_of_its_own() {
    let of = |set: &[&str]| resolve("cifar100", None, set).unwrap().config;
    let config = of(&["student.momentum=0.8"]);
    let own = &config.recipe["latent-be"];
    assert_eq!((own.epochs, own.batch, own.lr, own.nesterov), (200, 128, 0.1, true));
    assert_eq!((own.momentum, own.weight_decay, own.validate_every), (0.8, 5e-4, 30));
    assert_eq!((own.schedule.milestones, own.schedule.decay), ([5, 5, 200], Decay::Cosine));
    let method = plan::method(&config, "latent-be").unwrap();
    assert_eq!(plan::recipe(&config, "latent-be", method.as_ref()), own);
    assert_eq!(plan::recipe(&config, "be", method.as_ref()), &config.student);

    // Any method can be given one, key by key; that of single KD starts from the teachers'.
    let config = of(&["recipe.kd.lr=1", "recipe.be.schedule.decay=cosine"]);
    assert_eq!(config.recipe["kd"], RecipeConfig { lr: 1.0, ..config.teacher.clone() });
    assert_eq!(config.recipe["be"].batch, config.student.batch);
    assert_eq!(config.recipe["be"].schedule.decay, Decay::Cosine);
}

#[test]
fn wrong_recipes_are_named() {
    insta::assert_snapshot!(message(
        "cifar100",
        None,
        &[
            "recipe.latent-be.epoch=3",
            "recipe.latent.epochs=3",
            "recipe.teacher.epochs=3",
            "recipe.be-kd=3",
            "recipe.be-kd.batch=many",
            "recipe.latent-be.lr=-1",
            "recipe.latent-be.schedule.milestones=[5,4,200]",
            "student.schedule.decay=cosin",
            "epochs=0",
        ]
    ));
}

/// 300 to 6 is 1 in 50: of the milestones 5, 150, 270 after 4, 149 and 269 epochs, after 0, 3 and 5. 200 epochs become 4.
#[test]
fn epochs_scale_every_recipe() {
    let config = resolve("cifar100", None, &["epochs=6"]).unwrap().config;
    let times = |recipe: &RecipeConfig| {
        (recipe.epochs, recipe.schedule.milestones, recipe.validate_every, recipe.validate_last)
    };
    assert_eq!(times(&config.teacher), (6, [1, 4, 6], 1, 1));
    assert_eq!(times(&config.student), (6, [1, 4, 6], 1, 1));
    // A warm-up of 5 of 200 epochs stays one.
    assert_eq!(times(&config.recipe["latent-be"]), (4, [1, 1, 4], 1, 1));
    assert_eq!(config.teacher.lr, 0.2);
    // As they are, twice as long, and as short as can be.
    let same = resolve("cifar100", None, &["epochs=300"]).unwrap();
    assert_eq!(same, resolve("cifar100", None, &[]).unwrap());
    let twice = resolve("cifar100", None, &["epochs=600"]).unwrap().config;
    assert_eq!(times(&twice.teacher), (600, [9, 299, 539], 60, 60));
    let one = resolve("cifar100", None, &["epochs=1"]).unwrap().config;
    assert_eq!(times(&one.teacher), (1, [1, 1, 2], 1, 1));
}

/// What was asked for one by one would be scaled too: nobody would get it.
#[test]
fn times_are_set_or_scaled() {
    for (preset, set) in [
        (None, &["epochs=6", "student.epochs=6"][..]),
        (None, &["teacher.schedule.milestones=[1, 2, 3]", "epochs=6"]),
        (None, &["epochs=6", "recipe.latent-be.validate_every=2"]),
        (Some("paper-short"), &["student.epochs=10"]),
    ] {
        let text = message(if preset.is_some() { "cifar10" } else { "cifar100" }, preset, set);
        assert!(text.contains("would be scaled by `epochs = "), "{text}");
    }
    assert!(message("cifar10", Some("paper-short"), &["student.epochs=10"]).contains("cifar10.toml:"));
    resolve("cifar100", None, &["epochs=6", "student.lr=0.1"]).unwrap();
    resolve("cifar100", None, &["epochs=6", "student.validate_every=1"]).unwrap();
    assert!(
        message("cifar100", None, &["epochs=600", "student.validate_every=1"]).contains("would be scaled")
    );
    resolve("cifar100", None, &["student.epochs=280"]).unwrap();
}

#[test]
fn every_preset_resolves_to_this() {
    for experiment in Experiment::built_in() {
        for preset in experiment.presets().unwrap() {
            let resolved = config::resolve(&experiment, Some(&preset), &[]).unwrap();
            insta::assert_snapshot!(resolved.folder(), toml::to_string(&resolved.config).unwrap());
        }
    }
}
