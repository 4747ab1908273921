#![no_main]

#[path = "../entry.rs"]
#[expect(dead_code, reason = "each target calls one of them")]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::response(bytes));
