#!/usr/bin/env python3
"""Runs RTMP-to-HLS servers in turn under the same load on loopback and prints what each one costs.

    benches/compare/compare.py --publishers 50 200 500 --full-speed 1 8 --remux --serve --idle 1000
    benches/compare/compare.py --publishers 200 --rounds 3 --only pump millstream
    benches/compare/compare.py --full-speed 1 8 --fresh

The load is `millstream push --connections N`, the same for all; its own processor time stands in the last column,
and it kept up if every stream's media is complete. What is printed is processor time of the server (user and system,
its children included) in a window in which all publishers run, divided by the stream-seconds in it; and its memory.
Medians over the rounds; the servers take turns within each round, so a noisy machine is noisy for all. Up to eight
streams of each run are looked at: no frame of the time they span may be missing, and their newest segments are
decoded by ffmpeg. A server whose output is incomplete or broken is reported as such and has no figure.

nginx with its RTMP module and wrk are installed from Debian if they are missing. SRS is not in Debian: it takes part
if `SRS` names its program. A further server is one more entry in `servers()`.

What it costs to make a file on ext4 depends on how many were removed in the minutes before. With `--fresh` (root) each
server writes into an ext4 that was made for it, in an image in memory.
"""
import argparse
import glob
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MILLSTREAM = TARGET / "millstream"
PUMP = TARGET / "examples" / "pump"
FLOOR = TARGET / "examples" / "floor"

SRS = os.environ.get("SRS")
NGINX_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
FRAME_RATE = 25
# What costs are divided by.
OTHERS = ["pump", "nginx-rtmp"] + (["SRS"] if SRS else [])

NGINX = """
load_module {module};
worker_processes 2; worker_rlimit_nofile 65536; daemon off; master_process on; pid {dir}/nginx.pid;
error_log {dir}/error.log error;
events {{ worker_connections 8192; }}
rtmp {{ access_log off; server {{ listen 127.0.0.1:{port}; chunk_size 4096;
  application live {{ live on; hls on; hls_path {dir}/hls; hls_fragment 2s; hls_playlist_length 20s; hls_nested on; hls_cleanup off; }} }} }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
  server {{ listen 127.0.0.1:{http}; location / {{ root {dir}; }} }} }}
"""

SRS_CONFIGURATION = """
listen {port}; max_connections 1000; daemon off; srs_log_tank file; srs_log_file {dir}/srs.log; srs_log_level error; pid {dir}/srs.pid;
http_server {{ enabled on; listen {http}; dir {dir}/hls; }}
vhost __defaultVhost__ {{ hls {{ enabled on; hls_path {dir}/hls; hls_fragment 2; hls_window 20; hls_cleanup off; hls_dispose 0;
  hls_ts_file [app]/[stream]/[seq].ts; }} }}
"""


class Server:
    """How to start one server, where its segments are and under which URLs the first stream's are served.

    `command` and `prepare` get the folder and the ports of RTMP and HTTP. `publishers_max`: a server that takes so
    many publishers, and is started as often as it has to be.
    """

    def __init__(self, name, command, segments, prepare=lambda *_: None, decodes=True, playlist=None, publishers_max=None):
        self.name, self.command, self.segments = name, command, segments
        self.prepare, self.decodes, self.playlist = prepare, decodes, playlist
        self.publishers_max = publishers_max


def servers():
    def nginx_files(d, port, http):
        (d / "nginx.conf").write_text(NGINX.format(dir=d, port=port, http=http, module=NGINX_MODULE))
        (d / "hls").mkdir()
        os.chmod(d, 0o777)
        os.chmod(d / "hls", 0o777)

    def srs_files(d, port, http):
        (d / "srs.conf").write_text(SRS_CONFIGURATION.format(dir=d, port=port, http=http))

    def millstream(d, port, http):
        return [MILLSTREAM, "serve", "--set", f"data_dir={d}", "--set", f"rtmp.listen=127.0.0.1:{port}",
                "--set", f"http.listen=127.0.0.1:{http}", "--set", "auth.publish=open", "--set", "log.level=warn",
                # All the load comes from one address.
                "--set", "rtmp.connections_per_address=2000", "--set", "http.requests_per_address=0"]

    def ffmpeg(d, port, _):
        (d / "hls" / str(port)).mkdir(parents=True)
        return ["ffmpeg", "-v", "error", "-listen", "1", "-i", f"rtmp://127.0.0.1:{port}/live/s0", "-c", "copy", "-f", "hls",
                "-hls_time", "2", "-hls_list_size", "0", d / "hls" / str(port) / "index.m3u8"]

    return [
        Server("pump", lambda d, p, _: [PUMP, f"127.0.0.1:{p}", d], "{dir}/*", decodes=False),
        Server("gathering pump", lambda d, p, _: [PUMP, f"127.0.0.1:{p}", d, "256"], "{dir}/*", decodes=False),
        Server("ffmpeg", ffmpeg, "{dir}/hls/*", publishers_max=1),
        Server("nginx-rtmp", lambda d, p, _: ["nginx", "-c", d / "nginx.conf", "-p", d], "{dir}/hls/*", nginx_files,
               playlist="/hls/s0/index.m3u8"),
        *([Server("SRS", lambda d, p, _: [SRS, "-c", d / "srs.conf"], "{dir}/hls/live/*", srs_files, playlist="/live/s0.m3u8")] if SRS else []),
        Server("millstream", millstream, "{dir}/media/live/*/*", playlist="/hls/live/s0/index.m3u8"),
    ]


def install():
    """nginx, its RTMP module and wrk, from Debian."""
    missing = [] if NGINX_MODULE.exists() else ["nginx-core", "libnginx-mod-rtmp"]
    missing += [] if shutil.which("wrk") else ["wrk"]
    if missing:
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], check=True,
                       stdout=subprocess.DEVNULL, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})


# Below those that the system gives to connections: one that is free stays so until its server listens.
PORTS = iter(range(10_000 + os.getpid() % 10_000, 30_000))


def free_port():
    for port in PORTS:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise SystemExit("no port is free")


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


def most_rss_bytes(pid):
    """Of the program itself: what wait4 tells counts the memory of whoever forked it."""
    found = re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read())
    return int(found.group(1)) * 1024 if found else 0


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
        # A connection would be the only one that ffmpeg takes, so nobody knocks.
        listening = open("/proc/net/tcp").read() + open("/proc/net/tcp6").read()
        if re.search(rf":{port:04X} 0+:0000 0A", listening):
            return
        time.sleep(0.1)
    sys.exit("a server does not listen")


def check(server, folder, publishers, least_seconds):
    """Every stream has its segments, no frame is missing in them and the newest whole ones decode; returns what is
    wrong."""
    streams = [s for s in glob.glob(server.segments.format(dir=folder)) if os.path.isdir(s)]
    if len(streams) < publishers:
        return f"{len(streams)} of {publishers} streams"
    if not server.decodes:
        return None
    for stream in streams[:: max(1, publishers // 8)]:
        segments = sorted(glob.glob(f"{stream}/**/*.ts", recursive=True), key=lambda path: int(re.sub(r"\D", "", os.path.basename(path))))
        listed = "concat:" + "|".join(segments)
        probed = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=dts_time", "-of", "csv=p=0", listed],
                                capture_output=True, text=True, check=False)
        times = [float(time) for time in re.findall(r"^[\d.]+", probed.stdout, re.M)]
        if not times or times[-1] - times[0] < least_seconds:
            return f"{stream}: {times[-1] - times[0] if times else 0:.1f} s of media"
        # Where the clip begins anew the distance is a little longer than one frame, but not two.
        missing = sum(max(0, round((later - time) * FRAME_RATE) - 1) for time, later in zip(times, times[1:]))
        if missing:
            return f"{stream}: {missing} frames are missing"
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


class Fresh:
    """An ext4 in an image in memory, mounted at `folder`."""

    def __init__(self, folder):
        self.folder = folder
        made, path = tempfile.mkstemp(prefix="compare-", dir="/dev/shm")
        self.image = pathlib.Path(path)
        os.truncate(made, 16 << 30)
        os.close(made)
        # Nothing is left for the kernel to do later, at somebody's cost.
        made_now = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", made_now, "-N", "200000", self.image], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, self.folder], check=True)

    def remove(self):
        subprocess.run(["umount", self.folder], check=True)
        self.image.unlink()


class Running:
    """A server that was started, as often as so many publishers need it, and is ended with the block."""

    fresh_wanted = False

    def __init__(self, server, publishers):
        self.server, self.publishers = server, publishers
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="compare-", dir=os.environ.get("COMPARE_DIR")))
        self.fresh = Fresh(self.folder) if Running.fresh_wanted else None
        self.processes, self.ports, self.http = [], [], free_port()

    def __enter__(self):
        for _ in range(self.publishers if self.server.publishers_max else 1):
            port = free_port()
            self.server.prepare(self.folder, port, self.http)
            with open(self.folder.with_suffix(".log"), "a") as log:
                command = [str(part) for part in self.server.command(self.folder, port, self.http)]
                # Elsewhere, so that nobody's configuration is found.
                process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder)
            self.processes.append(process)
            self.ports.append(port)
            wait_for(port, process)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.fresh:
            self.fresh.remove()
            self.folder.rmdir()
        else:
            empty(self.folder)

    def cpu(self):
        # A process that has ended has told its time to its parent.
        ended = os.times().children_user + os.times().children_system
        return ended + sum(cpu_seconds(process.pid) for process in self.processes if process.poll() is None)

    def rss(self):
        return sum(rss_bytes(process.pid) for process in self.processes)

    def push(self, clip, *options):
        each = self.publishers // len(self.ports)
        command = [str(MILLSTREAM), "push", str(clip)]
        return [subprocess.Popen(command + [f"rtmp://127.0.0.1:{port}/live/s{{n}}", "--connections", str(each), *options],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for port in self.ports]


def real_time(server, clip, publishers, seconds):
    with Running(server, publishers) as running:
        idle = running.rss()
        load = running.push(clip, "--loop")
        time.sleep(4 + publishers / 200)
        before, load_before, began = running.cpu(), sum(cpu_seconds(p.pid) for p in load), time.monotonic()
        time.sleep(seconds)
        spent, load_spent = running.cpu() - before, sum(cpu_seconds(p.pid) for p in load) - load_before
        took = time.monotonic() - began
        memory = (running.rss() - idle) / publishers
        for process in load:
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(1)
        stream_seconds = publishers * took
        return {"cost": spent * 1000 / stream_seconds, "load": load_spent * 1000 / stream_seconds,
                "memory": memory, "wrong": check(server, running.folder, publishers, seconds)}


def full_speed(server, clip, publishers, seconds):
    with Running(server, publishers) as running:
        before, began = running.cpu(), time.monotonic()
        loads = running.push(clip, "--speed", "max")
        load_spent = 0
        for load in loads:
            _, status, used = os.wait4(load.pid, 0)
            load.returncode = status
            load_spent += used.ru_utime + used.ru_stime
        took = time.monotonic() - began
        time.sleep(1)
        gigabytes = clip.stat().st_size * publishers / 1e9
        # What ended meanwhile, the load too, is in the sum of children.
        spent = running.cpu() - before - load_spent
        return {"cost": spent / gigabytes, "load": load_spent / gigabytes, "wall": took,
                "wrong": check(server, running.folder, publishers, seconds - 1)}


def shake_hands(port):
    """A connection that says hello and then nothing."""
    peer = socket.create_connection(("127.0.0.1", port))
    peer.sendall(b"\3" + bytes(1536))
    left = 1 + 2 * 1536
    while left:
        left -= len(peer.recv(left))
    peer.sendall(bytes(1536))
    return peer


def idle_memory(server, connections):
    with Running(server, 1) as running:
        peers = [shake_hands(running.ports[0]) for _ in range(connections)]
        time.sleep(1)
        rss = running.rss()
        for peer in peers:
            peer.close()
        return {"rss": rss}


def get(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def wrk(running, url, seconds):
    """Requests of 64 connections that ask without pause, what they cost the server, and what failed."""
    children = os.times().children_user + os.times().children_system
    before = running.cpu()
    ran = subprocess.run(["wrk", "-t1", "-c64", f"-d{seconds:.0f}s", url], capture_output=True, text=True, check=True)
    loads = os.times().children_user + os.times().children_system - children
    requests = int(re.search(r"(\d+) requests in", ran.stdout).group(1))
    failed = re.search(r"Non-2xx.*|Socket errors.*", ran.stdout)
    return requests, running.cpu() - before - loads, failed and failed.group(0)


def serving_floor(way, seconds):
    """The same for a program that only sends one file."""
    def prepare(folder, *_):
        (folder / "0.ts").write_bytes(os.urandom(750_000))

    with Running(Server(way, lambda d, p, _: [FLOOR, f"127.0.0.1:{p}", d / "0.ts", way], "", prepare), 1) as running:
        requests, spent, failed = wrk(running, f"http://127.0.0.1:{running.ports[0]}/", seconds)
        gigabytes = requests * 750_000 / 1e9
        return {"segment": spent / gigabytes, "rate": gigabytes / seconds, "wrong": failed}


def serving(server, clip, seconds):
    """What a segment and a playlist cost that 64 connections ask for without pause, while the stream is live."""
    with Running(server, 1) as running:
        load = running.push(clip, "--loop")
        time.sleep(9)
        playlist = f"http://127.0.0.1:{running.http}{server.playlist}"
        while True:
            lines = [line for line in get(playlist).decode().splitlines() if line and not line.startswith("#")]
            following = urllib.parse.urljoin(playlist, lines[min(1, len(lines) - 1)])
            if urllib.parse.urlsplit(following).path.endswith(".ts"):
                break
            playlist = following
        size = len(get(following))

        results = {}
        for what, url in [("segment", following), ("playlist", playlist)]:
            results[what] = wrk(running, url, seconds)
        for process in load:
            process.kill()
            process.wait()
        requests, spent, failed = results["segment"]
        asked, asked_spent, asked_failed = results["playlist"]
        return {"segment": spent / (requests * size / 1e9), "playlist": asked / asked_spent, "size": size,
                "rate": requests * size / 1e9 / seconds, "wrong": failed or asked_failed}


def remux(clip, room):
    """`millstream remux` and `ffmpeg -c copy -f hls`, of one file into a folder in memory; and `split`, which only
    cuts the file into as many pieces: what the kernel costs."""
    results = {}
    for name, command in [
        ("ffmpeg", lambda d: ["ffmpeg", "-v", "error", "-i", clip, "-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0", f"{d}/index.m3u8"]),
        ("millstream", lambda d: [MILLSTREAM, "remux", clip, "--output", d]),
        ("split", lambda d: ["split", "-a", "4", "-b", "750000", clip, f"{d}/"]),
    ]:
        folder = tempfile.mkdtemp(prefix="compare-", dir=room)
        began = time.monotonic()
        process = subprocess.Popen([str(part) for part in command(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ended, most = 0, 0
        while not ended:
            most = max(most, most_rss_bytes(process.pid))
            time.sleep(0.005)
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
        process.returncode = status
        results[name] = {"cpu": used.ru_utime + used.ru_stime, "wall": time.monotonic() - began, "rss": most,
                         "wrong": f"ended with {status}" if status else None}
        shutil.rmtree(folder)
    return results


def median(results, key):
    return statistics.median(result[key] for result in results)


def in_turn(names, rounds, one):
    """Results by server: all servers in each round."""
    results = {server.name: [] for server in servers() if server.name in names}
    for _ in range(rounds):
        for server in servers():
            if server.name in names:
                results[server.name].append(one(server))
    return results


def table(title, unit, numbers, rounds, names, one):
    print(f"\n{title}\n")
    print(f"| publishers | server | {unit} | {' | '.join(f'÷ {other}' for other in OTHERS)} | memory per channel | load generator |")
    print("| --- " * (5 + len(OTHERS)) + "|")
    for publishers in numbers:
        # One process each is not what anybody would do with many.
        fit = [s.name for s in servers() if s.name in names and (not s.publishers_max or publishers <= 8)]
        results = in_turn(fit, rounds, lambda server: one(server, publishers))
        costs = {name: median(each, "cost") for name, each in results.items()}
        for name, each in results.items():
            wrong = next((r["wrong"] for r in each if r["wrong"]), None)
            if wrong:
                print(f"| {publishers} | {name} | broken: {wrong} " + "| " * (2 + len(OTHERS)) + "|", flush=True)
                continue
            ratios = [f"{costs[name] / costs[to]:.2f}" if to in costs else "" for to in OTHERS]
            memory = f"{median(each, 'memory') / 1024:.0f} KiB" if "memory" in each[0] else ""
            print(f"| {publishers} | {name} | {costs[name]:.3f} | {' | '.join(ratios)} | {memory} | {median(each, 'load'):.2f} |", flush=True)


def long_clip(clips):
    clip = clips / "compare-600s.flv"
    if not clip.exists():
        short = clips / "compare-20s.flv"
        make_clip(short, 20)
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-stream_loop", "29", "-i", short, "-c", "copy", "-f", "flv", clip], check=True)
    return clip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publishers", type=int, nargs="*", default=[], help="numbers of publishers in real time")
    parser.add_argument("--full-speed", type=int, nargs="*", default=[], help="numbers of publishers at full speed")
    parser.add_argument("--remux", action="store_true", help="compare remux of a file with ffmpeg's")
    parser.add_argument("--serve", action="store_true", help="compare the serving of segments and playlists with nginx's")
    parser.add_argument("--idle", type=int, help="memory with so many connections that do nothing")
    parser.add_argument("--fresh", action="store_true", help="an ext4 of its own for each server (root)")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[server.name for server in servers()])
    options = parser.parse_args()
    Running.fresh_wanted = options.fresh
    install()
    clips = pathlib.Path(tempfile.gettempdir())
    short = clips / "compare-20s.flv"
    make_clip(short, 20)
    rounds, only, seconds = options.rounds, options.only, options.seconds
    if options.publishers:
        table(f"Real time, {seconds:.0f} s windows, median of {rounds}", "CPU-ms per stream-second", options.publishers, rounds, only,
              lambda server, n: real_time(server, short, n, seconds))
    if options.full_speed:
        clip = long_clip(clips)
        table(f"Full speed, {clip.stat().st_size / 1e6:.0f} MB each, median of {rounds}", "CPU-s per GB", options.full_speed, rounds, only,
              lambda server, n: full_speed(server, clip, n, 600))
    if options.remux:
        clip = long_clip(clips)
        each = [remux(clip, "/dev/shm") for _ in range(rounds)]
        print(f"\nFile to segments in memory, {clip.stat().st_size / 1e6:.0f} MB, median of {rounds}\n")
        print("| program | CPU-s | wall s | memory |\n| --- | --- | --- | --- |")
        for name in each[0]:
            results = [round[name] for round in each]
            wrong = next((r["wrong"] for r in results if r["wrong"]), None)
            print(f"| {name} | broken: {wrong} | | |" if wrong else
                  f"| {name} | {median(results, 'cpu'):.3f} | {median(results, 'wall'):.3f} | {median(results, 'rss') / 2**20:.0f} MiB |", flush=True)
    if options.serve:
        names = [server.name for server in servers() if server.playlist and server.name in only]
        results = in_turn(names, rounds, lambda server: serving(server, short, min(seconds, 8)))
        for way in ("sendfile", "memory"):
            results[f"only {way}"] = [serving_floor(way, min(seconds, 8)) for _ in range(rounds)]
        print(f"\n64 kept connections, median of {rounds}\n")
        print("| server | segment: CPU-s per GB | GB a second | playlist: requests per CPU-second |\n| --- | --- | --- | --- |")
        for name, each in results.items():
            wrong = next((r["wrong"] for r in each if r["wrong"]), None)
            playlists = f"{median(each, 'playlist'):.0f}" if "playlist" in each[0] else ""
            print(f"| {name} | broken: {wrong} | | |" if wrong else
                  f"| {name} | {median(each, 'segment'):.3f} | {median(each, 'rate'):.2f} | {playlists} |", flush=True)
    if options.idle:
        names = [server.name for server in servers() if not server.publishers_max and server.name in only]
        results = in_turn(names, rounds, lambda server: idle_memory(server, options.idle))
        print(f"\n{options.idle} idle connections, median of {rounds}\n")
        print("| server | memory in all |\n| --- | --- |")
        for name, each in results.items():
            print(f"| {name} | {median(each, 'rss') / 2**20:.1f} MiB |", flush=True)


if __name__ == "__main__":
    try:
        main()
    finally:
        for leftover in LEFTOVERS:
            shutil.rmtree(leftover, ignore_errors=True)
