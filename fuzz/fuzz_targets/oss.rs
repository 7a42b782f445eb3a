#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("oss"), |data: &[u8]| {
    millstream_fuzz::oss(data)
});
