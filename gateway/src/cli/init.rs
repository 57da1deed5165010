//! `postern init`: a configuration to begin with, in which every key is explained.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::new_file::NewFile;
use super::{Failure, print};
use crate::exit;

/// The one text in which every key stands with its unit, default and range.
const TEMPLATE: &str = include_str!("../../example.toml");

/// What the file is called where the directory alone is named.
const NAME: &str = "postern.toml";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where to write postern.toml; made when missing.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Replace a configuration that is there.
    #[arg(long)]
    force: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let path = write(&arguments.dir, arguments.force)?;
    let report = json!({
        "schema": "postern.init.v1",
        "path": path,
        "next": next(&path),
    });
    print(arguments.json, &report, text)
}

fn write(dir: &Path, force: bool) -> Result<PathBuf, Failure> {
    fs::create_dir_all(dir).map_err(|error| Failure {
        code: exit::FAILURE,
        message: format!("cannot make {}: {error}\nhint: name another with --dir", dir.display()),
    })?;
    let path = if dir == Path::new(".") { PathBuf::from(NAME) } else { dir.join(NAME) };
    let file = NewFile::create(&path, force)?;
    file.writer()?.write_all(TEMPLATE.as_bytes())?;
    Ok(file.keep()?)
}

/// What is to be done before the gateway can run.
fn next(path: &Path) -> Vec<String> {
    let path = path.display();
    vec![
        "on a server: `postern-server enrol NAME --dir DIR --out gateway.bundle.json`; carry the file here".to_owned(),
        format!("`postern controllers discover -c {path} --write --zone Europe/Berlin`"),
        format!("`postern config check -c {path}`, then `postern run -c {path}`"),
    ]
}

fn text(report: &Value) -> String {
    let path = report["path"].as_str().unwrap_or_default();
    let mut out = format!("wrote {path}; every key is explained in it\n\nnext:\n");
    for (number, step) in report["next"].as_array().into_iter().flatten().enumerate() {
        out = format!("{out}  {}. {}\n", number + 1, step.as_str().unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Outline;

    #[test]
    fn a_configuration_that_is_there_is_replaced_only_by_force() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("new");
        write(&dir, false).map_err(|failure| failure.message).unwrap();
        let path = dir.join(NAME);
        assert!(Outline::check(&path, &fs::read_to_string(&path).unwrap()).is_ok());

        fs::write(&path, "mine").unwrap();
        let refused = write(&dir, false).unwrap_err();
        assert_eq!(refused.code, exit::FAILURE);
        assert!(refused.message.contains("--force"), "{}", refused.message);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");

        write(&dir, true).map_err(|failure| failure.message).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), TEMPLATE);
    }
}
