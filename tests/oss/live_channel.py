#!/usr/bin/env python3
"""Uses a server as applications do, with the OSS SDK as PyPI has it: tests/e2e/oss.rs runs this.

    live_channel.py story PORT    the whole life of a channel: create, push, look, stop, play, refuse
    live_channel.py after PORT    what must be there when the server was killed and started again
    live_channel.py calls PORT    every operation with every signature version and addressing
    live_channel.py raw PORT      requests as the C and Go SDKs write them
    live_channel.py walk PORT     every operation with no, wrong, expired and lesser credentials

Access key testak with secret testsk (and for the walk lookak, looksk, which may only look, and elseak,
elsesk, which reaches else-bucket alone); whatever is not as the API's reference says is an error.
"""

import base64
import datetime
import email.utils
import hashlib
import hmac
import http.client
import os
import socket
import subprocess
import sys
import time

import oss2
from oss2 import exceptions as no

KEY, SECRET = "testak", "testsk"
SIZE, RATE, SECONDS = (640, 360), 25, 12


def main():
    command, port = sys.argv[1], int(sys.argv[2])
    {"story": story, "after": after, "calls": calls, "raw": raw, "walk": walk}[command](port)


def story(port):
    endpoint = "http://127.0.0.1:%d" % port
    bucket = oss2.Bucket(oss2.Auth(KEY, SECRET), endpoint, "demo-bucket")
    bucket.create_bucket(oss2.BUCKET_ACL_PRIVATE)
    made = create(bucket, "cam", "live.m3u8")
    same(made.publish_url, "rtmp://127.0.0.1:%d/demo-bucket/live/cam" % port)
    same(made.play_url, "%s/demo-bucket/cam/live.m3u8" % endpoint)
    same(bucket.get_live_channel_stat("cam").status, "Idle")

    began = int(time.time())
    push = Push(bucket.sign_rtmp_url("cam", "pushed.m3u8", 60))
    wait("the channel to be live", lambda: bucket.get_live_channel_stat("cam").status == "Live")
    wait("a playlist", lambda: bucket.object_exists("cam/live.m3u8"))
    look_while_live(bucket)
    refuse_while_live(bucket)
    same(push.end(), 0)
    wait("the channel to be idle", lambda: bucket.get_live_channel_stat("cam").status == "Idle")
    ended = int(time.time()) + 1

    # Rows are written beside the push, some tenths of a second later.
    wait("history", lambda: bucket.get_live_channel_history("cam").records)
    (record,) = bucket.get_live_channel_history("cam").records
    true(began <= record.start_time < record.end_time <= ended, vars(record))
    true(SECONDS - 2 <= record.end_time - record.start_time <= SECONDS + 3, vars(record))
    true(record.remote_addr.startswith("127.0.0.1:"), record.remote_addr)

    posted = bucket.post_vod_playlist("cam", "vod.m3u8", began - 1, ended)
    true(posted.status == 200 and posted.headers["etag"], posted.headers)
    text = bucket.get_object("cam/vod.m3u8").read().decode()
    same(bucket.get_vod_playlist("cam", began - 1, ended).playlist, text)
    true(text.startswith("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:"), text)
    true(text.endswith("#EXT-X-ENDLIST\n"), text)
    names = [line for line in text.splitlines() if not line.startswith("#")]
    true(len(names) >= 4 and all(began * 1000 <= int(n[:-3]) < ended * 1000 for n in names), text)
    play_it(bucket, endpoint, names)
    objects(bucket, names)
    refuse(bucket, port)
    host_of_the_bucket(port)
    stop_by_disabling(bucket)
    print("ok")


def look_while_live(bucket):
    wait("tracks", lambda: bucket.get_live_channel_stat("cam").video is not None)
    time.sleep(3)
    stat = bucket.get_live_channel_stat("cam")
    same((stat.video.width, stat.video.height, stat.video.frame_rate), SIZE + (RATE,))
    same((stat.video.codec, stat.audio.codec, stat.audio.sample_rate), ("H264", "AAC", 44100))
    true(stat.video.bandwidth > 1000 and stat.audio.bandwidth > 1000, (vars(stat.video), vars(stat.audio)))
    true(stat.remote_addr.startswith("127.0.0.1:"), stat.remote_addr)
    true(abs(stat.connected_time - time.time()) < 15, stat.connected_time)
    same(len(bucket.get_live_channel_history("cam").records), 0)
    for name in ("live.m3u8", "pushed.m3u8"):
        text = bucket.get_object("cam/" + name).read().decode()
        names = [line for line in text.splitlines() if not line.startswith("#")]
        true(1 <= len(names) <= 3 and "#EXT-X-ENDLIST" not in text, text)
        same(bucket.get_object("cam/" + names[0], byte_range=(0, 0)).read(), b"G")


def refuse_while_live(bucket):
    fails(no.ServerError, lambda: create(bucket, "cam", "live.m3u8"), 409, "ChannelStillLive")
    fails(no.ServerError, lambda: bucket.delete_live_channel("cam"), 409, "ChannelStillLive")
    first = bucket.get_live_channel_stat("cam").remote_addr
    refused(bucket.sign_rtmp_url("cam", "", 60), "has a publisher already")
    same(bucket.get_live_channel_stat("cam").remote_addr, first)


def refuse(bucket, port):
    """Nobody else may push, and the encoder is told so."""
    endpoint = "http://127.0.0.1:%d" % port
    signed = lambda auth, name, expires: oss2.Bucket(auth, endpoint, "demo-bucket").sign_rtmp_url(name, "", expires)
    good = oss2.Auth(KEY, SECRET)
    refused(signed(oss2.Auth(KEY, "wrong"), "cam", 60), "signature we calculated does not match")
    refused(signed(oss2.Auth("nobody", SECRET), "cam", 60), "does not exist in our records")
    refused(signed(good, "cam", -1), "Request has expired")
    refused(signed(good, "nothere", 60), "live channel does not exist")
    refused(signed(oss2.AnonymousAuth(), "cam", 60), "not signed")
    create(bucket, "other", "")
    refused(signed(good, "cam", 60).replace("/live/cam", "/live/other"), "signature we calculated does not match")
    refused(signed(good, "cam", 60).replace("demo-bucket", "none-bucket"), "bucket does not exist")
    bucket.put_live_channel_status("cam", "disabled")
    same(bucket.get_live_channel_stat("cam").status, "Disabled")
    refused(signed(good, "cam", 60), "disabled")
    bucket.put_live_channel_status("cam", "enabled")
    same(bucket.get_live_channel_stat("cam").status, "Idle")


def host_of_the_bucket(port):
    """The bucket in the host alone, and no signature: the bucket lets anybody write."""
    bucket = oss2.Bucket(oss2.Auth(KEY, SECRET), "http://127.0.0.1:%d" % port, "open-bucket")
    bucket.create_bucket(oss2.BUCKET_ACL_PUBLIC_READ_WRITE)
    create(bucket, "cam", "live.m3u8")
    push = Push("rtmp://127.0.0.1:%d/live/cam" % port, "-rtmp_tcurl", "rtmp://open-bucket.oss.localhost:%d/live" % port)
    wait("the channel to be live", lambda: bucket.get_live_channel_stat("cam").status == "Live")
    push.stop()
    wait("the channel to be idle", lambda: bucket.get_live_channel_stat("cam").status == "Idle")


def stop_by_disabling(bucket):
    push = Push(bucket.sign_rtmp_url("cam", "", 60))
    wait("the channel to be live", lambda: bucket.get_live_channel_stat("cam").status == "Live")
    bucket.put_live_channel_status("cam", "disabled")
    same(bucket.get_live_channel_stat("cam").status, "Disabled")
    true(push.end(limit=10) != 0, "the push went on")
    bucket.put_live_channel_status("cam", "enabled")


def play_it(bucket, endpoint, names):
    """What was posted plays, as soon as the bucket's ACL lets players read."""
    url = endpoint + "/demo-bucket/cam/vod.m3u8"
    stranger = oss2.Bucket(oss2.AnonymousAuth(), endpoint, "demo-bucket")
    for key in ("cam/vod.m3u8", "cam/live.m3u8", "cam/" + names[0], "cam/nothing.ts"):
        fails(no.AccessDenied, lambda: stranger.get_object(key), 403, "AccessDenied")
    signed = bucket.sign_url("GET", "cam/" + names[0], 60, slash_safe=True)
    true(stranger.get_object_with_url(signed).read()[:1] == b"G", "a presigned segment")
    bucket.put_bucket_acl(oss2.BUCKET_ACL_PUBLIC_READ)
    same(bucket.get_bucket_acl().acl, "public-read")
    fails(no.NoSuchKey, lambda: stranger.get_object("cam/nothing.ts"), 404, "NoSuchKey")
    fails(no.AccessDenied, lambda: stranger.delete_object("cam/vod.m3u8"), 403, "AccessDenied")
    fails(no.AccessDenied, lambda: stranger.get_live_channel("cam"), 403, "AccessDenied")
    command = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-of", "csv=p=0"]
    command += ["-show_entries", "stream=nb_read_frames", url]
    frames = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    same(frames[0].strip(","), str(RATE * SECONDS))


def objects(bucket, names):
    keys = ["cam/" + name for name in names] + ["cam/live.m3u8", "cam/pushed.m3u8", "cam/vod.m3u8"]
    same([found.key for found in oss2.ObjectIterator(bucket, max_keys=3)], keys)
    same([found.key for found in oss2.ObjectIterator(bucket, delimiter="/")], ["cam/"])
    same([found.key for found in oss2.ObjectIterator(bucket, prefix="cam/v")], ["cam/vod.m3u8"])
    for found in bucket.list_objects(prefix="cam/").object_list:
        head = bucket.head_object(found.key)
        same((head.content_length, head.etag.strip('"')), (found.size, found.etag), found.key)
    fails(no.ServerError, lambda: bucket.delete_bucket(), 409, "BucketNotEmpty")
    fails(no.ServerError, lambda: bucket.put_object("cam/x.ts", b"x"), 405, "MethodNotAllowed")
    for key in keys[:1] + ["cam/live.m3u8"]:
        fails(no.AccessDenied, lambda: bucket.delete_object(key), 403, "AccessDenied")
    bucket.post_vod_playlist("cam", "gone.m3u8", int(names[0][:-3]) // 1000, int(time.time()))
    bucket.delete_object("cam/gone.m3u8")
    bucket.delete_object("cam/gone.m3u8")
    fails(no.NoSuchKey, lambda: bucket.get_object("cam/gone.m3u8"), 404, "NoSuchKey")


def after(port):
    bucket = oss2.Bucket(oss2.Auth(KEY, SECRET), "http://127.0.0.1:%d" % port, "demo-bucket")
    same(bucket.get_live_channel("cam").target.playlist_name, "live.m3u8")
    same(bucket.get_bucket_acl().acl, "public-read")
    same(len(bucket.get_live_channel_history("cam").records), 2)
    text = bucket.get_object("cam/vod.m3u8").read().decode()
    names = [line for line in text.splitlines() if not line.startswith("#")]
    same([bucket.get_object("cam/" + name).read(1) for name in names], [b"G"] * len(names))
    true("#EXTM3U" in bucket.get_object("cam/live.m3u8").read().decode(), "the live playlist")
    print("ok")


def calls(port):
    auths = {
        "v1": oss2.Auth(KEY, SECRET),
        "v2": oss2.AuthV2(KEY, SECRET),
        "v4": oss2.AuthV4(KEY, SECRET),
        "v1-sts": oss2.StsAuth(KEY, SECRET, "TOK+/="),
        "v2-sts": oss2.StsAuth(KEY, SECRET, "TOK+/=", auth_version="v2"),
        "v4-sts": oss2.StsAuth(KEY, SECRET, "TOK+/=", auth_version="v4"),
    }
    # Names are never looked up: the server takes requests as a proxy does.
    os.environ["http_proxy"], os.environ["no_proxy"] = "http://127.0.0.1:%d" % port, "127.0.0.1"
    places = {
        "host": ("http://oss.localhost:%d" % port, {}, "rtmp://%s.oss.localhost:%d/live/"),
        "path": ("http://oss.localhost:%d" % port, {"is_path_style": True}, "rtmp://oss.localhost:%d/%s/live/"),
        "ip": ("http://127.0.0.1:%d" % port, {}, "rtmp://127.0.0.1:%d/%s/live/"),
        "cname": ("http://media.localhost:%d" % port, {"is_cname": True}, "rtmp://media.localhost:%d/live/"),
    }
    for version, auth in auths.items():
        for place, (endpoint, how, publish) in places.items():
            name = "cname-bucket" if place == "cname" else "%s-%s" % (version, place)
            facts = {"host": (name, port), "cname": (port,)}.get(place, (port, name))
            bucket = oss2.Bucket(auth, endpoint, name, region="cn-hangzhou", **how)
            one_round(bucket, publish % facts)
    service = oss2.Service(oss2.Auth(KEY, SECRET), "http://127.0.0.1:%d" % port)
    for name in ("page-a", "page-b", "page-c"):
        oss2.Bucket(service.auth, service.endpoint, name).create_bucket()
    same([found.name for found in oss2.BucketIterator(service, prefix="page-", max_keys=1)], ["page-a", "page-b", "page-c"])
    fails(no.AccessDenied, lambda: oss2.Service(oss2.AnonymousAuth(), service.endpoint).list_buckets(), 403, "AccessDenied")
    print("ok")


def one_round(bucket, publish):
    fails(no.NoSuchBucket, lambda: bucket.get_live_channel("cam"), 404, "NoSuchBucket")
    bucket.create_bucket()
    bucket.create_bucket()
    same((bucket.get_bucket_info().acl.grant, bucket.get_bucket_info().name), ("private", bucket.bucket_name))
    fails(no.NoSuchLiveChannel, lambda: bucket.get_live_channel("cam"), 404, "NoSuchLiveChannel")
    fails(no.NoSuchLiveChannel, lambda: bucket.put_live_channel_status("cam", "enabled"), 404, "NoSuchLiveChannel")
    fails(no.NoSuchLiveChannel, lambda: bucket.delete_live_channel("cam"), 404, "NoSuchLiveChannel")
    made = create(bucket, "cam", "")
    same(made.publish_url, publish + "cam")
    true(bucket.sign_rtmp_url("cam", "", 60).startswith(made.publish_url + "?"), made.publish_url)
    same(made.play_url, publish.replace("rtmp", "http", 1).replace("/live/", "/") + "cam/playlist.m3u8")
    info = bucket.get_live_channel("cam")
    target = info.target
    same((info.description, info.status), ("barn & <yard>", "enabled"))
    same((target.type, target.frag_duration, target.frag_count, target.playlist_name), ("HLS", "2", "3", "playlist.m3u8"))
    for status in ("disabled", "disabled", "enabled"):
        bucket.put_live_channel_status("cam", status)
        same(bucket.get_live_channel("cam").status, status)
    fails(no.InvalidArgument, lambda: bucket.put_live_channel_status("cam", "paused"), 400, "InvalidArgument")
    fails(no.InvalidArgument, lambda: bucket.list_live_channel(max_keys=1001), 400, "InvalidArgument")
    fails(no.InvalidArgument, lambda: create(bucket, "c" * 64, ""), 400, "InvalidArgument")
    fails(no.InvalidArgument, lambda: create(bucket, "cam", "x.txt"), 400, "InvalidArgument")
    nothing = fails(no.InvalidArgument, lambda: bucket.post_vod_playlist("cam", "v.m3u8", 10, 20), 400, "InvalidArgument")
    same(nothing.message, "No ts file found in specified time span.")
    fails(no.InvalidArgument, lambda: bucket.get_vod_playlist("cam", 10, 86411), 400, "InvalidArgument")
    same(len(bucket.get_live_channel_history("cam").records), 0)
    few_fragments(bucket)
    names = ["a-1", "a.2", "a_3", "b"]
    for name in names:
        create(bucket, name, "")
    found = list(oss2.LiveChannelIterator(bucket, prefix="a", max_keys=1))
    same([channel.name for channel in found], names[:3])
    true(all(abs(channel.last_modified - time.time()) < 60 for channel in found), found)
    same([channel.name for channel in bucket.list_live_channel(marker="a.2").channels], ["a_3", "b", "cam", "few"])
    wrong = oss2.Bucket(oss2.Auth(KEY, "wrong"), "http://127.0.0.1:%d" % port_of(bucket), bucket.bucket_name)
    fails(no.SignatureDoesNotMatch, lambda: wrong.get_live_channel("cam"), 403, "SignatureDoesNotMatch")
    nobody = oss2.Bucket(oss2.Auth("nobody", "x"), "http://127.0.0.1:%d" % port_of(bucket), bucket.bucket_name)
    fails(no.ServerError, lambda: nobody.get_live_channel("cam"), 403, "InvalidAccessKeyId")
    fails(no.ServerError, lambda: bucket.delete_bucket(), 409, "BucketNotEmpty")
    for name in names + ["cam", "few"]:
        bucket.delete_live_channel(name)
    bucket.delete_bucket()
    fails(no.NoSuchBucket, lambda: bucket.delete_bucket(), 404, "NoSuchBucket")


def few_fragments(bucket):
    """A window shorter than ours may be is told as it was set."""
    target = oss2.models.LiveChannelInfoTarget(frag_duration=100, frag_count=1)
    try:
        bucket.create_live_channel("few", oss2.models.LiveChannelInfo(target=target))
    except no.InvalidArgument as error:
        raise AssertionError(error.details) from error
    target = bucket.get_live_channel("few").target
    same((target.frag_duration, target.frag_count), ("100", "1"))


def raw(port):
    """Both framings at once, an expectation, a prolog, slashes encoded: as the C SDK writes; bare
    names and no empty elements: as Go's does."""
    body = b'<?xml version="1.0" encoding="UTF-8"?><LiveChannelConfiguration><Description>c</Description>'
    body += b"<Target><Type>HLS</Type></Target></LiveChannelConfiguration>"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    both = ["Transfer-Encoding: chunked", "Expect: 100-continue"]
    ask(port, "PUT", "/raw-bucket", "/raw-bucket", [], b"", 200)
    length = ["Content-Length: %d" % len(body)]
    ask(port, "PUT", "/raw-bucket%2Fcam?live", "/raw-bucket/cam?live", both + length, chunked, 200, "CreateLiveChannelResult")
    form = ["Content-Type: application/x-www-form-urlencoded", "Transfer-Encoding: chunked", "Content-Length: 0"]
    path, signed = "/raw-bucket%2Fcam%2Fv.m3u8?vod&startTime=1&endTime=9", "/raw-bucket/cam/v.m3u8?endTime=9&startTime=1&vod"
    ask(port, "POST", path, signed, form, b"0\r\n\r\n", 400, "No ts file found in specified time span.")
    ask(port, "GET", "/raw-bucket?live&prefix&marker&max-keys=1000", "/raw-bucket?live", [], b"", 200, "<Name>cam</Name>")
    go = b"<LiveChannelConfiguration><Target><Type>HLS</Type></Target></LiveChannelConfiguration>"
    ask(port, "PUT", "/raw-bucket/go?live", "/raw-bucket/go?live", ["Content-Length: %d" % len(go)], go, 200)
    ask(port, "GET", "/raw-bucket/go?live&comp=stat", "/raw-bucket/go?comp=stat&live", [], b"", 200, "<Status>Idle</Status>")
    ask(port, "DELETE", "/raw-bucket/?live", "/raw-bucket/?live", [], b"", 400, "0017-00000257")
    ask(port, "PUT", "/raw-bucket/cam?live", "/raw-bucket/cam?live", ["Content-Length: 3"], b"<x>", 400, "MalformedXML")
    ask(port, "GET", "/raw-bucket/go?live", "/raw-bucket/go?live", [], b"", 403, "RequestTimeTooSkewed", off=16)
    ask(port, "HEAD", "/raw-bucket/go/none.ts", "/raw-bucket/go/none.ts", [], b"", 404)
    print("ok")


def ask(port, method, path, resource, headers, body, status, text="", off=0):
    now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=off)
    date = email.utils.format_datetime(now, usegmt=True)
    kind = [line.split(": ")[1] for line in headers if line.startswith("Content-Type")]
    string = "\n".join([method, "", "".join(kind), date, resource])
    seal = base64.b64encode(hmac.new(SECRET.encode(), string.encode(), hashlib.sha1).digest()).decode()
    lines = ["%s %s HTTP/1.1" % (method, path), "Host: 127.0.0.1:%d" % port, "Date: " + date]
    lines += ["Authorization: OSS %s:%s" % (KEY, seal), "Connection: close"] + headers
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join(lines + ["", ""]).encode() + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    answer = answer.decode().removeprefix("HTTP/1.1 100 Continue\r\n\r\n")
    true(answer.startswith("HTTP/1.1 %d " % status) and text in answer, answer)
    (request,) = [line for line in answer.splitlines() if line.lower().startswith("x-oss-request-id: ")]
    same(len(request.split(": ")[1]), 24)


def create(bucket, name, playlist):
    target = oss2.models.LiveChannelInfoTarget(frag_duration=2, frag_count=3, playlist_name=playlist)
    info = oss2.models.LiveChannelInfo(target=target, description="barn & <yard>")
    return bucket.create_live_channel(name, info)


class Push:
    """ffmpeg, in real time."""

    def __init__(self, url, *more):
        video = "testsrc2=s=%dx%d:r=%d" % (SIZE + (RATE,))
        command = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", video]
        command += ["-f", "lavfi", "-i", "sine=440:r=44100", "-t", str(SECONDS), "-c:v", "libx264", "-preset"]
        command += ["ultrafast", "-g", str(RATE * 2), "-c:a", "aac", "-f", "flv", *more, url]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)

    def end(self, limit=SECONDS + 20):
        try:
            self.said = self.process.communicate(timeout=limit)[1]
        except subprocess.TimeoutExpired:
            self.stop()
            raise
        return self.process.returncode

    def stop(self):
        self.process.kill()
        self.process.communicate()


# Method, target, headers, whether something is different afterwards.
WALK = [
    ("GET", "/", {}, False),
    ("PUT", "/walk-bucket/", {}, True),
    ("DELETE", "/walk-bucket/", {}, True),
    ("GET", "/walk-bucket/?bucketInfo", {}, False),
    ("GET", "/walk-bucket/?location", {}, False),
    ("GET", "/walk-bucket/?acl", {}, False),
    ("PUT", "/walk-bucket/?acl", {"x-oss-acl": "public-read-write"}, True),
    ("GET", "/walk-bucket/?prefix=", {}, False),
    ("GET", "/walk-bucket/?uploads", {}, False),
    ("GET", "/walk-bucket/?live", {}, False),
    ("PUT", "/walk-bucket/new?live", {}, True),
    ("PUT", "/walk-bucket/cam?live&status=disabled", {}, True),
    ("GET", "/walk-bucket/cam?live", {}, False),
    ("GET", "/walk-bucket/cam?comp=stat&live", {}, False),
    ("GET", "/walk-bucket/cam?comp=history&live", {}, False),
    ("DELETE", "/walk-bucket/cam?live", {}, True),
    ("POST", "/walk-bucket/cam/x.m3u8?endTime=9&startTime=1&vod", {}, True),
    ("GET", "/walk-bucket/cam?endTime=9&startTime=1&vod", {}, False),
    ("GET", "/walk-bucket/cam/live.m3u8", {}, False),
    ("HEAD", "/walk-bucket/cam/live.m3u8", {}, False),
    ("GET", "/walk-bucket/cam/1.ts", {}, False),
    ("DELETE", "/walk-bucket/cam/x.m3u8", {}, True),
]


def walk(port):
    """No request without rights changes or reads anything, and a lesser right is not a greater one."""
    endpoint = "http://127.0.0.1:%d" % port
    bucket = oss2.Bucket(oss2.Auth(KEY, SECRET), endpoint, "walk-bucket")
    bucket.create_bucket(oss2.BUCKET_ACL_PRIVATE)
    create(bucket, "cam", "live.m3u8")
    oss2.Bucket(oss2.Auth(KEY, SECRET), endpoint, "else-bucket").create_bucket()

    def all_there_is():
        stat = [vars(c) for c in oss2.LiveChannelIterator(bucket)]
        listed = [o.key for o in bucket.list_objects().object_list]
        return str((bucket.get_bucket_acl().acl, bucket.get_live_channel("cam").status, len(stat), listed))

    before = all_there_is()
    strangers = [
        ("nobody", None),
        ("a wrong secret", lambda *r: header(*r, KEY, "wrong", 0)),
        ("an unknown key", lambda *r: header(*r, "nobody", SECRET, 0)),
        ("an old signature", lambda *r: header(*r, KEY, SECRET, -20 * 60)),
        ("a signature of tomorrow", lambda *r: header(*r, KEY, SECRET, 86400)),
        ("a signature of another request", lambda m, t, h: header("PATCH", t, h, KEY, SECRET, 0)),
        ("no signature", lambda *r: {"Authorization": "OSS " + KEY + ":"}),
        ("a key of another bucket", lambda *r: header(*r, "elseak", "elsesk", 0)),
        ("a key that may only look", lambda *r: header(*r, "lookak", "looksk", 0)),
    ]
    for method, target, headers, changes in WALK:
        for who, credential in strangers:
            shown = credential(method, target, headers) if credential else {}
            status, body = plain(port, method, target, {**headers, **shown})
            what = "%s %s as %s: %d %s" % (method, target, who, status, body)
            if who == "a key of another bucket" and target == "/":
                true(status == 200 and b"walk-bucket" not in body and b"else-bucket" in body, what)
            elif who == "a key that may only look" and not changes:
                true(status != 403 and status < 500, what)
            else:
                true(status == 403, what)
            true(b"walk-bucket</Name>" not in body or status == 200, what)
    # The same by URL.
    for expires in (-1, 60):
        url = bucket.sign_url("GET", "cam/live.m3u8", expires).split("%d" % port, 1)[1]
        same(plain(port, "GET", url, {})[0], 403 if expires < 0 else 404)
        same(plain(port, "DELETE", url, {})[0], 403)
    for auth in (oss2.Auth("lookak", "looksk"), oss2.Auth("elseak", "elsesk")):
        refused(oss2.Bucket(auth, endpoint, "walk-bucket").sign_rtmp_url("cam", "", 60), "does not reach that far")
    same(all_there_is(), before)
    # Who has every right, at an address that has none: the server was started so.
    shut = oss2.Bucket(oss2.Auth(KEY, SECRET), endpoint, "shut-bucket")
    shut.create_bucket(oss2.BUCKET_ACL_PUBLIC_READ)
    create(shut, "cam", "live.m3u8")
    for shown in ({}, header("GET", "/shut-bucket/cam/live.m3u8", {}, KEY, SECRET, 0)):
        status, body = plain(port, "GET", "/shut-bucket/cam/live.m3u8", shown)
        true(status == 403 and b"is not played from 127.0.0.1" in body, body)
    refused(shut.sign_rtmp_url("cam", "", 60), "is not published to from 127.0.0.1")
    print("ok")


def header(method, target, headers, key, secret, off_s):
    """A signature of version 1; every sub-resource of the walk is in its order already."""
    date = email.utils.formatdate(time.time() + off_s, usegmt=True)
    own = "".join("%s:%s\n" % (name, headers[name]) for name in sorted(headers) if name.startswith("x-oss-"))
    resource = target.split("?prefix=")[0]
    text = "%s\n\n\n%s\n%s%s" % (method, date, own, resource)
    seal = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
    return {"Date": date, "Authorization": "OSS %s:%s" % (key, seal)}


def plain(port, method, target, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def refused(url, why):
    """A push to this URL fails at once, and the encoder shows why."""
    began = time.time()
    push = Push(url)
    true(push.end(limit=10) != 0, "taken: " + url)
    true(why in push.said.decode(), push.said)
    true(time.time() - began < 8, "refused late: " + url)


def port_of(bucket):
    return int(bucket.endpoint.rsplit(":", 1)[1])


def wait(what, condition, limit=15):
    began = time.time()
    while not condition():
        true(time.time() - began < limit, "waited in vain for " + what)
        time.sleep(0.1)


def fails(kind, call, status, code):
    try:
        call()
    except no.ServerError as error:
        true(isinstance(error, kind), error)
        same((error.status, error.code), (status, code))
        return error
    raise AssertionError("no %s" % code)


def same(found, expected, what=""):
    true(found == expected, "%r instead of %r %s" % (found, expected, what))


def true(condition, what):
    if not condition:
        raise AssertionError(what)


main()
