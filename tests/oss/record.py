#!/usr/bin/env python3
"""Writes the requests that the OSS SDK really sends, as src/compat/oss/recorded.http holds them.

    tests/.tools/venv/bin/python tests/oss/record.py > src/compat/oss/recorded.http

The SDK is as PyPI has it. It talks to a socket that answers 404 to everything; names are resolved
to this machine, because the SDK puts the bucket into the host name.
"""

import socket
import sys
import threading

import oss2

KEY, SECRET, TOKEN, BUCKET = "testak", "testsk", "TOK+/=", "demo-bucket"


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    heads = []
    threading.Thread(target=answer, args=(listener, heads), daemon=True).start()
    resolve = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)

    auths = {
        "v1": oss2.Auth(KEY, SECRET),
        "v2": oss2.AuthV2(KEY, SECRET),
        "v4": oss2.AuthV4(KEY, SECRET),
        "v1 sts": oss2.StsAuth(KEY, SECRET, TOKEN),
        "v2 sts": oss2.StsAuth(KEY, SECRET, TOKEN, auth_version="v2"),
        "v4 sts": oss2.StsAuth(KEY, SECRET, TOKEN, auth_version="v4"),
    }
    places = {
        "host": ("http://oss.localhost:%d" % port, {}),
        "path": ("http://oss.localhost:%d" % port, {"is_path_style": True}),
        "ip": ("http://127.0.0.1:%d" % port, {}),
        "cname": ("http://live.localhost:%d" % port, {"is_cname": True}),
    }
    for version, auth in auths.items():
        for place, (endpoint, how) in places.items():
            if place != "host" and version not in ("v1", "v4"):
                continue
            bucket = oss2.Bucket(auth, endpoint, BUCKET, region="cn-hangzhou", enable_crc=False, **how)
            some = calls(bucket, place == "host" and "sts" not in version)
            for name, call in some.items():
                del heads[:]
                try:
                    call()
                except oss2.exceptions.OssError:
                    pass
                assert len(heads) == 1, (version, place, name, heads)
                sys.stdout.write("### %s, %s, %s\n%s\n\n" % (version, place, name, heads[0]))
            url = bucket.sign_rtmp_url("cam", "vod.m3u8", 3600)
            sys.stdout.write("### %s, %s, sign_rtmp_url\n%s\n\n" % (version, place, url))


def calls(bucket, everything):
    """What the SDK is asked to do; without `everything` only what is addressed in different ways."""
    target = oss2.models.LiveChannelInfoTarget(playlist_name="test.m3u8")
    info = oss2.models.LiveChannelInfo(target=target, description="barn & <yard>")
    url = bucket.sign_url("GET", "cam/playlist.m3u8", 600, slash_safe=True)
    some = {
        "create_live_channel": lambda: bucket.create_live_channel("cam", info),
        "list_live_channel": lambda: bucket.list_live_channel(prefix="c/a m"),
        "post_vod_playlist": lambda: bucket.post_vod_playlist("cam", "vod.m3u8", 1795222138, 1795225738),
        "get_object_with_url": lambda: bucket.get_object_with_url(url),
    }
    if not everything:
        return some
    return some | {
        "put_live_channel_status": lambda: bucket.put_live_channel_status("cam", "disabled"),
        "get_live_channel": lambda: bucket.get_live_channel("cam"),
        "get_live_channel_stat": lambda: bucket.get_live_channel_stat("cam"),
        "get_live_channel_history": lambda: bucket.get_live_channel_history("cam"),
        "delete_live_channel": lambda: bucket.delete_live_channel("cam"),
        "get_vod_playlist": lambda: bucket.get_vod_playlist("cam", 1795222138, 1795225738),
        "create_bucket": lambda: bucket.create_bucket(oss2.BUCKET_ACL_PUBLIC_READ),
        "get_bucket_info": lambda: bucket.get_bucket_info(),
        "get_object": lambda: bucket.get_object("cam/1.ts", byte_range=(0, 99)),
        "list_objects": lambda: bucket.list_objects(prefix="cam/", delimiter="/"),
    }


def answer(listener, heads):
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            lines, length = [], 0
            while (line := stream.readline().decode().rstrip("\r\n")) != "":
                lines.append(line)
                if line.lower().startswith("content-length:"):
                    length = int(line.split(":")[1])
            body = stream.read(length).decode()
            heads.append("\n".join(lines) + ("\n\n" + body if body else ""))
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


main()
