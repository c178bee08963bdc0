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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_back() {
        let words = ["divkd", "teacher.schedule.milestones=[1, 2]", "it's", ""];
        let line = words.map(quote).join(" ");
        assert_eq!(line, r"divkd 'teacher.schedule.milestones=[1, 2]' 'it'\''s' ''");
    }
}
