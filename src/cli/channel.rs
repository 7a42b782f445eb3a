//! `millstream channel`: a client of a server's API.

use super::{Failure, because};
use crate::id::ChannelId;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How long a server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Address of the server.
    #[arg(
        long,
        global = true,
        env = "MILLSTREAM_SERVER",
        default_value = "http://localhost:8080",
        value_name = "URL"
    )]
    server: String,
    /// API token; better given by the environment, where no process list shows it.
    #[arg(
        long,
        global = true,
        env = "MILLSTREAM_TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    token: String,
    /// Print what the API answers, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List channels.
    List {
        /// Only of this hub.
        #[arg(long)]
        hub: Option<String>,
        /// Only names that begin so.
        #[arg(long)]
        prefix: Option<String>,
        /// Only idle, live or disabled ones.
        #[arg(long)]
        state: Option<String>,
        /// Only with this label, written name=value.
        #[arg(long)]
        label: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show a channel's settings and state.
    Show {
        /// Written hub/channel.
        channel: ChannelId,
    },
    /// Make a channel; its stream key is shown once.
    Create {
        /// Written hub/channel.
        channel: ChannelId,
        #[command(flatten)]
        settings: Settings,
    },
    /// Change some settings.
    Update {
        /// Written hub/channel.
        channel: ChannelId,
        #[command(flatten)]
        settings: Settings,
    },
    /// Remove a channel; what was pushed stays.
    Delete {
        /// Written hub/channel.
        channel: ChannelId,
    },
    /// Let a channel be pushed to.
    Enable {
        /// Written hub/channel.
        channel: ChannelId,
    },
    /// Let nobody push to a channel; a push that runs is ended.
    Disable {
        /// Written hub/channel.
        channel: ChannelId,
    },
    /// End the push that runs.
    Kick {
        /// Written hub/channel.
        channel: ChannelId,
    },
    /// List the pushes to a channel, newest first.
    History {
        /// Written hub/channel.
        channel: ChannelId,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Sign a publish URL.
    PublishUrl {
        /// Written hub/channel.
        channel: ChannelId,
        /// How long it may be used to connect.
        #[arg(long, default_value = "1d", value_name = "TIME")]
        expires: humantime::Duration,
    },
}

#[derive(clap::Args)]
struct Settings {
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// For programs: name=value, or name= to take it away. May be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Any setting of the API, for example window=4, playback=signed or
    /// play_from=192.0.2.0/24,2001:db8::/32; null is the server's own.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let client = Client::new(arguments);
    let (method, path, body, show): (_, _, _, fn(&Value)) = match &arguments.command {
        Command::List {
            hub,
            prefix,
            state,
            label,
            limit,
        } => {
            let texts = [
                ("hub", hub),
                ("prefix", prefix),
                ("state", state),
                ("label", label),
            ];
            let mut path = format!("/api/v1/channels?limit={limit}");
            for (name, value) in texts {
                path += &value
                    .as_ref()
                    .map_or(String::new(), |value| format!("&{name}={}", escape(value)));
            }
            ("GET", path, None, channels)
        }
        Command::Show { channel } => return show_channel(&client, channel),
        Command::Create { channel, settings } => (
            "PUT",
            path_of(channel, ""),
            Some(settings.to_json()?),
            created,
        ),
        Command::Update { channel, settings } => (
            "PATCH",
            path_of(channel, ""),
            Some(settings.to_json()?),
            changed,
        ),
        Command::Delete { channel } => ("DELETE", path_of(channel, ""), None, nothing),
        Command::Enable { channel } => ("POST", path_of(channel, "/enable"), None, changed),
        Command::Disable { channel } => ("POST", path_of(channel, "/disable"), None, changed),
        Command::Kick { channel } => ("POST", path_of(channel, "/kick"), None, nothing),
        Command::History { channel, limit } => (
            "GET",
            path_of(channel, &format!("/sessions?limit={limit}")),
            None,
            history,
        ),
        Command::PublishUrl { channel, expires } => {
            let body = json!({"expires_in_s": expires.as_secs()});
            (
                "POST",
                path_of(channel, "/publish-url"),
                Some(body),
                publish_url,
            )
        }
    };
    let answer = client.ask(method, &path, body)?;
    client.print(&answer, show);
    Ok(())
}

/// A server's API.
struct Client<'a> {
    agent: ureq::Agent,
    arguments: &'a Arguments,
}

impl<'a> Client<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(ANSWER_MAX));
        Self {
            agent: config.build().into(),
            arguments,
        }
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.arguments.server.trim_end_matches('/'));
        let token = format!("Bearer {}", self.arguments.token);
        let request = ureq::http::Request::builder().method(method).uri(&url);
        let request = request.header("Authorization", token);
        let because = |error: &dyn std::error::Error| because(format!("cannot ask {url}"), error);
        let response = match body {
            None => self
                .agent
                .run(request.body(()).map_err(|error| because(&error))?),
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                let request = request.body(body.to_string());
                self.agent.run(request.map_err(|error| because(&error))?)
            }
        };
        let mut response = response.map_err(|error| because(&error))?;
        let text = response.body_mut().read_to_string();
        let text = text.map_err(|error| because(&error))?;
        let value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if response.status().is_success() {
            return Ok(value);
        }
        let detail = value["detail"]
            .as_str()
            .unwrap_or("this is no answer of millstream's API");
        Err(format!("{} {url}: {detail}", response.status()).into())
    }

    fn print(&self, answer: &Value, show: fn(&Value)) {
        match self.arguments.json {
            true if !answer.is_null() => println!("{answer:#}"),
            true => {}
            false => show(answer),
        }
    }
}

fn path_of(channel: &ChannelId, rest: &str) -> String {
    format!(
        "/api/v1/channels/{}/{}{rest}",
        escape(channel.hub.as_str()),
        channel.name
    )
}

fn escape(text: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

impl Settings {
    fn to_json(&self) -> Result<Value, Failure> {
        let mut settings = Map::new();
        let pair = |text: &str| {
            let pair = text.split_once('=');
            let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
            pair.ok_or_else(|| Failure::from(format!("{text}: write it as name=value")))
        };
        for text in &self.settings {
            let (name, value) = pair(text)?;
            let value = match value.as_str() {
                "null" | "true" | "false" => serde_json::from_str(&value)?,
                number if number.parse::<u64>().is_ok() => serde_json::from_str(number)?,
                // Lists of networks.
                list if name.ends_with("_from") => list.split(',').map(str::trim).collect(),
                _ => Value::String(value),
            };
            settings.insert(name, value);
        }
        if let Some(description) = &self.description {
            settings.insert("description".to_owned(), description.clone().into());
        }
        let mut labels = Map::new();
        for text in &self.labels {
            let (name, value) = pair(text)?;
            let value = match value.is_empty() {
                true => Value::Null,
                false => Value::String(value),
            };
            labels.insert(name, value);
        }
        if !labels.is_empty() {
            settings.insert("labels".to_owned(), labels.into());
        }
        Ok(settings.into())
    }
}

fn show_channel(client: &Client<'_>, channel: &ChannelId) -> Result<(), Failure> {
    let mut shown = client.ask("GET", &path_of(channel, ""), None)?;
    let status = client.ask("GET", &path_of(channel, "/status"), None)?;
    shown["live"] = status["live"].clone();
    client.print(&shown, |shown| {
        println!("{}", line(shown));
        fields("  ", &shown["settings"]);
        if shown["live"].is_object() {
            println!("  live");
            fields("    ", &shown["live"]);
        }
    });
    Ok(())
}

/// What is set, a line each; what is within is one line of JSON.
fn fields(indent: &str, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let text = text(value);
        if text != "-" && text != "{}" {
            println!("{indent}{name:<24}{text}");
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn line(channel: &Value) -> String {
    let name = format!("{}/{}", text(&channel["hub"]), text(&channel["channel"]));
    format!(
        "{name}  {}  {}",
        text(&channel["state"]),
        text(&channel["playlist"])
    )
}

fn nothing(_: &Value) {}

fn changed(channel: &Value) {
    println!("{}", line(channel));
}

fn created(channel: &Value) {
    changed(channel);
    if let Some(key) = channel["key"].as_str() {
        println!("stream key {key}  (shown only now)");
    }
}

fn publish_url(answer: &Value) {
    println!("{}", text(&answer["url"]));
    eprintln!("expires {}", text(&answer["expires"]));
}

fn channels(page: &Value) {
    let row = |channel: &Value| {
        let name = format!("{}/{}", text(&channel["hub"]), text(&channel["channel"]));
        let settings = &channel["settings"];
        vec![
            name,
            text(&channel["state"]),
            text(&settings["playback"]),
            text(&channel["changed"]),
            text(&settings["description"]),
        ]
    };
    table(
        &["CHANNEL", "STATE", "PLAYBACK", "CHANGED", "DESCRIPTION"],
        page,
        row,
    );
}

fn history(page: &Value) {
    let row = |session: &Value| {
        let video = &session["tracks"]["video"];
        let size = match video["width"].as_u64() {
            Some(width) => format!("{width}x{}", text(&video["height"])),
            None => "-".to_owned(),
        };
        vec![
            text(&session["start"]),
            text(&session["end"]),
            size,
            text(&session["bytes"]),
            text(&session["remote"]),
            text(&session["reason"]),
        ]
    };
    table(
        &["START", "END", "SIZE", "BYTES", "REMOTE", "REASON"],
        page,
        row,
    );
}

fn table(head: &[&str], page: &Value, row: impl Fn(&Value) -> Vec<String>) {
    let mut rows = vec![head.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()];
    rows.extend(page["items"].as_array().into_iter().flatten().map(row));
    let width = |at: usize| {
        let lens = rows.iter().map(|row| row[at].chars().count());
        lens.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        println!("{}", line.trim_end());
    }
    if page["next"].is_string() {
        println!("… there are more: see --limit");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_written_as_the_api_reads_them() {
        let settings = |description: Option<&str>, labels: &[&str], set: &[&str]| Settings {
            description: description.map(str::to_owned),
            labels: labels.iter().map(|&text| text.to_owned()).collect(),
            settings: set.iter().map(|&text| text.to_owned()).collect(),
        };
        let given = settings(
            Some("x"),
            &["a=b", "c="],
            &[
                "window=4",
                "playback=signed",
                "publish=null",
                "play_from=192.0.2.1, ::/0",
                "publish_from=null",
            ],
        );
        assert_eq!(
            given.to_json().expect("pairs"),
            json!({"description": "x", "labels": {"a": "b", "c": null}, "window": 4,
                "playback": "signed", "publish": null, "publish_from": null,
                "play_from": ["192.0.2.1", "::/0"]})
        );
        assert!(settings(None, &["a"], &[]).to_json().is_err());
    }

    #[test]
    fn a_hub_with_levels_is_one_part_of_the_path() {
        let channel: ChannelId = "a/b/c".parse().expect("names");
        assert_eq!(path_of(&channel, "/kick"), "/api/v1/channels/a%2Fb/c/kick");
    }
}
