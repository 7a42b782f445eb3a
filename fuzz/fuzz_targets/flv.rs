#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("flv"), |data: &[u8]| {
    millstream_fuzz::flv(data)
});
