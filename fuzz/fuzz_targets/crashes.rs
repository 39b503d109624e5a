//! See [`fuzz::crashes`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::crashes::run(input));
