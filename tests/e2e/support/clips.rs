//! Test clips: FLV files made with ffmpeg's test sources, once, and kept under target/.

use super::process::{self, ffmpeg, newer_ffmpeg};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// How to make a clip. Small pictures: the tests are about packaging, not about looks.
#[derive(Clone, Copy)]
pub(crate) struct Clip {
    pub(crate) name: &'static str,
    pub(crate) video: Option<Video>,
    pub(crate) audio: Option<Audio>,
    pub(crate) seconds: u32,
}

#[derive(Clone, Copy)]
pub(crate) struct Video {
    pub(crate) codec: &'static str,
    pub(crate) size: &'static str,
    /// Pictures a second, as ffmpeg reads it.
    pub(crate) rate: &'static str,
    pub(crate) keys: Keys,
    pub(crate) b_frames: u32,
}

/// Where the key frames are.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    /// One in so many frames.
    Every(u32),
    /// At these seconds only.
    At(&'static str),
}

#[derive(Clone, Copy)]
pub(crate) struct Audio {
    pub(crate) codec: &'static str,
    pub(crate) rate: u32,
    pub(crate) channels: u32,
}

const fn video(rate: &'static str, keys: Keys, b_frames: u32) -> Option<Video> {
    Some(Video {
        codec: "libx264",
        size: "320x180",
        rate,
        keys,
        b_frames,
    })
}

const fn aac(rate: u32, channels: u32) -> Option<Audio> {
    Some(Audio {
        codec: "aac",
        rate,
        channels,
    })
}

pub(crate) const PLAIN: Clip = Clip {
    name: "plain",
    video: video("25", Keys::Every(50), 2),
    audio: aac(48_000, 2),
    seconds: 10,
};
pub(crate) const LONG_GOP: Clip = Clip {
    name: "long_gop",
    video: video("30", Keys::Every(300), 3),
    audio: aac(48_000, 2),
    seconds: 20,
};
pub(crate) const SHORT_GOP: Clip = Clip {
    name: "short_gop",
    video: video("60", Keys::Every(30), 2),
    audio: aac(44_100, 2),
    seconds: 8,
};
pub(crate) const FILM: Clip = Clip {
    name: "film",
    video: video("24000/1001", Keys::Every(48), 2),
    audio: aac(44_100, 1),
    seconds: 10,
};
pub(crate) const SURROUND: Clip = Clip {
    name: "surround",
    video: video("30", Keys::Every(60), 0),
    audio: aac(48_000, 6),
    seconds: 6,
};
/// What OBS sends by default: key frames where the scene changes, at most 250 frames apart.
pub(crate) const OBS_DEFAULT: Clip = Clip {
    name: "obs_default",
    video: video("30", Keys::At("0,1.1,4.9,5.2,13.4,15.1"), 2),
    audio: aac(48_000, 2),
    seconds: 18,
};
pub(crate) const MP3: Clip = Clip {
    name: "mp3",
    video: video("25", Keys::Every(50), 2),
    audio: Some(Audio {
        codec: "libmp3lame",
        rate: 44_100,
        channels: 2,
    }),
    seconds: 6,
};
pub(crate) const AUDIO_ONLY: Clip = Clip {
    name: "audio_only",
    video: None,
    audio: aac(44_100, 2),
    seconds: 10,
};
pub(crate) const VIDEO_ONLY: Clip = Clip {
    name: "video_only",
    video: video("30", Keys::Every(60), 2),
    audio: None,
    seconds: 8,
};
/// By Enhanced RTMP; needs the newer ffmpeg to be made and pushed.
pub(crate) const HEVC: Clip = Clip {
    name: "hevc",
    video: Some(Video {
        codec: "libx265",
        size: "320x180",
        rate: "25",
        keys: Keys::Every(50),
        b_frames: 2,
    }),
    audio: aac(48_000, 2),
    seconds: 8,
};
/// Long enough to be watched live.
pub(crate) const SHOW: Clip = Clip {
    name: "show",
    video: video("25", Keys::Every(50), 2),
    audio: aac(48_000, 2),
    seconds: 50,
};
pub(crate) const SHOW_SHORT_GOP: Clip = Clip {
    name: "show_short_gop",
    video: video("30", Keys::Every(15), 2),
    audio: aac(44_100, 1),
    seconds: 50,
};
/// Two that a soak can afford by the hundred, and that differ in all that a decoder is told.
pub(crate) const SOAK: Clip = Clip {
    name: "soak",
    video: Some(Video {
        codec: "libx264",
        size: "192x108",
        rate: "15",
        keys: Keys::Every(30),
        b_frames: 0,
    }),
    audio: aac(32_000, 1),
    seconds: 20,
};
pub(crate) const SOAK_OTHER: Clip = Clip {
    name: "soak_other",
    video: Some(Video {
        codec: "libx264",
        size: "256x144",
        rate: "20",
        keys: Keys::Every(40),
        b_frames: 2,
    }),
    audio: aac(44_100, 2),
    seconds: 20,
};
/// Codecs that no segment can hold.
pub(crate) const SORENSON: Clip = Clip {
    name: "sorenson",
    video: Some(Video {
        codec: "flv1",
        size: "320x180",
        rate: "25",
        keys: Keys::Every(50),
        b_frames: 0,
    }),
    audio: aac(44_100, 2),
    seconds: 4,
};
pub(crate) const SPEEX: Clip = Clip {
    name: "speex",
    video: None,
    audio: Some(Audio {
        codec: "libspeex",
        rate: 16_000,
        channels: 1,
    }),
    seconds: 4,
};

/// One clip at a time is made, with all cores.
static MAKING: Mutex<()> = Mutex::new(());

impl Clip {
    /// The clip's file; makes it if it is not there.
    pub(crate) fn path(&self) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clips");
        let arguments = self.arguments();
        // Another recipe is another file.
        let path = folder.join(format!(
            "{}-{:016x}.flv",
            self.name,
            fingerprint(&arguments)
        ));
        let _one_at_a_time = MAKING
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if !path.exists() {
            std::fs::create_dir_all(&folder).expect("target/ can be written to");
            let growing = path.with_extension("growing.flv");
            let mut encoder = if self.is_hevc() {
                newer_ffmpeg()
            } else {
                ffmpeg()
            };
            process::succeed(encoder.args(["-v", "error"]).args(&arguments).arg(&growing));
            std::fs::rename(&growing, &path).expect("target/ can be written to");
        }
        path
    }

    /// Whether only the newer ffmpeg can read and write it as FLV.
    pub(crate) fn is_hevc(&self) -> bool {
        self.video.is_some_and(|video| video.codec == "libx265")
    }

    fn arguments(&self) -> Vec<String> {
        let mut list = Vec::new();
        let mut add = |text: &str| list.extend(text.split(' ').map(str::to_owned));
        if let Some(video) = self.video {
            add(&format!(
                "-f lavfi -i testsrc2=size={}:rate={}",
                video.size, video.rate
            ));
        }
        if let Some(audio) = self.audio {
            add(&format!(
                "-f lavfi -i sine=frequency=440:beep_factor=4:sample_rate={}",
                audio.rate
            ));
        }
        add(&format!("-t {}", self.seconds));
        if let Some(Video {
            codec,
            keys,
            b_frames,
            ..
        }) = self.video
        {
            add(&format!("-c:v {codec} -pix_fmt yuv420p -threads 2"));
            let apart = match keys {
                Keys::Every(frames) => frames,
                Keys::At(seconds) => {
                    add(&format!("-force_key_frames {seconds}"));
                    10_000
                }
            };
            match codec {
                "libx264" => add(&format!(
                    "-preset veryfast -bf {b_frames} -g {apart} -keyint_min 1 -sc_threshold 0"
                )),
                "libx265" => add(&format!(
                    "-preset ultrafast -x265-params keyint={apart}:min-keyint={apart}:bframes={b_frames}:scenecut=0:info=0:log-level=error"
                )),
                _ => add(&format!("-g {apart}")),
            }
        }
        if let Some(Audio {
            codec, channels, ..
        }) = self.audio
        {
            add(&format!("-c:a {codec} -ac {channels}"));
            if codec != "libspeex" {
                add("-b:a 64k");
            }
        }
        add("-f flv");
        list
    }
}

/// FNV-1a: the same in every run and every release of Rust.
fn fingerprint(arguments: &[String]) -> u64 {
    let bytes = arguments
        .iter()
        .flat_map(|argument| argument.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
