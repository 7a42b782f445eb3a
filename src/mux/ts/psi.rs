//! The tables that say what the streams are: PAT and PMT (ISO 13818-1 §2.4.4).

use super::packet::{Adaptation, BODY_LEN, Payload, PidStream};
use super::packets::Packets;
use crate::media::track::{AudioCodec, VideoCodec};
use crate::media::{AudioConfig, Tracks, VideoConfig};
use mpeg2ts::es::StreamType;
use mpeg2ts::ts::payload::{Pat, Pmt};
use mpeg2ts::ts::{
    ContinuityCounter, Descriptor, EsInfo, Pid, ProgramAssociation, TransportScramblingControl,
    TsHeader, TsPacket, TsPacketWriter, TsPayload, VersionNumber, WriteTsPacket,
};

pub(super) const PMT_PID: u16 = 0x1000;
pub(super) const VIDEO_PID: u16 = 0x0100;
pub(super) const AUDIO_PID: u16 = 0x0101;

/// The only program.
const PROGRAM: u16 = 1;
const TRANSPORT_STREAM: u16 = 1;
/// registration_descriptor (§2.6.8).
const REGISTRATION: u8 = 0x05;
/// Sampling rates up to here are MPEG-2's (ISO 13818-3), above MPEG-1's (ISO 11172-3).
const MPEG2_AUDIO_RATE_MAX: u32 = 24_000;

/// Payload of a packet that carries one table.
type Section = [u8; BODY_LEN];

/// PAT and PMT, ready to be written.
#[derive(Debug)]
pub(super) struct Psi {
    program: Program,
    version: VersionNumber,
    pat: Section,
    pmt: Section,
    pat_stream: PidStream,
    pmt_stream: PidStream,
}

impl Psi {
    pub(super) fn new(tracks: &Tracks) -> Self {
        let program = Program::from(tracks);
        let version = VersionNumber::new();
        Self {
            program,
            version,
            pat: section(pat()),
            pmt: section(program.pmt(version)),
            pat_stream: PidStream::new(Pid::PAT),
            pmt_stream: PidStream::new(PMT_PID),
        }
    }

    /// Raises the version of the PMT if these tracks make it another one.
    pub(super) fn set_tracks(&mut self, tracks: &Tracks) {
        let program = Program::from(tracks);
        if program != self.program {
            self.program = program;
            self.version.increment();
            self.pmt = section(program.pmt(self.version));
        }
    }

    pub(super) fn write(&mut self, out: &mut Packets) {
        let plain = Adaptation::default();
        Payload::begin(&mut self.pat_stream, &plain, BODY_LEN, out).put(&self.pat);
        Payload::begin(&mut self.pmt_stream, &plain, BODY_LEN, out).put(&self.pmt);
    }
}

/// What a PMT says of the tracks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Program {
    video: Option<StreamType>,
    audio: Option<StreamType>,
}

impl From<&Tracks> for Program {
    fn from(tracks: &Tracks) -> Self {
        Self {
            video: tracks.video.as_deref().map(video_type),
            audio: tracks.audio.as_deref().map(audio_type),
        }
    }
}

impl Program {
    fn pmt(self, version_number: VersionNumber) -> mpeg2ts::Result<TsPacket> {
        let pcr_pid = match (self.video, self.audio) {
            (Some(_), _) => Some(Pid::new(VIDEO_PID)?),
            (None, Some(_)) => Some(Pid::new(AUDIO_PID)?),
            (None, None) => None,
        };
        let mut es_info = Vec::new();
        if let Some(stream_type) = self.video {
            es_info.push(EsInfo {
                stream_type,
                elementary_pid: Pid::new(VIDEO_PID)?,
                descriptors: registration(stream_type),
            });
        }
        if let Some(stream_type) = self.audio {
            es_info.push(EsInfo {
                stream_type,
                elementary_pid: Pid::new(AUDIO_PID)?,
                descriptors: Vec::new(),
            });
        }
        let pmt = Pmt {
            program_num: PROGRAM,
            pcr_pid,
            version_number,
            program_info: Vec::new(),
            es_info,
        };
        Ok(packet(Pid::new(PMT_PID)?, TsPayload::Pmt(pmt)))
    }
}

fn pat() -> mpeg2ts::Result<TsPacket> {
    let pat = Pat {
        transport_stream_id: TRANSPORT_STREAM,
        version_number: VersionNumber::new(),
        table: vec![ProgramAssociation {
            program_num: PROGRAM,
            program_map_pid: Pid::new(PMT_PID)?,
        }],
    };
    Ok(packet(Pid::new(Pid::PAT)?, TsPayload::Pat(pat)))
}

fn video_type(config: &VideoConfig) -> StreamType {
    match config.codec {
        VideoCodec::H264 => StreamType::H264,
        VideoCodec::H265 => StreamType::H265,
    }
}

fn audio_type(config: &AudioConfig) -> StreamType {
    match config.codec {
        AudioCodec::Aac { .. } => StreamType::AdtsAac,
        AudioCodec::Mp3 if config.sample_rate <= MPEG2_AUDIO_RATE_MAX => {
            StreamType::Mpeg2HalvedSampleRateAudio
        }
        AudioCodec::Mp3 => StreamType::Mpeg1Audio,
    }
}

/// Players that look for HEVC by its registration find it.
fn registration(stream_type: StreamType) -> Vec<Descriptor> {
    match stream_type {
        StreamType::H265 => vec![Descriptor {
            tag: REGISTRATION,
            data: b"HEVC".to_vec(),
        }],
        _ => Vec::new(),
    }
}

fn packet(pid: Pid, payload: TsPayload) -> TsPacket {
    TsPacket {
        header: TsHeader {
            transport_error_indicator: false,
            transport_priority: false,
            pid,
            transport_scrambling_control: TransportScramblingControl::NotScrambled,
            continuity_counter: ContinuityCounter::new(),
        },
        adaptation_field: None,
        payload: Some(payload),
    }
}

/// The table out of a packet that `mpeg2ts` wrote, stuffed behind its end as §2.4.4 has it: the
/// crate stuffs in the adaptation field, which simple demuxers do not expect before a table.
fn section(packet: mpeg2ts::Result<TsPacket>) -> Section {
    let mut section = [0xff; BODY_LEN];
    let mut writer = TsPacketWriter::new(Vec::new());
    let written = packet.and_then(|packet| writer.write_ts_packet(&packet));
    // PIDs are constants and the table has a few dozen bytes: there is nothing to fail.
    debug_assert!(written.is_ok(), "{written:?}");
    let bytes = writer.into_stream();
    let adaptation_len = bytes.get(4).copied().unwrap_or_default();
    let table = bytes.get(usize::from(adaptation_len).saturating_add(5)..);
    for (to, from) in section.iter_mut().zip(table.unwrap_or_default()) {
        *to = *from;
    }
    section
}
