#!/usr/bin/env python3
"""Runs RTMP-to-HLS servers in turn under the same load on loopback and prints what each one costs.

    benches/compare/compare.py --publishers 50 200 --seconds 20 --rounds 5
    benches/compare/compare.py --full-speed 1 8 --rounds 5

The load is `millstream push --connections N`, the same for all. What is printed is processor time of the
server (user and system, its children included) in a window in which all publishers run, divided by the
stream-seconds in it; and its memory. Medians over the rounds; the servers take turns within each round, so
a noisy machine is noisy for all. Every stream's newest segments are decoded by ffmpeg: a server whose
output is incomplete or broken is reported as such and has no figure.

A further server is one more entry in `servers()`.
"""
import argparse
import glob
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MILLSTREAM = TARGET / "millstream"
PUMP = TARGET / "examples" / "pump"

NGINX = """
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
worker_processes 2; worker_rlimit_nofile 65536; daemon off; master_process on; pid {dir}/nginx.pid;
error_log {dir}/error.log error;
events {{ worker_connections 8192; }}
rtmp {{ access_log off; server {{ listen 127.0.0.1:{port}; chunk_size 4096;
  application live {{ live on; hls on; hls_path {dir}/hls; hls_fragment 2s; hls_playlist_length 60s; hls_nested on; hls_cleanup off; }} }} }}
"""


class Server:
    """How to start one server and where its segments are."""

    def __init__(self, name, command, segments, prepare=lambda d, p: None, decodes=True):
        self.name, self.command, self.segments = name, command, segments
        self.prepare, self.decodes = prepare, decodes


def servers():
    def nginx_files(d, port):
        (d / "nginx.conf").write_text(NGINX.format(dir=d, port=port))
        (d / "hls").mkdir()
        os.chmod(d, 0o777)
        os.chmod(d / "hls", 0o777)

    def millstream(d, port):
        return [MILLSTREAM, "serve", "--set", f"data_dir={d}", "--set", f"rtmp.listen=127.0.0.1:{port}",
                "--set", "http.listen=127.0.0.1:0", "--set", "auth.publish=open", "--set", "log.level=warn"]

    return [
        Server("pump", lambda d, p: [PUMP, f"127.0.0.1:{p}", d], "{dir}/*", decodes=False),
        Server("gathering pump", lambda d, p: [PUMP, f"127.0.0.1:{p}", d, "256"], "{dir}/*", decodes=False),
        Server("nginx-rtmp", lambda d, p: ["nginx", "-c", d / "nginx.conf", "-p", d], "{dir}/hls/*", nginx_files),
        Server("millstream", millstream, "{dir}/media/live/*/*"),
    ]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def family(pid):
    """A process and its children."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        for path in glob.glob(f"/proc/{one}/task/*/children"):
            todo += [int(child) for child in open(path).read().split()]
    return found


def cpu_seconds(pid):
    total = 0
    for one in family(pid):
        fields = open(f"/proc/{one}/stat").read().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def rss_bytes(pid):
    return sum(int(open(f"/proc/{one}/statm").read().split()[1]) * PAGE for one in family(pid))


def make_clip(path, seconds):
    if path.exists():
        return
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25", "-f", "lavfi", "-i", "sine=r=48000",
         "-t", str(seconds), "-vf", "noise=alls=12:allf=t", "-c:v", "libx264", "-preset", "ultrafast", "-g", "50",
         "-b:v", "2870k", "-maxrate", "2870k", "-bufsize", "1400k", "-c:a", "aac", "-b:a", "128k", "-f", "flv", path],
        check=True)


def wait_for(port, process):
    for _ in range(100):
        if process.poll() is not None:
            sys.exit(f"a server ended with {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("a server does not listen")


def check(server, folder, publishers, least_seconds):
    """Every stream has its segments and the newest whole ones decode; returns what is wrong."""
    streams = glob.glob(server.segments.format(dir=folder))
    streams = [s for s in streams if os.path.isdir(s)]
    if len(streams) < publishers:
        return f"{len(streams)} of {publishers} streams"
    if not server.decodes:
        return None
    for stream in streams[:: max(1, publishers // 8)]:
        segments = sorted(glob.glob(f"{stream}/**/*.ts", recursive=True), key=os.path.getmtime)
        if len(segments) < least_seconds / 2 - 2:
            return f"{stream}: {len(segments)} segments"
        for segment in segments[1:-1][-2:]:
            ran = subprocess.run(["ffmpeg", "-v", "error", "-xerror", "-i", segment, "-f", "null", "-"],
                                 capture_output=True, text=True, check=False)
            if ran.returncode:
                return f"{segment}: {ran.stderr.strip().splitlines()[-1:]}"
    return None


LEFTOVERS = []


def empty(folder):
    """Gives the room back but keeps the files: ext4 creates files slowly for minutes after deletions, which
    would be charged to whoever runs next. They go when all is measured."""
    LEFTOVERS.append(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def run(server, clip, publishers, seconds, full_speed):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="compare-", dir=os.environ.get("COMPARE_DIR")))
    port = free_port()
    server.prepare(folder, port)
    with open(folder.with_suffix(".log"), "w") as log:
        process = subprocess.Popen([str(part) for part in server.command(folder, port)], stdout=log, stderr=log)
    try:
        wait_for(port, process)
        idle = rss_bytes(process.pid)
        push = [str(MILLSTREAM), "push", str(clip), f"rtmp://127.0.0.1:{port}/live/s{{n}}", "--connections", str(publishers)]
        if full_speed:
            before = cpu_seconds(process.pid)
            began = time.monotonic()
            subprocess.run(push + ["--speed", "max"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            took = time.monotonic() - began
            time.sleep(0.5)
            gigabytes = clip.stat().st_size * publishers / 1e9
            return {"cost": (cpu_seconds(process.pid) - before) / gigabytes, "wall": took,
                    "wrong": check(server, folder, publishers, 0)}
        load = subprocess.Popen(push + ["--loop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(4 + publishers / 200)
        before, load_before, began = cpu_seconds(process.pid), cpu_seconds(load.pid), time.monotonic()
        time.sleep(seconds)
        spent, load_spent = cpu_seconds(process.pid) - before, cpu_seconds(load.pid) - load_before
        took = time.monotonic() - began
        memory = (rss_bytes(process.pid) - idle) / publishers
        load.send_signal(signal.SIGKILL)
        load.wait()
        time.sleep(0.5)
        stream_seconds = publishers * took
        return {"cost": spent * 1000 / stream_seconds, "load": load_spent * 1000 / stream_seconds,
                "memory": memory, "wrong": check(server, folder, publishers, seconds)}
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
        empty(folder)


def table(title, unit, numbers, rounds, names, one):
    print(f"\n{title}\n")
    print("| publishers | server | " + unit + " | ÷ pump | memory per channel | load generator |")
    print("| --- | --- | --- | --- | --- | --- |")
    for publishers in numbers:
        results = {server.name: [] for server in servers() if server.name in names}
        for _ in range(rounds):
            for server in servers():
                if server.name in names:
                    results[server.name].append(one(server, publishers))
        floor = statistics.median(r["cost"] for r in results["pump"]) if "pump" in results else None
        for name, each in results.items():
            wrong = next((r["wrong"] for r in each if r["wrong"]), None)
            if wrong:
                print(f"| {publishers} | {name} | broken: {wrong} | | | |")
                continue
            cost = statistics.median(r["cost"] for r in each)
            ratio = f"{cost / floor:.2f}" if floor else ""
            memory = statistics.median(r["memory"] for r in each) / 1024 if "memory" in each[0] else None
            load = statistics.median(r["load"] for r in each) if "load" in each[0] else None
            print(f"| {publishers} | {name} | {cost:.3f} | {ratio} | "
                  f"{'' if memory is None else f'{memory:.0f} KiB'} | {'' if load is None else f'{load:.2f}'} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publishers", type=int, nargs="*", default=[], help="numbers of publishers in real time")
    parser.add_argument("--full-speed", type=int, nargs="*", default=[], help="numbers of publishers at full speed")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[server.name for server in servers()])
    options = parser.parse_args()
    clips = pathlib.Path(tempfile.gettempdir())
    if options.publishers:
        clip = clips / "compare-20s.flv"
        make_clip(clip, 20)
        table(f"Real time, {options.seconds:.0f} s windows, median of {options.rounds}", "CPU-ms per stream-second",
              options.publishers, options.rounds, options.only, lambda s, n: run(s, clip, n, options.seconds, False))
    if options.full_speed:
        clip = clips / "compare-600s.flv"
        if not clip.exists():
            short = clips / "compare-20s.flv"
            make_clip(short, 20)
            subprocess.run(["ffmpeg", "-v", "error", "-y", "-stream_loop", "29", "-i", short, "-c", "copy", "-f", "flv", clip], check=True)
        table(f"Full speed, {clip.stat().st_size / 1e6:.0f} MB each, median of {options.rounds}", "CPU-s per GB",
              options.full_speed, options.rounds, options.only, lambda s, n: run(s, clip, n, 0, True))


if __name__ == "__main__":
    try:
        main()
    finally:
        for leftover in LEFTOVERS:
            shutil.rmtree(leftover, ignore_errors=True)
