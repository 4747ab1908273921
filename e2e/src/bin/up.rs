//! up
fn main() {}
