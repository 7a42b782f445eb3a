#![no_main]

libfuzzer_sys::fuzz_target!(init: millstream_fuzz::seeds::write("playlists"), |data: &[u8]| {
    millstream_fuzz::playlists(data)
});
