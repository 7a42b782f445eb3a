//! The listing of a bucket's objects: the playlists and segments of its channels, by key.

use super::document::{CommonPrefix, ListBucketResult, ListedObject, OWNER};
use super::error::{Code, Error};
use super::names::Page;
use super::playlists::{segment_etag, segment_name, segment_time};
use super::query::encode;
use super::service::{Call, xml};
use super::{Oss, time};
use crate::control::channels::Channel;
use crate::control::hubs::Hub;
use axum::response::Response;
use std::ops::Range;

/// Channels that one listing looks at; a bucket with more is listed by prefix.
const CHANNELS_MAX: usize = 10_000;
/// Playlists on one page: each has to be written to know its size.
const PLAYLISTS_MAX: usize = 20;
/// Digits of a segment's time, until the year 2286: names sort as times do.
const DIGITS: usize = 13;

/// What a listing wants, and what it has found.
struct Listing {
    page: Page,
    /// Whether folders are told as one.
    folders: bool,
    objects: Vec<ListedObject>,
    prefixes: Vec<String>,
    playlists: usize,
    /// The last key that was looked at: the next page begins behind it.
    last: String,
    more: bool,
}

impl Oss {
    pub(super) async fn list_objects(&self, call: &Call<'_>, hub: &Hub) -> Result<Response, Error> {
        let query = &call.target.query;
        let folders = match query.get("delimiter").unwrap_or_default() {
            "" => false,
            "/" => true,
            other => {
                let message = "The only delimiter of this server is a slash.";
                return Err(Error::argument("delimiter", other, "", message));
            }
        };
        let mut listing = Listing {
            page: Page::parse(query)?,
            folders,
            objects: Vec::new(),
            prefixes: Vec::new(),
            playlists: 0,
            last: String::new(),
            more: false,
        };
        for channel in self.listed_channels(hub, &listing.page).await? {
            self.list_channel_objects(&channel, &mut listing).await?;
            if listing.more {
                break;
            }
        }
        let url = query.get("encoding-type") == Some("url");
        Ok(xml("ListBucketResult", &listing.result(hub, url)))
    }

    /// The channels whose objects may be on the page, in the order of their objects' keys.
    async fn listed_channels(&self, hub: &Hub, page: &Page) -> Result<Vec<Channel>, Error> {
        let (name, whole) = match page.prefix.split_once('/') {
            Some((name, _)) => (name, true),
            None => (page.prefix.as_str(), false),
        };
        let names = Page {
            prefix: name.to_owned(),
            marker: String::new(),
            max_keys: CHANNELS_MAX,
        };
        let mut channels = self.channels_after(hub, &names, CHANNELS_MAX + 1).await?;
        if channels.len() > CHANNELS_MAX {
            let message = format!("More than {CHANNELS_MAX} channels begin so: list by a prefix.");
            return Err(Error::new(Code::NotImplemented, message));
        }
        channels.retain(|channel| !whole || channel.id.name.as_str() == name);
        channels.sort_by_cached_key(folder_of);
        Ok(channels)
    }

    async fn list_channel_objects(
        &self,
        channel: &Channel,
        listing: &mut Listing,
    ) -> Result<(), Error> {
        let folder = folder_of(channel);
        let marker = listing.page.marker.clone();
        let after = marker.strip_prefix(&folder);
        if after.is_none() && marker > folder {
            return Ok(());
        }
        if listing.folders && !listing.page.prefix.contains('/') {
            let told = after.is_some();
            if !told && self.control().recent(&channel.id).await?.is_some() {
                listing.add_prefix(folder);
            }
            return Ok(());
        }
        let prefix = listing
            .page
            .prefix
            .split_once('/')
            .map_or("", |(_, rest)| rest);
        let (prefix, after) = (prefix.to_owned(), after.unwrap_or_default().to_owned());
        let mut names = self.playlist_names(channel, &after).await?;
        names.retain(|(name, _)| *name > after && name.starts_with(&prefix));
        names.sort();
        // Segments' names begin with a digit, playlists' nearly never; both are in one order.
        let mut names = names.into_iter().peekable();
        let wanted = listing.room() + 1;
        let times = times(&prefix, &after);
        let segments = self.control().segments_between(&channel.id, times, wanted);
        let segments = segments.await?;
        let whole = segments.len() < wanted;
        for placed in segments {
            let segment = &placed.segment;
            let unix_ms = segment.program_date_time.unix_ms();
            let name = segment_name(unix_ms);
            while let Some((before, changed_ms)) = names.next_if(|(other, _)| *other < name) {
                self.list_playlist(channel, &folder, &before, changed_ms, listing)
                    .await?;
            }
            if segment.gap || !name.starts_with(&prefix) || name <= after {
                listing.pass(format!("{folder}{name}"));
                continue;
            }
            let etag = segment_etag(&placed.recording.recording, segment.number, segment.size);
            let changed_ms = unix_ms + segment.duration.as_ms();
            listing.add(format!("{folder}{name}"), changed_ms, etag, segment.size);
        }
        listing.more |= !whole;
        for (name, changed_ms) in names {
            self.list_playlist(channel, &folder, &name, changed_ms, listing)
                .await?;
        }
        Ok(())
    }

    async fn list_playlist(
        &self,
        channel: &Channel,
        folder: &str,
        name: &str,
        changed_ms: i64,
        listing: &mut Listing,
    ) -> Result<(), Error> {
        if listing.more || listing.playlists == PLAYLISTS_MAX || listing.room() == 0 {
            listing.more = true;
            return Ok(());
        }
        // A posted playlist whose segments are gone is gone.
        if let Some((etag, size)) = self.playlist_facts(channel, name).await? {
            listing.playlists += 1;
            listing.add(format!("{folder}{name}"), changed_ms, etag, size);
        }
        Ok(())
    }
}

impl Listing {
    fn room(&self) -> usize {
        let used = self.objects.len() + self.prefixes.len();
        self.page.max_keys.saturating_sub(used)
    }

    fn add(&mut self, key: String, changed_ms: i64, etag: String, size: u64) {
        if self.more || self.room() == 0 {
            self.more = true;
            return;
        }
        self.last.clone_from(&key);
        self.objects.push(ListedObject {
            key,
            last_modified: time::iso(changed_ms),
            etag,
            r#type: "Normal",
            size,
            storage_class: "Standard",
            owner: OWNER,
        });
    }

    fn add_prefix(&mut self, folder: String) {
        match self.room() {
            0 => self.more = true,
            _ => {
                self.last.clone_from(&folder);
                self.prefixes.push(folder);
            }
        }
    }

    /// A key that is not listed.
    fn pass(&mut self, key: String) {
        if !self.more {
            self.last = key;
        }
    }

    fn result(self, hub: &Hub, url: bool) -> ListBucketResult {
        let write = |text: &str| match url {
            true => encode(text),
            false => text.to_owned(),
        };
        let next_marker = self.more.then(|| write(&self.last));
        let mut contents = self.objects;
        for object in &mut contents {
            object.key = write(&object.key);
        }
        let prefixes = self.prefixes.iter().map(|prefix| CommonPrefix {
            prefix: write(prefix),
        });
        ListBucketResult {
            name: hub.name.to_string(),
            prefix: write(&self.page.prefix),
            marker: write(&self.page.marker),
            max_keys: self.page.max_keys,
            delimiter: if self.folders {
                write("/")
            } else {
                String::new()
            },
            is_truncated: self.more,
            next_marker,
            encoding_type: url.then_some("url"),
            common_prefixes: prefixes.collect(),
            contents,
        }
    }
}

fn folder_of(channel: &Channel) -> String {
    format!("{}/", channel.id.name)
}

/// The times of segments whose names begin with `prefix` and come after `after`.
fn times(prefix: &str, after: &str) -> Range<i64> {
    const NONE: Range<i64> = 0..0;
    let digits: String = prefix.chars().take_while(char::is_ascii_digit).collect();
    if digits.len() > DIGITS || (digits.len() < prefix.len() && digits.len() < DIGITS) {
        return NONE;
    }
    let bound = |fill: &str| {
        let rest = fill.repeat(DIGITS - digits.len());
        format!("{digits}{rest}").parse::<i64>().unwrap_or(0)
    };
    let (start, end) = (bound("0"), bound("9").saturating_add(1));
    match segment_time(after) {
        Some(after) => start.max(after.saturating_add(1))..end,
        // Another text sorts before all digits or after them.
        None if after > "9" => NONE,
        None => start..end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range_of_times() {
        let check = |prefix, after, expected| {
            assert_eq!(times(prefix, after), expected, "{prefix} {after}")
        };
        check("", "", 0..10_000_000_000_000);
        check("17952", "", 1_795_200_000_000..1_795_300_000_000);
        check("1795238920885", "", 1_795_238_920_885..1_795_238_920_886);
        check("1795238920885.ts", "", 1_795_238_920_885..1_795_238_920_886);
        check(
            "",
            "1795238920885.ts",
            1_795_238_920_886..10_000_000_000_000,
        );
        check(
            "1795",
            "1795238920885.ts",
            1_795_238_920_886..1_796_000_000_000,
        );
        check("play", "", 0..0);
        check("1795x", "", 0..0);
        check("17952389208851", "", 0..0);
        check("", "playlist.m3u8", 0..0);
    }
}
