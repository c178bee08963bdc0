//! What a check found, as a verdict and as text.

/// What a finding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Pass,
    /// It is not.
    Fail,
    /// There are too few seeds to tell, or rows are missing.
    Inconclusive,
    /// There is nothing to hold it to yet.
    New,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The row and column, or the claim.
    pub what: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The numbers behind it.
    pub evidence: String,
}

/// Findings of one kind about one folder of records.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// What is held to what.
    pub title: String,
    /// How a passing and a failing finding are called.
    pub words: [&'static str; 2],
    /// The findings, in the order of the table.
    pub findings: Vec<Finding>,
    /// Whether findings that pass are listed too.
    pub list_all: bool,
}

/// Everything that was checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The sections, in order.
    pub sections: Vec<Section>,
}

impl Section {
    /// A section whose findings pass or fail and of which only those that do not pass are listed.
    pub fn of_metrics(title: String, findings: Vec<Finding>) -> Self {
        Self { title, words: ["pass", "fail"], findings, list_all: false }
    }

    /// A section of claims, all of them listed.
    pub fn of_claims(title: String, findings: Vec<Finding>) -> Self {
        Self { title, words: ["holds", "fails"], findings, list_all: true }
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    fn word(&self, verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Pass => self.words[0],
            Verdict::Fail => self.words[1],
            Verdict::Inconclusive => "inconclusive",
            Verdict::New => "new",
        }
    }
}

impl Report {
    /// The worst verdict: any failure fails, else anything inconclusive, or nothing checked at all, is inconclusive.
    pub fn verdict(&self) -> Verdict {
        let all = || self.sections.iter().flat_map(|section| &section.findings);
        let any = |verdict| all().any(|finding| finding.verdict == verdict);
        if any(Verdict::Fail) {
            Verdict::Fail
        } else if any(Verdict::Inconclusive) || !any(Verdict::Pass) {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }

    /// The report as text: a heading a section, a line for each finding that is listed, and counts.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            text += &format!("{}\n", section.title);
            let listed = || {
                section.findings.iter().filter(|finding| section.list_all || finding.verdict != Verdict::Pass)
            };
            let width = listed().map(|finding| finding.what.chars().count()).max().unwrap_or(0);
            for Finding { what, verdict, evidence } in listed() {
                let line = format!("  {:<12}  {what:<width$}  {evidence}", section.word(*verdict));
                text += &format!("{}\n", line.trim_end());
            }
            let counts: Vec<String> = [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive, Verdict::New]
                .into_iter()
                .map(|verdict| (section.count(verdict), section.word(verdict)))
                .filter(|(count, word)| *count > 0 || *word == section.words[1])
                .map(|(count, word)| format!("{count} {word}"))
                .collect();
            if !section.findings.is_empty() {
                text += &format!("  {}\n", counts.join(", "));
            }
            text += "\n";
        }
        let verdict = match self.verdict() {
            Verdict::Pass | Verdict::New => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Inconclusive => "inconclusive",
        };
        text + &format!("check: {verdict}\n")
    }
}
