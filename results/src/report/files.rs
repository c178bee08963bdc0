//! The figures as SVG and PNG and the tables as Markdown, CSV and LaTeX: each a file of its own.

use std::path::PathBuf;

use super::Section;
use crate::Result;
use crate::sheet;
use crate::table::{Format, Table};

/// A file of the folder of figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    /// Its place in the folder.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The extensions of a table's files.
const TABLES: [(&str, Format); 3] = [("md", Format::Md), ("csv", Format::Csv), ("tex", Format::Latex)];

/// Every file: `<figure>.svg` and `<figure>.png` of each figure that is drawn; as `.md`, `.csv` and `.tex` the results
/// (`table`), the comparison with the baseline (`paired`) and what the records have of the figures' numbers; in a folder
/// of the experiment's name where there are several.
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
        for (name, sheet) in &section.sheets {
            for (extension, format) in TABLES {
                let text = sheet::render(std::slice::from_ref(sheet), format);
                add(format!("{name}.{extension}"), text.into_bytes());
            }
        }
        let table = Table { experiments: vec![section.sources.experiment.clone()] };
        for (extension, format) in TABLES {
            add(format!("table.{extension}"), table.render(format).into_bytes());
        }
    }
    Ok(files)
}
