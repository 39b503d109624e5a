//! A directory of the operating system.

use crate::disk::{Disk, DiskFile};
use consensus_core::StorageError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";

/// A directory that this process alone uses: a lock file sees to that for as long as this value lives.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    directory: File,
    _lock: File,
}

/// An open file of a [`FileDisk`].
#[derive(Debug)]
pub struct RealFile {
    file: File,
}

impl FileDisk {
    /// Opens the directory, makes it if there is none, and locks it.
    ///
    /// # Errors
    /// The operating system refused, or another process uses the directory.
    pub fn open_dir(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let path = path.as_ref();
        let failure = |operation, place: &Path, cause: &io::Error| StorageError::Io {
            operation,
            place: place.display().to_string(),
            cause: cause.to_string(),
        };
        make_durably(path).map_err(|cause| failure("making the directory", path, &cause))?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(|cause| failure("opening", &lock_path, &cause))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(path, &lock_path)),
            Err(TryLockError::Error(cause)) => return Err(failure("locking", &lock_path, &cause)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(|cause| failure("writing", &lock_path, &cause))?;
        let directory = File::open(path).map_err(|cause| failure("opening", path, &cause))?;
        Ok(Self { path: path.into(), directory, _lock: lock })
    }
}

fn in_use(path: &Path, lock: &Path) -> StorageError {
    let holder = fs::read_to_string(lock).unwrap_or_default();
    let holder = holder.trim();
    let who = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
    StorageError::Foreign {
        place: path.display().to_string(),
        problem: format!("another process{who} uses it; stop that one, or choose another directory"),
    }
}

/// Makes the directory and those above it, each durable in its parent.
fn make_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_durably(parent)?;
    match fs::create_dir(path) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
        Ok(()) | Err(_) => {}
    }
    File::open(parent)?.sync_all()
}

impl Disk for FileDisk {
    type File = RealFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if !entry.file_type()?.is_file() {
                continue;
            }
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(RealFile { file })
    }

    fn create(&self, name: &str) -> io::Result<RealFile> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(RealFile { file })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn describe(&self, name: &str) -> String {
        if name.is_empty() {
            self.path.display().to_string()
        } else {
            self.path.join(name).display().to_string()
        }
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
