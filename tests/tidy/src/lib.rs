//! Checks of the project itself, for what no compiler looks at: arrows between crates, lengths of files, docs.
//!
//! It owns the rules and how a breach is told. It refuses to judge taste: a rule stands here only where a program can
//! tell right from wrong. `tests/project.rs` runs every check on this repository, `tests/planted.rs` runs each on
//! planted breaches, so that a check that has stopped looking is noticed.
//!
//! Start with [`Tree`], then [`arrows`], [`source`], [`docs`] and [`contract`].

pub mod arrows;
pub mod contract;
pub mod docs;
pub mod source;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// A breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, from the root.
    pub path: String,
    /// The line, from 1; 0 where it is the file as a whole.
    pub line: usize,
    /// What is wrong and what would be right.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.text),
            line => write!(f, "{}:{line}: {}", self.path, self.text),
        }
    }
}

/// A text file of the project.
#[derive(Debug, Clone)]
pub struct File {
    /// From the root, with `/`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// The project's text files.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// In order of their paths.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads all text files below `root`; what is built, installed or belongs to git is left out.
    ///
    /// # Errors
    /// A folder or file cannot be read.
    pub fn read(root: &Path) -> std::io::Result<Self> {
        let mut files = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    if !is_foreign(&path) {
                        folders.push(path);
                    }
                } else if let Ok(text) = fs::read_to_string(&path) {
                    files.push(File { path: relative(&path, root), text });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// A tree of these files; for planted breaches.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        Self { files: files.iter().map(file).collect() }
    }

    /// The file of this path.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The files whose names end so.
    pub fn with_extension<'a>(&'a self, extensions: &'a [&str]) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| {
            file.path.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension))
        })
    }
}

impl File {
    /// A breach of this file as a whole.
    pub fn finding(&self, text: impl Into<String>) -> Finding {
        self.finding_at(0, text)
    }

    /// A breach at this line.
    pub fn finding_at(&self, line: usize, text: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, text: text.into() }
    }
}

/// Build folders mark themselves with this file, wherever they are.
fn is_foreign(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    matches!(name, ".git" | "target" | "node_modules" | "results" | "__pycache__")
        || folder.join("CACHEDIR.TAG").exists()
}

fn relative(path: &Path, root: &Path) -> String {
    let parts: PathBuf = path.strip_prefix(root).unwrap_or(path).into();
    parts.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}
