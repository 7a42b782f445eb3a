#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("handshake"), |data: &[u8]| {
    millstream_fuzz::handshake(data)
});
