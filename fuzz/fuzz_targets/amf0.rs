#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("amf0"), |data: &[u8]| {
    millstream_fuzz::amf0(data)
});
