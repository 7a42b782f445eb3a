//! The OpenAPI document, and a page for people that is made of it: no script, nothing from elsewhere.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::Value;
use std::fmt::Write;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref,
    RefOr, Required, ResponseBuilder, Schema, Type,
};

/// What every operation may answer, beside what it says itself.
const FAILURES: [(&str, &str); 8] = [
    ("400", "The path, query or body is not right"),
    ("401", "There is no token, or it is not known"),
    ("403", "The token does not allow that"),
    ("404", "There is no such thing"),
    ("409", "The channel's state does not allow that"),
    ("413", "The body is too large"),
    ("415", "The body is not JSON"),
    ("503", "The catalog or the store does not answer"),
];
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    h2{margin-top:2.5rem}h3 code{font-size:1.05rem}code{font-family:ui-monospace,monospace}\
    pre{background:#8881;padding:.8rem;overflow:auto;border-radius:.4rem}table{border-collapse:collapse}\
    td{padding:.15rem 1rem .15rem 0;vertical-align:top}:root{color-scheme:light dark}";

/// The document before the operations are in it.
pub(super) fn head() -> OpenApi {
    let info = InfoBuilder::new()
        .title("millstream")
        .version("1")
        .description(Some(
            "Channels, their state and their history. Every request needs an API token: \
             Authorization: Bearer ms_… Times are RFC 3339 in JSON and unix seconds in queries.",
        ));
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let problem = ObjectBuilder::new()
        .description(Some("A problem document of RFC 9457"))
        .property("type", text())
        .property("title", text())
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .property("detail", text())
        .required("status")
        .required("detail");
    let components = ComponentsBuilder::new()
        .security_scheme("token", scheme)
        .schema("Problem", problem);
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::new(
            "token",
            Vec::<String>::new(),
        )]))
        .build()
}

/// The document with the failures of each operation.
pub(super) fn complete(mut description: OpenApi) -> OpenApi {
    for item in description.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.patch,
        ];
        for operation in operations.into_iter().flatten() {
            add_failures(operation);
            excuse_body(operation);
        }
    }
    description
}

/// Bodies that may as well be left away: nothing in them is required.
const OPTIONAL: [&str; 3] = ["Settings", "PublishUrlRequest", "PlaybackUrlRequest"];

fn excuse_body(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else {
        return;
    };
    let is_optional = |schema: &RefOr<Schema>| match schema {
        RefOr::Ref(reference) => OPTIONAL
            .iter()
            .any(|name| reference.ref_location.ends_with(name)),
        RefOr::T(_) => false,
    };
    let schemas = body.content.values().filter_map(|content| match content {
        RefOr::T(content) => content.schema.as_ref(),
        RefOr::Ref(_) => None,
    });
    if { schemas }.any(is_optional) {
        body.required = Some(Required::False);
    }
}

fn add_failures(operation: &mut Operation) {
    for (status, what) in FAILURES {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new()
            .description(what)
            .content("application/problem+json", content.build());
        let responses = &mut operation.responses.responses;
        responses
            .entry(status.to_owned())
            .or_insert(response.build().into());
    }
}

/// `/api/openapi.json` and `/api/docs`.
pub(super) fn router(description: OpenApi) -> Router {
    let text = complete(description).to_json().unwrap_or_default();
    let page = page(&serde_json::from_str(&text).unwrap_or_default());
    let serve = |text: String, content_type: &'static str| {
        let text = Bytes::from(text);
        get(move || std::future::ready(answer(text.clone(), content_type)))
    };
    Router::new()
        .route("/api/openapi.json", serve(text, "application/json"))
        .route("/api/docs", serve(page, "text/html; charset=utf-8"))
}

fn answer(text: Bytes, content_type: &'static str) -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, text).into_response()
}

/// Writing to a string cannot fail, so the results of `write!` say nothing.
fn page(document: &Value) -> String {
    let about = document["info"]["description"].as_str().unwrap_or_default();
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>millstream API</title>\
         <meta name=viewport content='width=device-width'><style>{STYLE}</style>\
         <h1>millstream API</h1><p>{}</p><p>For programs: \
         <a href=/api/openapi.json>openapi.json</a></p>",
        escape(about)
    );
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            one(&mut html, method, path, operation);
        }
    }
    html.push_str("<h2>Shapes</h2>");
    let schemas = document["components"]["schemas"].as_object();
    for (name, schema) in schemas.into_iter().flatten() {
        let text = serde_json::to_string_pretty(schema).unwrap_or_default();
        let (name, text) = (escape(name), escape(&text));
        let _ = write!(html, "<h3 id='{name}'>{name}</h3><pre>{text}</pre>");
    }
    html
}

fn one(html: &mut String, method: &str, path: &str, operation: &Value) {
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let _ = write!(
        html,
        "<h2>{}</h2><h3><code>{} {}</code></h3><p>{}</p><table>",
        text(&operation["summary"]),
        method.to_uppercase(),
        escape(path),
        text(&operation["description"]),
    );
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let _ = write!(
            html,
            "<tr><td><code>{}</code><td>{}<td>{}",
            text(&parameter["name"]),
            text(&parameter["in"]),
            text(&parameter["description"]),
        );
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    let _ = write!(html, "{}", row("body", "", body));
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let schema = &response["content"]["application/json"]["schema"];
        let what = response["description"].as_str().unwrap_or_default();
        match schema.is_null() {
            true => drop(write!(html, "<tr><td>{status}<td><td>{}", escape(what))),
            false => html.push_str(&row(status, what, schema)),
        }
    }
    html.push_str("</table>");
}

/// A row that leads to a shape.
fn row(name: &str, what: &str, schema: &Value) -> String {
    let reference = schema["$ref"].as_str().unwrap_or_default();
    match reference.rsplit_once('/') {
        None => String::new(),
        Some((_, shape)) => {
            let shape = escape(shape);
            format!(
                "<tr><td>{name}<td><a href='#{shape}'>{shape}</a><td>{}",
                escape(what)
            )
        }
    }
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}
