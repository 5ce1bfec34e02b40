//! The admin token: who has it may change things over HTTP.
//!
//! It is shown nowhere: not in a log, an error or a debug print.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use subtle::ConstantTimeEq as _;

/// Shorter ones could be guessed. `openssl rand -hex 32` makes one of 64.
const SHORTEST: usize = 16;
/// Longer ones are a mistaken file.
const LONGEST: usize = 512;
/// Access that nobody but the owner and, to read, the group may have: write for the group, anything for others.
const FORBIDDEN: u32 = 0o027;

/// The admin token. Its debug print hides it.
#[derive(Clone)]
pub struct AdminToken(Box<[u8]>);

/// Why a token cannot be had from a file.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(
        "reading the admin token from `{}` failed: {source}; make one (`openssl rand -hex 32`), or take agent.admin_token_file out",
        .path.display()
    )]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is not a regular file, so no admin token is read from it; see agent.admin_token_file", .0.display())]
    NotAFile(PathBuf),
    #[error(
        "the admin token in `{}` is not secret: its mode is {mode:03o}, and others may not have any access to it, nor its group \
         write; run `chmod 600` on it, and write a new token into it",
        .path.display()
    )]
    Open { path: PathBuf, mode: u32 },
    #[error(
        "the admin token in `{}` is {length} characters long, and takes {SHORTEST} to {LONGEST}; make one by `openssl rand \
         -hex 32`",
        .path.display()
    )]
    Length { path: PathBuf, length: usize },
    #[error(
        "the admin token in `{}` has a blank or a character that is not printable ASCII; make one by `openssl rand -hex 32`",
        .0.display()
    )]
    Characters(PathBuf),
}

impl AdminToken {
    /// Reads it; line ends at the end are not part of it.
    ///
    /// # Errors
    /// The file cannot be read, others have access to it, or what is in it is no token.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        // Of the file that is open: the name may lead to another one by now.
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(TokenError::NotAFile(path.into()));
        }
        let mode = found.permissions().mode() & 0o777;
        if mode & FORBIDDEN != 0 {
            return Err(TokenError::Open { path: path.into(), mode });
        }
        let mut text = Vec::new();
        // One more than is allowed, and a line end: enough to tell that it is too long.
        file.take(LONGEST as u64 + 3).read_to_end(&mut text).map_err(failed)?;
        let token = text.trim_ascii_end();
        if token.len() < SHORTEST || token.len() > LONGEST {
            return Err(TokenError::Length { path: path.into(), length: token.len() });
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::Characters(path.into()));
        }
        Ok(Self(token.into()))
    }

    /// Whether this is it, in a time that does not tell how much of it is right.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }

    /// Whether both are the same, in the same way.
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.is(&other.0)
    }

    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("AdminToken(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str = "0123456789abcdef";

    fn load(text: &str, mode: u32) -> Result<AdminToken, TokenError> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
        AdminToken::load(&path)
    }

    #[test]
    fn line_ends_are_cut_and_nothing_else() {
        for text in [GOOD.to_owned(), format!("{GOOD}\n"), format!("{GOOD}\r\n")] {
            let token = load(&text, 0o600).expect("a token");
            assert!(token.is(GOOD.as_bytes()));
            for other in ["", "0123456789abcde", "0123456789abcdeg", "0123456789abcdef\n"] {
                assert!(!token.is(other.as_bytes()), "{other}");
            }
        }
        assert!(load(&"x".repeat(LONGEST), 0o640).is_ok(), "the group may read");
    }

    #[test]
    fn what_is_no_secret_or_no_token_is_refused_with_what_to_do() {
        let cases = [
            (GOOD.to_owned(), 0o644, "chmod 600"),
            (GOOD.to_owned(), 0o604, "chmod 600"),
            (GOOD.to_owned(), 0o620, "chmod 600"),
            (String::new(), 0o600, "is 0 characters long"),
            ("0123456789abcde\n".to_owned(), 0o600, "is 15 characters long"),
            ("x".repeat(LONGEST + 1), 0o600, "takes 16 to 512"),
            ("0123456789 abcdef".to_owned(), 0o600, "blank"),
            ("0123456789äbcdef".to_owned(), 0o600, "ASCII"),
        ];
        for (text, mode, words) in cases {
            let error = load(&text, mode).expect_err(&text).to_string();
            assert!(error.contains(words), "{words}: {error}");
            assert!(text.is_empty() || !error.contains(text.trim()), "the token is told: {error}");
        }
        let error = AdminToken::load(Path::new("/nonexistent/token")).expect_err("none").to_string();
        assert!(error.contains("/nonexistent/token") && error.contains("agent.admin_token_file"), "{error}");
        assert!(matches!(AdminToken::load(Path::new("/")), Err(TokenError::NotAFile(_))));
    }

    #[test]
    fn no_print_shows_it() {
        let token = load(GOOD, 0o600).expect("a token");
        assert!(!format!("{token:?} {:?}", Some(&token)).contains("0123"));
    }
}
