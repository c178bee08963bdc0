//! Words as a shell reads them.

/// `word` so that a shell reads it back.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// This process's command line for records: the program by its name alone, whatever folder it lies in.
pub fn own_command() -> String {
    named(std::env::args())
}

fn named(words: impl IntoIterator<Item = String>) -> String {
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    std::iter::once(name).chain(words).map(|word| quote(&word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_back() {
        let words = ["divkd", "teacher.schedule.milestones=[1, 2]", "it's", ""];
        let line = words.map(quote).join(" ");
        assert_eq!(line, r"divkd 'teacher.schedule.milestones=[1, 2]' 'it'\''s' ''");
    }

    #[test]
    fn a_command_is_recorded_without_its_folder() {
        let words = ["target/release/divkd", "reproduce", "quick", "--out", "my runs"].map(str::to_owned);
        assert_eq!(named(words), "divkd reproduce quick --out 'my runs'");
    }
}
