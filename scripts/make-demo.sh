#!/usr/bin/env bash
# Makes assets/demo.flv, the clip that `serve --demo` publishes in a loop: a test pattern with a
# running clock, and a tone that beeps every second.
#
# It loops without a seam: 16 s are 400 pictures (8 GOPs of 2 s) and 750 AAC frames of 1024 samples
# at 48 kHz. The encoder puts one frame of priming in front, so it is given 749 frames of sound;
# 440 Hz has a whole number of periods in 16 s.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p assets
ffmpeg -v error -y \
    -f lavfi -i testsrc2=size=640x360:rate=25:duration=16 \
    -f lavfi -i "sine=frequency=440:beep_factor=4:sample_rate=48000,atrim=end_sample=$((749 * 1024))" \
    -c:v libx264 -profile:v high -preset veryslow -b:v 550k -maxrate 700k -bufsize 700k \
    -g 50 -keyint_min 50 -sc_threshold 0 -bf 2 -pix_fmt yuv420p \
    -c:a aac -b:a 64k -ac 2 \
    -map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
    assets/demo.flv
