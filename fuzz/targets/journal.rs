#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| meshstore_fuzz::journal::check(data));
