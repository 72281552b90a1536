//! nucleus-core
#![forbid(unsafe_code)]
