//! The report: one HTML page that needs nothing else, and that a person reads in a minute; the same as JSON.

pub mod chart;
mod page;
mod plots;
pub mod text;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use page::html;

use crate::{Error, suite::Outcome};

/// The names of the files.
pub const HTML: &str = "report.html";
/// The same as JSON.
pub const JSON: &str = "report.json";

/// Writes both into `folder`, which is made; where the page is.
///
/// # Errors
/// They cannot be written.
pub fn write(outcome: &Outcome, folder: &Path) -> Result<PathBuf, Error> {
    let refused = |path: &Path| Error::system(format!("write {}", path.display()));
    fs::create_dir_all(folder).map_err(refused(folder))?;
    let (page, json) = (folder.join(HTML), folder.join(JSON));
    fs::write(&page, html(outcome)).map_err(refused(&page))?;
    let text = format!("{:#}\n", outcome.to_json());
    fs::write(&json, text).map_err(refused(&json))?;
    Ok(page)
}
