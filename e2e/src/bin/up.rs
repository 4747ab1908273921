//! up
fn main(){}
