#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("records"), |data: &[u8]| {
    millstream_fuzz::records(data)
});
