//! nucleus-cgroup
#![forbid(unsafe_code)]
