//! Words as a shell reads them.

use std::ffi::{OsStr, OsString};

/// `word` so that a shell reads it back.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// [`quote`] for a word that need not be UTF-8: Bash, Zsh and others read the bytes of such a one back.
pub fn quote_os(word: &OsStr) -> String {
    let Some(word) = word.to_str() else {
        let byte = |byte: &u8| match byte {
            b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
            b' '..=b'~' => char::from(*byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        };
        return format!("$'{}'", word.as_encoded_bytes().iter().map(byte).collect::<String>());
    };
    quote(word)
}

/// This process's command line for records: the program by the name that it is built under, whatever its file is called.
pub fn own_command() -> String {
    named(std::env::args_os())
}

fn named(words: impl IntoIterator<Item = OsString>) -> String {
    let options = words.into_iter().skip(1);
    std::iter::once("divkd".into()).chain(options).map(|word| quote_os(&word)).collect::<Vec<_>>().join(" ")
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
        let words = ["target/release/divkd", "reproduce", "quick", "--out", "my runs"].map(OsString::from);
        assert_eq!(named(words), "divkd reproduce quick --out 'my runs'");
    }

    #[test]
    #[cfg(unix)]
    fn words_need_not_be_utf_8() {
        use std::os::unix::ffi::OsStrExt as _;

        let word = OsStr::from_bytes(b"it's \\ b3\xff0");
        assert_eq!(quote_os(word), r"$'it\'s \\ b3\xff0'");
        // Two digits are a byte: what follows is another one.
        let script = format!("printf %s {}", quote_os(word));
        match std::process::Command::new("bash").args(["-c", &script]).output() {
            Ok(output) => assert_eq!(output.stdout, word.as_bytes()),
            Err(error) => println!("skipped: bash: {error}"),
        }
    }
}
