//! The figures as SVG and PNG and the tables as Markdown, CSV and LaTeX: each a file of its own.

use std::path::PathBuf;

use super::Section;
use crate::Result;
use crate::table::{Format, Table};

/// A file of the folder of figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    /// Its place in the folder.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Every file: `<figure>.svg` and `<figure>.png` of each figure that is drawn, and `table.md`, `table.csv`, `table.tex`;
/// in a folder of the experiment's name where there are several.
///
/// # Errors
/// Where a picture cannot be drawn.
pub fn files(sections: &[Section]) -> Result<Vec<ReportFile>> {
    let mut files = Vec::new();
    for section in sections {
        let folder = if sections.len() > 1 { PathBuf::from(section.name()) } else { PathBuf::new() };
        let mut add =
            |name: String, bytes: Vec<u8>| files.push(ReportFile { path: folder.join(name), bytes });
        for figure in &section.figures {
            let Ok(drawing) = &figure.drawing else { continue };
            let (name, title) = (figure.id.name(), figure.id.title());
            add(format!("{name}.svg"), drawing.svg(title).into_bytes());
            add(format!("{name}.png"), drawing.png(title)?);
        }
        let table = Table { experiments: vec![section.sources.experiment.clone()] };
        for (name, format) in
            [("table.md", Format::Md), ("table.csv", Format::Csv), ("table.tex", Format::Latex)]
        {
            add(name.to_owned(), table.render(format).into_bytes());
        }
    }
    Ok(files)
}
