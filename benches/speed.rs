//! How long the pieces of the hot path take: `cargo bench --bench speed`.
//!
//! Each figure is for one segment of two seconds, 750 KB. On a machine that does other things beside it,
//! `make bench-check` says more: it counts instructions.

#![allow(missing_docs)]

mod load;
mod work;

use divan::Bencher;
use divan::counter::BytesCount;

const SEGMENT_BYTES: usize = 750_000;

fn main() {
    divan::main();
}

#[divan::bench(args = [128, 4096, 65536])]
fn chunks(bencher: Bencher<'_, '_>, chunk_size: usize) {
    bencher
        .counter(BytesCount::new(SEGMENT_BYTES))
        .bench_local(work::chunks(chunk_size));
}

#[divan::bench]
fn demux(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::new(SEGMENT_BYTES))
        .bench_local(work::demux());
}

#[divan::bench]
fn mux(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::new(SEGMENT_BYTES))
        .bench_local(work::mux());
}

#[divan::bench(args = [128, 4096, 65536])]
fn pipeline(bencher: Bencher<'_, '_>, chunk_size: usize) {
    bencher
        .counter(BytesCount::new(SEGMENT_BYTES))
        .bench_local(work::pipeline(chunk_size));
}

#[divan::bench]
fn live_playlist(bencher: Bencher<'_, '_>) {
    bencher.bench_local(work::live_playlist());
}

#[divan::bench]
fn day_playlist(bencher: Bencher<'_, '_>) {
    bencher.bench_local(work::day_playlist());
}

/// The answer to a request for a segment that is in memory, without its socket.
#[divan::bench]
fn segment_answer(bencher: Bencher<'_, '_>) {
    use bytes::Bytes;
    use hyper::{HeaderMap, Method};
    use millstream::control::SegmentBody;
    use millstream::http::Representation;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let bytes = Bytes::from(vec![0x47; SEGMENT_BYTES]);
    let headers = HeaderMap::new();
    bencher.bench_local(|| {
        let body = SegmentBody::Whole(bytes.clone());
        let found = Representation::of_segment(body, "video/mp2t", "public", "\"a\"".into());
        runtime.block_on(found.respond(&Method::GET, &headers))
    });
}
