#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("names"), |data: &[u8]| {
    millstream_fuzz::names(data)
});
