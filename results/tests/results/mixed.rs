//! Records of one folder that do not belong together.

use results::table::Experiment;

use crate::made::Made;

/// What one table of records would hide: other settings, other data, other teachers, a gap among them.
#[test]
fn records_that_do_not_belong_together_are_said_to() {
    let doubts = |change: &dyn Fn(&mut Made)| -> Vec<String> {
        let out = tempfile::tempdir().unwrap();
        for seed in [1, 2] {
            for row in ["teacher-1", "teacher-2", "be-kd", "be-kd-ods"] {
                let mut made = Made::new("quick", "smoke", row, seed);
                let config = "members = 4\n[teacher]\nlr = 0.1\n[student]\nlr = 0.05\n[method.be-kd]\ntau = 4.0\n\
                              [method.be-kd-ods]\ntau = 4.0\n";
                made.config = toml::from_str(config).unwrap();
                made.models =
                    [("teacher-1", "01"), ("teacher-2", "02"), ("be-kd", "03"), ("be-kd-ods", "04")]
                        .iter()
                        .filter(|(of, _)| *of == row || of.starts_with("teacher") && row.starts_with("be"))
                        .map(|(of, hash)| ((*of).to_owned(), (*hash).to_owned()))
                        .collect();
                change(&mut made);
                made.write(out.path());
            }
        }
        Experiment::read(&out.path().join("quick-smoke")).unwrap().doubts
    };
    let set = |made: &mut Made, table: &str, key: &str, value: toml::Value| {
        let mut at = &mut made.config;
        for name in table.split('.') {
            at = at[name].as_table_mut().unwrap();
        }
        at.insert(key.to_owned(), value);
    };
    let second = |made: &Made, row: &str| made.row == row && made.seed == 2;
    assert_eq!(doubts(&|_| {}), Vec::<String>::new());
    // What others are told does not matter to a row, nor what only later versions say.
    assert_eq!(
        doubts(&|made| if second(made, "be-kd") {
            set(made, "method.be-kd-ods", "tau", 1.0.into())
        }),
        [""; 0]
    );
    assert_eq!(
        doubts(&|made| if second(made, "be-kd") {
            set(made, "method.be-kd", "new", 1.0.into())
        }),
        [""; 0]
    );
    assert_eq!(
        doubts(&|made| if second(made, "be-kd") {
            set(made, "method.be-kd", "tau", 1.0.into())
        }),
        ["These records were not made alike: be-kd/seed-2 has method.be-kd.tau = 1.0, be-kd/seed-1 has 4.0."]
    );
    // All alike, but not as the rows of the paper are.
    let unlike = |what: &str| {
        format!(
            "{what}; the paper compares rows that differ in how images are perturbed, and in nothing else."
        )
    };
    assert_eq!(
        doubts(&|made| set(made, "method.be-kd-ods", "tau", 1.0.into())),
        [unlike("be-kd-ods has tau = 1.0, be-kd has 4.0")]
    );
    let own: toml::Table = toml::from_str("be-kd-ods = { lr = 0.01 }").unwrap();
    assert_eq!(
        doubts(&|made| drop(made.config.insert("recipe".to_owned(), own.clone().into()))),
        [unlike("be-kd-ods has lr = 0.01, be-kd has 0.05")]
    );
    let several = doubts(&|made| {
        if second(made, "be-kd") {
            made.config.insert("members".to_owned(), 2.into());
            set(made, "teacher", "lr", 0.2.into());
        }
    });
    assert_eq!(several.len(), 1);
    assert!(several[0].ends_with("(and 1 more such differences)."), "{several:?}");
    let retrained = doubts(&|made| {
        if second(made, "teacher-2") {
            made.models.insert("teacher-2".to_owned(), "ff".to_owned());
        }
    });
    let of = |row: &str| format!("{row} of seed 2 learned from another teacher-2 than the one that is here.");
    assert_eq!(retrained, [of("be-kd"), of("be-kd-ods")]);
    let gap = doubts(&|made| {
        if second(made, "teacher-1") {
            made.row = "teacher-3".to_owned();
        }
    });
    assert_eq!(gap, ["Seed 2 has no teacher-1: 2 teachers after it are in no ensemble."]);
}
