#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("salvage"), |data: &[u8]| {
    millstream_fuzz::salvage(data)
});
