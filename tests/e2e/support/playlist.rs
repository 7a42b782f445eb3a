//! A strict reader of playlists (RFC 8216): what it does not know or cannot place, it refuses.

use chrono::{DateTime, FixedOffset};

/// A media playlist.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Media {
    pub(crate) version: u32,
    pub(crate) target_duration: u32,
    pub(crate) media_sequence: u64,
    pub(crate) discontinuity_sequence: u64,
    pub(crate) kind: Option<String>,
    pub(crate) independent: bool,
    pub(crate) ended: bool,
    pub(crate) segments: Vec<Entry>,
}

/// A segment as a playlist names it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) uri: String,
    /// Seconds.
    pub(crate) duration: f64,
    pub(crate) discontinuity: bool,
    pub(crate) gap: bool,
    pub(crate) program_date_time: Option<DateTime<FixedOffset>>,
    /// Its lines as they stand, tags and URI.
    pub(crate) lines: Vec<String>,
}

/// A multivariant playlist with its one variant.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Multivariant {
    /// Attributes of EXT-X-STREAM-INF; strings without their quotes.
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) uri: String,
}

impl Multivariant {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut attributes = None;
        let mut uri = None;
        for line in lines(text)? {
            if let Some(list) = line.strip_prefix("#EXT-X-STREAM-INF:") {
                if attributes.replace(attribute_list(list)?).is_some() {
                    return Err("one variant was expected".into());
                }
            } else if !line.starts_with('#') {
                uri = Some(line.to_owned());
            } else if !line.starts_with("#EXT-X-VERSION:") && line != "#EXT-X-INDEPENDENT-SEGMENTS"
            {
                return Err(format!("unexpected line {line:?}"));
            }
        }
        match (attributes, uri) {
            (Some(attributes), Some(uri)) => Ok(Self { attributes, uri }),
            _ => Err("no variant".into()),
        }
    }

    /// The value of an attribute, empty if it is not there.
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes
            .iter()
            .find(|attribute| attribute.0 == name)
            .map_or("", |attribute| &attribute.1)
    }
}

impl Media {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut media = Self {
            version: 1,
            target_duration: 0,
            media_sequence: 0,
            discontinuity_sequence: 0,
            kind: None,
            independent: false,
            ended: false,
            segments: Vec::new(),
        };
        let mut next = Entry::empty();
        for line in lines(text)? {
            if media.ended {
                return Err(format!("{line:?} after EXT-X-ENDLIST"));
            }
            next.lines.push(line.to_owned());
            if !line.starts_with('#') {
                next.uri = line.to_owned();
                media
                    .segments
                    .push(std::mem::replace(&mut next, Entry::empty()));
            } else if !media.header(line)? && !next.tag(line)? {
                return Err(format!("unexpected line {line:?}"));
            } else if next.is_untouched() {
                next.lines.clear();
            }
        }
        if !next.lines.is_empty() {
            return Err(format!("tags without a segment: {:?}", next.lines));
        }
        media.check()?;
        Ok(media)
    }

    /// Seconds of media.
    pub(crate) fn duration(&self) -> f64 {
        self.segments.iter().map(|segment| segment.duration).sum()
    }

    /// A tag of the whole playlist.
    fn header(&mut self, line: &str) -> Result<bool, String> {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-VERSION" => self.version = number(value)?,
            "#EXT-X-TARGETDURATION" => self.target_duration = number(value)?,
            "#EXT-X-MEDIA-SEQUENCE" => self.media_sequence = number(value)?,
            "#EXT-X-DISCONTINUITY-SEQUENCE" => self.discontinuity_sequence = number(value)?,
            "#EXT-X-PLAYLIST-TYPE" => self.kind = Some(value.to_owned()),
            "#EXT-X-INDEPENDENT-SEGMENTS" => self.independent = true,
            "#EXT-X-ENDLIST" => {
                self.ended = true;
                return Ok(true);
            }
            _ => return Ok(false),
        }
        if self.segments.is_empty() {
            Ok(true)
        } else {
            Err(format!("{line:?} after the first segment"))
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.target_duration == 0 {
            return Err("no EXT-X-TARGETDURATION".into());
        }
        if self.version < 3 {
            return Err("decimal EXTINF needs version 3".into());
        }
        if self
            .kind
            .as_deref()
            .is_some_and(|kind| !matches!(kind, "VOD" | "EVENT"))
        {
            return Err(format!("playlist type {:?}", self.kind));
        }
        for segment in &self.segments {
            let (uri, duration) = (&segment.uri, segment.duration);
            if duration <= 0.0 || (duration + 0.5).floor() > f64::from(self.target_duration) {
                return Err(format!(
                    "EXTINF {duration} of {uri} with target duration {}",
                    self.target_duration
                ));
            }
            if segment.program_date_time.is_none() {
                return Err(format!("no EXT-X-PROGRAM-DATE-TIME before {uri}"));
            }
        }
        Ok(())
    }
}

impl Entry {
    fn empty() -> Self {
        Self {
            uri: String::new(),
            duration: 0.0,
            discontinuity: false,
            gap: false,
            program_date_time: None,
            lines: Vec::new(),
        }
    }

    fn is_untouched(&self) -> bool {
        self.duration == 0.0 && !self.discontinuity && !self.gap && self.program_date_time.is_none()
    }

    /// A tag of the segment that follows.
    fn tag(&mut self, line: &str) -> Result<bool, String> {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXTINF" => {
                let (seconds, _title) = value
                    .split_once(',')
                    .ok_or_else(|| format!("{line:?} has no comma"))?;
                let decimals = seconds.split_once('.').map_or(0, |parts| parts.1.len());
                if decimals < 3 || !seconds.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
                    return Err(format!("{line:?}: three decimals or more, no exponent"));
                }
                self.duration = number(seconds)?;
            }
            "#EXT-X-DISCONTINUITY" => self.discontinuity = true,
            "#EXT-X-GAP" => self.gap = true,
            "#EXT-X-PROGRAM-DATE-TIME" => {
                let at = DateTime::parse_from_rfc3339(value)
                    .map_err(|error| format!("{line:?}: {error}"))?;
                self.program_date_time = Some(at);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The lines behind the first, which is checked.
fn lines(text: &str) -> Result<Vec<&str>, String> {
    if text.contains('\r') || !text.ends_with('\n') {
        return Err("lines end with LF, the last one too".into());
    }
    let rest = text
        .strip_prefix("#EXTM3U\n")
        .ok_or("the first line is #EXTM3U")?;
    Ok(rest.lines().filter(|line| !line.is_empty()).collect())
}

/// RFC 8216 §4.2.
fn attribute_list(mut list: &str) -> Result<Vec<(String, String)>, String> {
    let mut attributes = Vec::new();
    while !list.is_empty() {
        let (name, rest) = list
            .split_once('=')
            .ok_or_else(|| format!("attribute without a value in {list:?}"))?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("a quoted string has an end")?,
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        attributes.push((name.to_owned(), value.to_owned()));
        list = if rest.is_empty() {
            rest
        } else {
            rest.strip_prefix(',')
                .ok_or("attributes are separated by commas")?
        };
    }
    Ok(attributes)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}
