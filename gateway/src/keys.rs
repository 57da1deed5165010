//! The keys of controllers of the link protocol: one file for each, `DATA_DIR/keys/link-70001.key`, 64
//! hexadecimal digits and a newline, for the gateway's own user alone. `postern controllers enrol` writes
//! them, the daemon reads them when it starts. There is no key that is the same everywhere, and none that
//! a controller comes with is accepted for being so.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use postern_protocol::{ControllerId, Digest};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// How long a key is, in bytes.
pub const KEY_BYTES: usize = 32;

/// How many hexadecimal digits that are.
const DIGITS: usize = 2 * KEY_BYTES;

/// The longest file that is read: a key with some white space around it is far shorter.
const MAX_FILE: usize = 256;

/// Keeps fingerprints apart from every other digest.
const DOMAIN: &str = "postern link key fingerprint";

/// How many digits of the digest people compare.
const FINGERPRINT_DIGITS: usize = 8;

/// A controller's key. Shows itself to nobody, and is wiped from memory when it is dropped.
pub struct Key([u8; KEY_BYTES]);

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What is wrong with what should be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Flaw {
    /// Too short or too long.
    #[error("it has {found} characters, and a key has {DIGITS}")]
    Length {
        /// How many there are, white space at the ends not counted.
        found: usize,
    },
    /// Another character.
    #[error("a key is made of hexadecimal digits alone")]
    NotHex,
    /// All bytes are the same, as in memory that was never written.
    #[error("all its bytes are the same: nobody drew it at random")]
    Uniform,
}

/// Why a key cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error(
        "cannot use {path}\nhint: keys belong to the user that runs the gateway; run this as that user"
    )]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "{path} is open to others than its owner (mode {mode:03o})\nhint: where nobody else can have read it, `chmod {wanted:o} {path}`; else have another key made: `postern controllers enrol --replace`"
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What it should be.
        wanted: u32,
    },
    /// It is no key.
    #[error(
        "{path} is no key: {flaw}\nhint: {DIGITS} hexadecimal digits and a newline; `postern controllers enrol --replace` has another one made"
    )]
    Flawed {
        /// Which.
        path: PathBuf,
        /// Why not.
        flaw: Flaw,
    },
    /// There is one, and it was not to be replaced.
    #[error("there is a key in {path} already\nhint: --replace puts another one in its place")]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The operating system gives no random numbers.
    #[error(
        "the operating system gives no random numbers, so no key can be made\nhint: try again once the machine has started"
    )]
    NoRandom,
}

impl KeyError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl Key {
    /// One that nobody has.
    ///
    /// # Errors
    /// Where the operating system gives no random numbers.
    pub fn random() -> Result<Self, KeyError> {
        let mut key = Self([0; KEY_BYTES]);
        SystemRandom::new().fill(&mut key.0).map_err(|_| KeyError::NoRandom)?;
        key.checked().map_err(|_| KeyError::NoRandom)
    }

    /// From its text; white space around it does not count.
    ///
    /// # Errors
    /// Where it is none, or one that nobody drew at random.
    pub fn parse(text: &[u8]) -> Result<Self, Flaw> {
        let digits = text.trim_ascii();
        if digits.len() != DIGITS {
            return Err(Flaw::Length { found: digits.len() });
        }
        let mut key = Self([0; KEY_BYTES]);
        for (byte, pair) in key.0.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = char::from(*digit).to_digit(16).ok_or(Flaw::NotHex)?;
                *byte = *byte << 4 | u8::try_from(value).map_err(|_| Flaw::NotHex)?;
            }
        }
        key.checked()
    }

    fn checked(self) -> Result<Self, Flaw> {
        let uniform = self.0.windows(2).all(|pair| pair.first() == pair.last());
        if uniform { Err(Flaw::Uniform) } else { Ok(self) }
    }

    /// The key itself.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Its text: 64 hexadecimal digits.
    pub fn digits(&self) -> Zeroizing<[u8; DIGITS]> {
        let mut text = Zeroizing::new([0; DIGITS]);
        for (pair, byte) in text.chunks_exact_mut(2).zip(&self.0) {
            for (digit, value) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
            }
        }
        text
    }

    /// By which people tell keys apart without seeing them: the first 8 hexadecimal digits of a digest.
    pub fn fingerprint(&self) -> String {
        let mut text = Digest::of(DOMAIN, &[&self.0]).to_string();
        text.truncate(FINGERPRINT_DIGITS);
        text
    }

    /// Reads one from a file that only its owner may read.
    ///
    /// # Errors
    /// Where the file cannot be read, is open to others, or holds no key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let file = File::open(path).map_err(KeyError::io(path))?;
        let mode = file.metadata().map_err(KeyError::io(path))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode, wanted: 0o600 });
        }
        Self::read_from(file, path)
    }

    /// Reads one from elsewhere; `name` is for messages.
    ///
    /// # Errors
    /// Where it cannot be read, or is none.
    pub fn read_from(source: impl Read, name: &Path) -> Result<Self, KeyError> {
        let mut buffer = Zeroizing::new([0; MAX_FILE]);
        let (mut source, mut length) = (source.take(MAX_FILE as u64), 0);
        while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match source.read(rest) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(KeyError::io(name)(error)),
            }
        }
        let text = buffer.get(..length).unwrap_or_default();
        Self::parse(text).map_err(|flaw| KeyError::Flawed { path: name.to_owned(), flaw })
    }
}

/// Where the keys of a data directory lie.
pub fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("keys")
}

/// Where a controller's key lies.
pub fn path(data_dir: &Path, controller: ControllerId) -> PathBuf {
    directory(data_dir).join(format!("{controller}.key"))
}

/// A controller's key; `None` where there is none.
///
/// # Errors
/// Where there is a file that cannot be used.
pub fn load(data_dir: &Path, controller: ControllerId) -> Result<Option<Key>, KeyError> {
    match Key::read(&path(data_dir, controller)) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Keeps a controller's key: once this answers, it is there after a power cut as well, and never half.
///
/// # Errors
/// Where there is one and it is not to be replaced, or the file cannot be written.
pub fn store(
    data_dir: &Path,
    controller: ControllerId,
    key: &Key,
    replace: bool,
) -> Result<PathBuf, KeyError> {
    let directory = directory(data_dir);
    private_directory(data_dir, &directory)?;
    let path = path(data_dir, controller);
    let partial = directory.join(format!("{controller}.key.{}.partial", std::process::id()));
    let result = write(&partial, key, data_dir).and_then(|()| rename(&partial, &path, replace));
    if let Err(error) = result {
        let _ = fs::remove_file(&partial);
        let exists = error.kind() == io::ErrorKind::AlreadyExists && !replace;
        return Err(if exists { KeyError::Exists { path } } else { KeyError::io(&path)(error) });
    }
    sync(&directory)?;
    Ok(path)
}

/// Makes the directory, for its owner alone; one that is open to others is refused.
fn private_directory(data_dir: &Path, directory: &Path) -> Result<(), KeyError> {
    let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
    make(data_dir).map_err(KeyError::io(data_dir))?;
    if !directory.exists() {
        make(directory).map_err(KeyError::io(directory))?;
        let given = File::open(directory).and_then(|file| belongs_like(&file, data_dir));
        given.map_err(KeyError::io(directory))?;
        sync(data_dir)?;
    }
    let mode = fs::metadata(directory).map_err(KeyError::io(directory))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: directory.to_owned(), mode, wanted: 0o700 });
    }
    Ok(())
}

fn write(path: &Path, key: &Key, data_dir: &Path) -> io::Result<()> {
    // Left by a process of the same number that was killed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&*key.digits())?;
    file.write_all(b"\n")?;
    belongs_like(&file, data_dir)?;
    file.sync_all()
}

/// Whoever runs the gateway has to read it, also where root wrote it.
fn belongs_like(file: &File, data_dir: &Path) -> io::Result<()> {
    let (of, mine) = (fs::metadata(data_dir)?, file.metadata()?);
    if of.uid() != mine.uid() {
        fchown(file, Some(of.uid()), Some(of.gid()))?;
    }
    Ok(())
}

/// Without `replace` nothing that came there meanwhile is replaced.
fn rename(from: &Path, to: &Path, replace: bool) -> io::Result<()> {
    if replace {
        return fs::rename(from, to);
    }
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems cannot do it at once.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if !to.try_exists()? => {
            fs::rename(from, to)
        }
        other => Ok(other?),
    }
}

fn sync(directory: &Path) -> Result<(), KeyError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(KeyError::io(directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const TEXT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1F";
    const ID: ControllerId = ControllerId::link(70_001);

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_that_was_stored_is_read_back_and_is_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        assert!(load(&data_dir, ID).unwrap().is_none());
        let key = Key::random().unwrap();
        let path = store(&data_dir, ID, &key, false).unwrap();
        assert_eq!(path, data_dir.join("keys/link-70001.key"));
        assert_eq!(load(&data_dir, ID).unwrap().unwrap().bytes(), key.bytes());
        assert_eq!(
            [&path, &data_dir.join("keys"), &data_dir].map(|at| mode(at)),
            [0o600, 0o700, 0o700]
        );
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.len(), DIGITS + 1);
        assert!(text.ends_with('\n'));
        assert_eq!(fs::read_dir(data_dir.join("keys")).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn a_key_that_is_there_is_replaced_only_where_that_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (Key::random().unwrap(), Key::random().unwrap());
        assert_ne!(first.bytes(), second.bytes());
        store(directory.path(), ID, &first, false).unwrap();
        let error = store(directory.path(), ID, &second, false).unwrap_err();
        assert!(matches!(error, KeyError::Exists { .. }), "{error}");
        assert_eq!(load(directory.path(), ID).unwrap().unwrap().bytes(), first.bytes());
        store(directory.path(), ID, &second, true).unwrap();
        assert_eq!(load(directory.path(), ID).unwrap().unwrap().bytes(), second.bytes());
        assert_eq!(fs::read_dir(super::directory(directory.path())).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_and_so_is_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = store(directory.path(), ID, &Key::random().unwrap(), false).unwrap();
        for open in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let error = load(directory.path(), ID).unwrap_err();
            assert!(matches!(error, KeyError::Exposed { mode, .. } if mode == open), "{error}");
            let text = error.to_string();
            assert!(text.contains("hint: ") && text.contains("chmod 600"), "{text}");
        }
        let keys = super::directory(directory.path());
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o750)).unwrap();
        let error = store(directory.path(), ControllerId::link(2), &Key::random().unwrap(), false);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }

    /// An operator's `sudo postern controllers enrol` once is enough for a key that the gateway cannot read.
    #[test]
    fn what_root_writes_belongs_to_whoever_has_the_data_directory() {
        let directory = tempfile::tempdir().unwrap();
        // Only root can try that.
        if std::os::unix::fs::chown(directory.path(), Some(12_345), Some(12_345)).is_err() {
            return;
        }
        let path = store(directory.path(), ID, &Key::random().unwrap(), false).unwrap();
        for made in [&path, &super::directory(directory.path())] {
            let made = fs::metadata(made).unwrap();
            assert_eq!((made.uid(), made.gid()), (12_345, 12_345));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        for (text, flaw) in [
            (String::new(), Flaw::Length { found: 0 }),
            (TEXT[1..].to_owned(), Flaw::Length { found: 63 }),
            (format!("{TEXT}0"), Flaw::Length { found: 65 }),
            (TEXT.replace('a', "g"), Flaw::NotHex),
            (TEXT.replace("0001", "00-1"), Flaw::NotHex),
            ("00".repeat(32), Flaw::Uniform),
            ("a5".repeat(32), Flaw::Uniform),
            ("ff".repeat(32), Flaw::Uniform),
        ] {
            assert_eq!(Key::parse(text.as_bytes()).unwrap_err(), flaw, "{text}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = store(directory.path(), ID, &Key::random().unwrap(), false).unwrap();
        fs::write(&path, "x".repeat(100_000)).unwrap();
        let text = load(directory.path(), ID).unwrap_err().to_string();
        assert!(text.contains("is no key") && text.contains("hint: "), "{text}");
    }

    #[test]
    fn either_case_and_white_space_around_it_are_read() {
        for text in [TEXT.to_owned(), format!("{TEXT}\n"), format!(" {TEXT}\r\n")] {
            let key = Key::parse(text.as_bytes()).unwrap();
            assert_eq!(key.bytes()[31], 0x1f);
            assert_eq!(*key.digits(), *TEXT.to_lowercase().as_bytes());
        }
    }

    /// The makers of controllers show it as well: it never changes.
    #[test]
    fn a_fingerprint_is_the_same_for_ever_and_says_nothing_of_the_key() {
        let key = Key::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(key.fingerprint(), "686abeff");
        assert_eq!(format!("{key:?}"), "Key(…)");
    }
}
