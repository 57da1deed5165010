//! `postern init`: a configuration to begin with, in which every key is explained.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::new_file::{Hints, NewFile};
use super::{Failure, print, show};
use crate::exit;

/// The one text in which every key stands with its unit, default and range.
const TEMPLATE: &str = include_str!("../../example.toml");

/// What the file is called where the directory alone is named.
const NAME: &str = "postern.toml";

const HINTS: Hints = Hints {
    exists: "use it as it is, write to another directory with --dir, or give --force: then this one is kept as a copy",
    no_file: "move it out of the way, or write to another directory with --dir",
};

/// How many former configurations are kept beside it before somebody has to tidy up.
const MAX_COPIES: u32 = 99;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Where to write postern.toml; made when missing.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Replace a configuration that is there; it is kept as postern.toml.bak.
    #[arg(long)]
    force: bool,
    /// Show what would be written; write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { dir, force, dry_run, json } = arguments;
    let path = if dir == Path::new(".") { PathBuf::from(NAME) } else { dir.join(NAME) };
    let copy = if *dry_run { None } else { write(&path, *force)? };
    let report = json!({
        "schema": "postern.init.v1",
        "path": path,
        "written": !dry_run,
        "former": copy,
        "text": dry_run.then_some(TEMPLATE),
        "next": next(&path),
    });
    print(*json, &report, text)
}

/// Writes it. Where the configuration that was there was kept, if there was another.
fn write(path: &Path, force: bool) -> Result<Option<PathBuf>, Failure> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(|error| Failure {
        code: exit::FAILURE,
        message: format!("cannot make {}: {error}\nhint: name another with --dir", dir.display()),
    })?;
    let file = NewFile::create(path, force, &HINTS)?;
    file.writer()?.write_all(TEMPLATE.as_bytes())?;
    let copy = keep(path)?;
    file.keep()?;
    Ok(copy)
}

/// Copies what is there to a name that is free: somebody may have worked on it.
fn keep(path: &Path) -> Result<Option<PathBuf>, Failure> {
    let failed = |what: String| Failure {
        code: exit::FAILURE,
        message: format!(
            "cannot keep a copy of {}: {what}\nhint: nothing was changed; move the file out of the way",
            path.display()
        ),
    };
    let former = match fs::read(path) {
        Ok(former) if former == TEMPLATE.as_bytes() => return Ok(None),
        Ok(former) => former,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { ".bak".to_owned() } else { format!(".bak.{number}") });
        PathBuf::from(name)
    };
    let Some(copy) = (0..=MAX_COPIES).map(name).find(|copy| fs::symlink_metadata(copy).is_err())
    else {
        return Err(failed(format!("there are {MAX_COPIES} of them already")));
    };
    let file = NewFile::create(&copy, false, &HINTS)?;
    file.writer().and_then(|mut to| to.write_all(&former)).map_err(|e| failed(e.to_string()))?;
    file.belongs_like(path).map_err(|error| failed(error.to_string()))?;
    file.keep().map(Some).map_err(|error| failed(error.to_string()))
}

/// What is to be done before the gateway can run.
fn next(path: &Path) -> Vec<String> {
    let path = quoted(path);
    vec![
        "on a server: `postern-server enrol NAME --dir DIR --out gateway.bundle.json`; carry the file here".to_owned(),
        format!("`postern controllers discover -c {path} --write --zone Europe/Berlin`"),
        format!("`postern config check -c {path}`, then `postern run -c {path}`"),
    ]
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |each: char| each.is_alphanumeric() || "/._-+=:,@%".contains(each);
    if !path.is_empty() && path.chars().all(is_plain) {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

fn text(report: &Value) -> String {
    if let Some(text) = report["text"].as_str() {
        return text.to_owned();
    }
    let mut out = format!("wrote {}; every key is explained in it\n", show::text(&report["path"]));
    if let Some(former) = report["former"].as_str() {
        out = format!("{out}the one that was there is kept as {former}\n");
    }
    out.push_str("\nnext:\n");
    for (number, step) in show::list(&report["next"]).enumerate() {
        out = format!("{out}  {}. {}\n", number + 1, show::text(step));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Outline;

    fn message(failure: Failure) -> String {
        failure.message
    }

    #[test]
    fn a_configuration_that_is_there_is_replaced_only_by_force_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new").join(NAME);
        assert_eq!(write(&path, false).map_err(message).unwrap(), None);
        assert!(Outline::check(&path, &fs::read_to_string(&path).unwrap()).is_ok());

        fs::write(&path, "mine").unwrap();
        let refused = write(&path, false).unwrap_err();
        assert_eq!(refused.code, exit::FAILURE);
        assert!(refused.message.contains("--force"), "{}", refused.message);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");

        for (mine, name) in [("mine", "postern.toml.bak"), ("also mine", "postern.toml.bak.1")] {
            fs::write(&path, mine).unwrap();
            let copy = write(&path, true).map_err(message).unwrap().unwrap();
            assert!(copy.ends_with(name), "{copy:?}");
            assert_eq!(fs::read_to_string(&copy).unwrap(), mine);
            assert_eq!(fs::read_to_string(&path).unwrap(), TEMPLATE);
        }
        // Nothing of anybody's is in it.
        assert_eq!(write(&path, true).map_err(message).unwrap(), None);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 3);
    }

    #[test]
    fn a_directory_of_that_name_is_to_be_moved_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        fs::create_dir(&path).unwrap();
        for force in [false, true] {
            let said = write(&path, force).unwrap_err().message;
            assert!(said.contains("is a directory") && said.contains("--dir"), "{said}");
            assert!(!said.contains("-o"), "{said}");
        }
    }

    #[test]
    fn a_path_is_written_as_a_shell_takes_it() {
        assert_eq!(quoted(Path::new("a/postern.toml")), "a/postern.toml");
        assert_eq!(quoted(Path::new("it's my/postern.toml")), r"'it'\''s my/postern.toml'");
        assert!(next(Path::new("a b"))[1].contains("-c 'a b' --write"));
    }
}
