//! One file per subcommand: its flags, its call into lifecycle, what it prints.

pub mod features;
pub mod log;
pub mod spec;
pub mod table;
pub mod trace;
pub mod version;
