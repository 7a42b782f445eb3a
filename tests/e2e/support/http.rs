//! A viewer's side of HTTP.

use std::sync::OnceLock;
use std::time::Duration;
use ureq::http::request::Builder;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The value of a header, empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|header| header.0 == name)
            .map_or("", |header| &header.1)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a text is UTF-8")
    }
}

/// Fetches `url`, which must be there.
pub(crate) fn get(url: &str) -> Reply {
    let reply = request("GET", url, &[]);
    assert_eq!(
        reply.status,
        200,
        "{url}: {}",
        String::from_utf8_lossy(&reply.body)
    );
    reply
}

/// Fetches `url` if somebody answers.
pub(crate) fn try_get(url: &str) -> Option<Reply> {
    exchange("GET", url, &[]).ok()
}

/// Any request.
pub(crate) fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> Reply {
    exchange(method, url, headers).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

/// The same with a body.
pub(crate) fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let request = head(method, url, headers).body(body);
    let answer = agent().run(request.expect("a request"));
    answer
        .and_then(reply)
        .unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

fn exchange(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Reply, ureq::Error> {
    reply(agent().run(head(method, url, headers).body(())?)?)
}

fn head(method: &str, url: &str, headers: &[(&str, &str)]) -> Builder {
    let request = Request::builder().method(method).uri(url);
    let with = |request: Builder, (name, value): &(&str, &str)| request.header(*name, *value);
    headers.iter().fold(request, with)
}

fn reply(answer: Response<Body>) -> Result<Reply, ureq::Error> {
    let status = answer.status().as_u16();
    let headers = { answer.headers().iter() }
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let body = answer
        .into_body()
        .into_with_config()
        .limit(1 << 30)
        .read_to_vec()?;
    Ok(Reply {
        status,
        headers,
        body,
    })
}

fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // More would stay open until the server's timeout, and look like something left behind.
            .max_idle_connections_per_host(1)
            .timeout_global(Some(Duration::from_secs(20)))
            .build();
        config.into()
    })
}
