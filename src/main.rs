//! millstream: RTMP in, HLS out.
fn main() {}
