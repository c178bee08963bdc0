//! Numbers of devices: `64`, `1,2,4`, `1..128`.

use std::str::FromStr;

/// The largest number of devices that is planned for.
const MOST: usize = 100_000;
/// The most numbers at once.
const LONGEST: usize = 10_000;

/// Numbers of devices, in the order in which they were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices(pub Vec<usize>);

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected numbers from 1 to {MOST}, such as 64, 1,2,4 or 1..128, found `{text}`");
        let number =
            |text: &str| text.trim().parse().ok().filter(|n| (1..=MOST).contains(n)).ok_or_else(wrong);
        let mut all = Vec::new();
        for part in text.split(',') {
            match part.split_once("..") {
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last.trim_start_matches('='))?);
                    if first > last || last - first >= LONGEST {
                        return Err(wrong());
                    }
                    all.extend(first..=last);
                }
                None => all.push(number(part)?),
            }
        }
        if all.len() > LONGEST { Err(wrong()) } else { Ok(Self(all)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lists_and_ranges() {
        let read = |text: &str| text.parse::<Devices>().map(|devices| devices.0);
        assert_eq!(read("64"), Ok(vec![64]));
        assert_eq!(read("1,2, 4..6"), Ok(vec![1, 2, 4, 5, 6]));
        assert_eq!(read("1..128").unwrap().len(), 128);
        for wrong in ["", "0", "-1", "4..2", "1..", "1,,2", "1e3", "1..99999", "100001"] {
            assert!(read(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
