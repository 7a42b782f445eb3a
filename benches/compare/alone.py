#!/usr/bin/env python3
"""Measures of millstream alone: a day's growth, channels that only exist, a crowd of viewers, latency, retention.

    benches/compare/alone.py --growth --channels 10000 --viewers 10000 --latency 1 200 --retention 200

`--growth` replays a day at full speed into one session and shows what a segment costs in each sixth of it. `--channels`
shows what so many idle channels add. `--viewers` lets so many poll one live playlist while 100 publishers push.
`--latency` shows, with so many publishers, how long after the last byte of a segment's closing frame the playlist names
the segment. `--retention` shows what it costs so many publishers that only a gigabyte of their segments stays, whose files
are removed or written over; each time on an ext4 that is made for it.
"""
import argparse
import http.client
import json
import pathlib
import re
import resource
import statistics
import subprocess
import tempfile
import time

from compare import LEFTOVERS, MILLSTREAM, PUMP, Running, Server, cpu_seconds, get, make_clip, servers, shutil

DAY_SEGMENTS = 43_200
SIXTHS = 6
PUBLISHERS = 100


def millstream(*settings):
    """The server as the comparison runs it, with further settings."""
    plain = next(server for server in servers() if server.name == "millstream")
    more = [part for setting in settings for part in ("--set", setting)]
    return Server("millstream", lambda *where: plain.command(*where) + more, plain.segments)


def metric(running, name):
    found = re.search(rf"^{re.escape(name)} (\S+)$", get(f"http://127.0.0.1:{running.http}/metrics").decode(), re.M)
    return float(found.group(1)) if found else 0.0


def thin_clip(path, seconds):
    """A clip of few bytes: what is measured is segments, not megabytes."""
    if not path.exists():
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=160x90:r=10", "-t", str(seconds),
                        "-c:v", "libx264", "-preset", "veryfast", "-g", "20", "-b:v", "40k", "-f", "flv", path], check=True)


def growth(clips):
    clip = clips / "compare-thin.flv"
    thin_clip(clip, 600)
    print("\nA day in one session, replayed at full speed\n")
    print("| segments | CPU-ms per segment | memory |\n| --- | --- | --- |")
    with Running(millstream(), 1) as running:
        load = subprocess.Popen([str(MILLSTREAM), "push", str(clip), f"rtmp://127.0.0.1:{running.ports[0]}/live/s0",
                                 "--loop", "--speed", "max"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done, spent, next_mark = 0.0, cpu_seconds(running.processes[0].pid), DAY_SEGMENTS / SIXTHS
        while next_mark <= DAY_SEGMENTS and load.poll() is None:
            time.sleep(0.05)
            segments = metric(running, 'millstream_segments_total{state="whole"}')
            if segments < next_mark:
                continue
            now = cpu_seconds(running.processes[0].pid)
            print(f"| {done:.0f} to {segments:.0f} | {(now - spent) * 1000 / (segments - done):.3f} | {running.rss() / 2**20:.1f} MiB |", flush=True)
            done, spent, next_mark = segments, now, next_mark + DAY_SEGMENTS / SIXTHS
        load.kill()
        load.wait()


def channels(number, seconds=20):
    print("\nChannels that exist and do nothing\n")
    print("| channels | CPU-ms a second | memory |\n| --- | --- | --- |")
    with Running(millstream("http.requests_per_address=0"), 1) as running:
        pid = running.processes[0].pid
        token = re.search(r"ms_\w+", running.folder.with_suffix(".log").read_text()).group(0)
        for wanted in (0, number):
            asks = http.client.HTTPConnection("127.0.0.1", running.http)
            for nth in range(wanted):
                asks.request("PUT", f"/api/v1/channels/live/c{nth}", body=json.dumps({}),
                             headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
                answer = asks.getresponse()
                text = answer.read()
                if answer.status >= 300:
                    raise SystemExit(f"channel {nth}: {answer.status} {text}")
            time.sleep(3)
            before = cpu_seconds(pid)
            time.sleep(seconds)
            spent = cpu_seconds(pid) - before
            print(f"| {wanted} | {spent * 1000 / seconds:.2f} | {running.rss() / 2**20:.1f} MiB |", flush=True)


def viewers(number, clip, seconds=30):
    print(f"\n{number} viewers of one live playlist, {PUBLISHERS} publishers\n")
    crowd = [f"http.connections_max={2 * number}", f"http.connections_per_address={2 * number}", "http.requests_per_address=0"]
    with Running(millstream(*crowd), PUBLISHERS) as running:
        load = running.push(clip, "--loop")
        time.sleep(8)
        index = f"http://127.0.0.1:{running.http}/hls/live/s0/index.m3u8"
        media = [line for line in get(index).decode().splitlines() if line and not line.startswith("#")][0]
        before, began = running.cpu(), time.monotonic()
        ran = subprocess.run([str(PUMP.with_name("viewers")), f"127.0.0.1:{running.http}", f"/hls/live/s0/{media}", str(number), str(seconds)],
                             capture_output=True, text=True, check=False)
        took = time.monotonic() - began
        print(ran.stdout.strip() or f"broken: {ran.stderr.strip()}")
        print(f"memory {running.rss() / 2**20:.0f} MiB; the window took {took:.0f} s", flush=True)
        for process in load:
            process.kill()
            process.wait()


def latency(publishers, clip, seconds):
    with Running(millstream(), max(publishers - 1, 1)) as running:
        load = running.push(clip, "--loop") if publishers > 1 else []
        time.sleep(3 + publishers / 100)
        ran = subprocess.run([str(PUMP.with_name("latency")), str(clip), f"rtmp://127.0.0.1:{running.ports[0]}/live/x",
                              f"127.0.0.1:{running.http}", "/hls/live/x/", str(seconds)], capture_output=True, text=True, check=False)
        print(f"\nlatency with {publishers} publishers: {ran.stdout.strip() or ran.stderr.strip()}", flush=True)
        for process in load:
            process.kill()
            process.wait()


def retention(publishers, clip, rounds, before=30, seconds=20):
    short = ["hls.window=3", "retention.bytes=1GiB", "retention.grace=1s", "retention.interval=5s",
             f"rtmp.connections_per_address={publishers}"]
    kinds = {"all segments stay": [], "old ones are removed": [*short, "store.recycle=never"],
             "old ones are written over": [*short, "store.recycle=always"]}
    costs = {kind: [] for kind in kinds}
    print(f"\nA gigabyte of segments stays, {publishers} publishers\n")
    print("| segments | CPU-ms per stream-second | whole | gaps | gone | written over |\n| --- | --- | --- | --- | --- | --- |")
    Running.fresh_wanted = True
    for _ in range(rounds):
        for kind, settings in kinds.items():
            with Running(millstream(*settings), publishers) as running:
                load = running.push(clip, "--loop")
                time.sleep(before)
                spent, began = running.cpu(), time.monotonic()
                time.sleep(seconds)
                costs[kind].append((running.cpu() - spent) * 1000 / (time.monotonic() - began) / publishers)
                names = ['segments_total{state="whole"}', 'segments_total{state="gap"}', "store_deleted_segments_total", "disk_recycled_files_total"]
                counts = " | ".join(f"{metric(running, f'millstream_{name}'):.0f}" for name in names)
                print(f"| {kind} | {costs[kind][-1]:.3f} | {counts} |", flush=True)
                for process in load:
                    process.kill()
                    process.wait()
    Running.fresh_wanted = False
    for kind, found in costs.items():
        print(f"{kind}: median {statistics.median(found):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--channels", type=int)
    parser.add_argument("--viewers", type=int)
    parser.add_argument("--latency", type=int, nargs="*", default=[])
    parser.add_argument("--retention", type=int)
    parser.add_argument("--rounds", type=int, default=5, help="how often retention is measured")
    parser.add_argument("--seconds", type=int, default=60, help="how long latency is measured")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clips = pathlib.Path(tempfile.gettempdir())
    short, long = clips / "compare-20s.flv", clips / f"compare-{options.seconds + 2}s.flv"
    make_clip(short, 20)
    if options.growth:
        growth(clips)
    if options.channels:
        channels(options.channels)
    if options.viewers:
        viewers(options.viewers, short)
    if options.latency:
        make_clip(long, options.seconds + 2)
    for publishers in options.latency:
        latency(publishers, long, options.seconds)
    if options.retention:
        retention(options.retention, short, options.rounds)


if __name__ == "__main__":
    try:
        main()
    finally:
        for leftover in LEFTOVERS:
            shutil.rmtree(leftover, ignore_errors=True)
