#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("timeline"), |data: &[u8]| {
    millstream_fuzz::timeline(data)
});
