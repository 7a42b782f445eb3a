#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("proxy"), |data: &[u8]| {
    millstream_fuzz::proxy(data)
});
