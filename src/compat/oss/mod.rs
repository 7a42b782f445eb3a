//! Alibaba Cloud OSS LiveChannel: a hub is a bucket, a channel a live channel, playlists and
//! segments are objects. What that API has no word for stays out of its answers.

mod address;
mod document;
mod error;
mod names;
mod operation;
mod publish_url;
mod query;
mod signature;
mod time;

#[cfg(test)]
mod recorded;
