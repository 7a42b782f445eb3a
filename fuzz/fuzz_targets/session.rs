#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("session"), |data: &[u8]| {
    millstream_fuzz::session(data)
});
