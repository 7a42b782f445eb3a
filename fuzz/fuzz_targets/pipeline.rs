#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("pipeline"), |data: &[u8]| {
    millstream_fuzz::pipeline(data)
});
