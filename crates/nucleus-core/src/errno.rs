//! The kernel's reason for a failure as engines expect to read it: lower case, without "(os error N)".
//!
//! For every crate of Nucleus that prints an error. Engines map texts such as "no such file or directory" to exit
//! codes, some of them case-sensitively; so no other code turns an errno into text.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// An errno whose `Display` is the kernel's reason in lower case, such as "permission denied".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrnoText(pub Errno);

impl fmt::Display for ErrnoText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&reason(&io::Error::from_raw_os_error(self.0.raw_os_error())))
    }
}

impl std::error::Error for ErrnoText {}

impl From<Errno> for ErrnoText {
    fn from(errno: Errno) -> Self {
        Self(errno)
    }
}

impl From<&io::Error> for ErrnoText {
    /// An error of the standard library that has no errno (a short write, say) becomes `EIO`.
    fn from(error: &io::Error) -> Self {
        Self(Errno::from_io_error(error).unwrap_or(Errno::IO))
    }
}

/// The reason of any `io::Error` in lower case, without "(os error N)".
pub fn reason(error: &io::Error) -> String {
    let mut text = error.to_string();
    if error.raw_os_error().is_some()
        && let Some(end) = text.rfind(" (os error ")
    {
        text.truncate(end);
    }
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{ErrnoText, reason};
    use rustix::io::Errno;
    use std::io;

    #[test]
    fn reasons_are_what_engines_match() {
        let texts = [
            (Errno::NOENT, "no such file or directory"),
            (Errno::ACCESS, "permission denied"),
            (Errno::PERM, "operation not permitted"),
            (Errno::NOTDIR, "not a directory"),
            (Errno::ISDIR, "is a directory"),
            (Errno::SRCH, "no such process"),
            (Errno::IO, "input/output error"),
        ];
        for (errno, text) in texts {
            assert_eq!(ErrnoText(errno).to_string(), text);
            assert_eq!(reason(&io::Error::from(errno)), text);
        }
    }

    #[test]
    fn errors_without_a_number_keep_their_words() {
        let error = io::Error::other("Odd (os error of mine)");
        assert_eq!(reason(&error), "odd (os error of mine)");
        assert_eq!(ErrnoText::from(&error), ErrnoText(Errno::IO));
    }
}
