//! `millstream remux`: the pipeline without a network.

use super::{Failure, because};
use crate::clock;
use crate::config::Config;
use crate::control::journal::TrackLine;
use crate::flv;
use crate::key::{self, Container};
use crate::media::{Begin, Segment};
use crate::net::Rooms;
use crate::pipeline::{BLOCK_BYTES, Effect, Pipeline};
use crate::playlist::{Bandwidth, Variant, multivariant, vod};
use crate::store::disk::write_blocks;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes that are written at once.
const WRITE_BYTES: usize = 256 << 10;
/// Name of the whole playlist in the output folder.
const VOD: &str = "vod.m3u8";
/// Name of the multivariant playlist in the output folder.
const INDEX: &str = "index.m3u8";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// FLV file to package; `-` reads from standard input.
    input: PathBuf,
    /// Folder for segments and playlists; made if it is not there.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Change one setting, for example `--set hls.segment_duration=4s`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(None, &arguments.settings)?;
    let named = arguments.input.display();
    let (mut input, size): (Box<dyn Read>, Option<u64>) = if arguments.input == Path::new("-") {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(&arguments.input)
            .map_err(|e| because(format!("cannot open {named}"), &e))?;
        let size = file.metadata().map(|meta| meta.len()).ok();
        (Box::new(file), size)
    };
    let progress = progress(size);
    let mut package = Package::new(&arguments.output)?;
    let mut pipeline = Pipeline::new(config.hls.policy(), Begin::default());
    let mut reader = flv::Reader::new();
    let mut rooms = Rooms::new();
    loop {
        let read = rooms
            .read(|room| input.read(room))
            .map_err(|e| because(format!("cannot read {named}"), &e))?;
        if read.is_empty() {
            break;
        }
        progress.inc(read.len() as u64);
        reader.push(read);
        let now = clock::now();
        while let Some(tag) = reader.next_tag().map_err(|e| because(&named, &e))? {
            let pushed = pipeline.push(tag.kind, tag.timestamp_ms, tag.body, now);
            pushed.map_err(|e| because(&named, &e))?;
            package.carry_out(&mut pipeline)?;
        }
    }
    if let Err(error) = reader.finish() {
        eprintln!("millstream: {named}: {error}; everything before it is packaged");
    }
    pipeline.finish(clock::now());
    package.carry_out(&mut pipeline)?;
    progress.finish_and_clear();
    for (reason, count) in &pipeline.stats().dropped {
        eprintln!("millstream: {named}: left out {count}: {reason}");
    }
    package.finish()
}

fn progress(size: Option<u64>) -> ProgressBar {
    let template = match size {
        Some(_) => "{bar:40} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left",
        None => "{spinner} {bytes}, {binary_bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template);
    let bar = size.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The segment that is being written.
struct Open {
    path: PathBuf,
    file: File,
    /// What is still to be written.
    blocks: Vec<Bytes>,
}

impl Open {
    fn write(&mut self) -> Result<(), Failure> {
        let path = self.path.display();
        write_blocks(&mut self.file, &self.blocks)
            .map_err(|e| because(format!("cannot write {path}"), &e))?;
        self.blocks.clear();
        Ok(())
    }
}

/// The folder that is being filled.
struct Package {
    folder: PathBuf,
    open: Option<Open>,
    made: Option<String>,
    segments: Vec<Segment>,
    target_duration_s: u32,
    tracks: TrackLine,
}

impl Package {
    fn new(folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder)
            .map_err(|e| because(format!("cannot make {}", folder.display()), &e))?;
        if folder.join(INDEX).exists() {
            return Err(format!("{} holds a package already", folder.display()).into());
        }
        Ok(Self {
            folder: folder.to_owned(),
            open: None,
            made: None,
            segments: Vec::new(),
            target_duration_s: 1,
            tracks: TrackLine::default(),
        })
    }

    fn carry_out(&mut self, pipeline: &mut Pipeline) -> Result<(), Failure> {
        while let Some(effect) = pipeline.poll() {
            match effect {
                Effect::Tracks(tracks) => self.tracks = (&tracks).into(),
                Effect::Open(segment) => self.open(segment.number)?,
                Effect::Write(bytes) => {
                    if let Some(open) = &mut self.open {
                        open.blocks.push(bytes);
                        if open.blocks.len() >= WRITE_BYTES / BLOCK_BYTES {
                            open.write()?;
                        }
                    }
                }
                Effect::Part(_) => {}
                Effect::Segment {
                    segment,
                    target_duration_s,
                } => {
                    if let Some(mut whole) = self.open.take() {
                        whole.write()?;
                    }
                    self.segments.push(segment);
                    self.target_duration_s = target_duration_s;
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, number: u64) -> Result<(), Failure> {
        let folder = key::segment_folder(number);
        if self.made.as_ref() != Some(&folder) {
            let path = self.folder.join(&folder);
            std::fs::create_dir_all(&path)
                .map_err(|e| because(format!("cannot make {}", path.display()), &e))?;
            self.made = Some(folder);
        }
        let path = self.folder.join(key::segment_name(number, Container::Ts));
        let file = File::create(&path)
            .map_err(|e| because(format!("cannot create {}", path.display()), &e))?;
        self.open = Some(Open {
            path,
            file,
            blocks: Vec::new(),
        });
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        if self.segments.is_empty() {
            return Err("there is no media in it that could be packaged".into());
        }
        let mut bandwidth = Bandwidth::new(self.target_duration_s);
        self.segments
            .iter()
            .for_each(|segment| bandwidth.push(segment));
        let variant = Variant {
            uri: VOD.to_owned(),
            bandwidth: bandwidth.peak().unwrap_or(1),
            average_bandwidth: bandwidth.average(),
            codecs: self.tracks.codecs,
            resolution: self.tracks.resolution,
            frame_rate: self.tracks.frame_rate,
        };
        let independent = self.segments.iter().all(|segment| segment.independent);
        let texts = [
            (
                VOD,
                vod::render(self.target_duration_s, None, &self.segments, true),
            ),
            (INDEX, multivariant::render(&[variant], independent)),
        ];
        for (name, text) in texts {
            let path = self.folder.join(name);
            std::fs::write(&path, text)
                .map_err(|e| because(format!("cannot write {}", path.display()), &e))?;
        }
        let frames: f64 = self
            .segments
            .iter()
            .map(|segment| segment.duration.as_secs_f64())
            .sum();
        println!(
            "{} segments, {frames:.3} s: {}",
            self.segments.len(),
            self.folder.join(INDEX).display()
        );
        Ok(())
    }
}
