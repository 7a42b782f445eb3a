//! Buckets: a hub with an ACL.

use super::document::{
    AccessControlPolicy, BucketFacts, BucketInfo, Buckets, Grants, ListAllMyBucketsResult,
    ListMultipartUploadsResult, ListedBucket, OWNER,
};
use super::error::{Code, Error};
use super::names::{self, Page};
use super::service::{Call, xml};
use super::signature::Caller;
use super::{Oss, document, time};
use crate::control::hubs::{Hub, HubAccess};
use crate::id::HubName;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, LOCATION};

/// Where all buckets are.
const REGION: &str = "oss-local";
const ACL: &str = "x-oss-acl";
/// Rows that are read at a time: hubs that are no buckets are among them.
const ROWS: usize = 1000;

impl Oss {
    pub(super) async fn list_buckets(
        &self,
        call: &Call<'_>,
        caller: Caller<'_>,
    ) -> Result<Response, Error> {
        let reaches = |bucket: &str| match caller {
            Caller::Key(limits) => limits.reaches(bucket),
            Caller::Anonymous => false,
        };
        let page = Page::parse(&call.target.query)?;
        let mut after = page.marker.clone();
        // Whatever stands before the prefix is passed over.
        if after < page.prefix {
            after = before(&page.prefix);
        }
        let mut found: Vec<ListedBucket> = Vec::new();
        let mut more = false;
        'rows: loop {
            let rows = self.control().hubs(Some(&after), ROWS).await?;
            let last = rows.len() < ROWS;
            for (name, created_ms) in rows {
                after.clone_from(&name);
                if !name.starts_with(&page.prefix) {
                    if name > page.prefix {
                        break 'rows;
                    }
                    continue;
                }
                if names::bucket(&name).is_err() || !reaches(&name) {
                    continue;
                }
                if found.len() == page.max_keys {
                    more = true;
                    break 'rows;
                }
                found.push(self.listed_bucket(call, &name, created_ms));
            }
            if last {
                break;
            }
        }
        let next_marker = found.last().filter(|_| more).map(|last| last.name.clone());
        Ok(xml(
            "ListAllMyBucketsResult",
            &ListAllMyBucketsResult {
                prefix: page.prefix,
                marker: page.marker,
                max_keys: page.max_keys,
                is_truncated: more,
                next_marker,
                owner: OWNER,
                buckets: Buckets { bucket: found },
            },
        ))
    }

    /// Making a bucket that is there is fine: there is one owner. An ACL that is not said stays.
    pub(super) async fn create_bucket(
        &self,
        call: &Call<'_>,
        name: &HubName,
        hub: Option<Hub>,
    ) -> Result<Response, Error> {
        let access = acl(call)?;
        let kept = hub.map_or(HubAccess::Private, |hub| hub.access);
        let access = access.unwrap_or(kept);
        self.control().put_hub(&call.by, name, access).await?;
        Ok((StatusCode::OK, [(LOCATION, format!("/{name}"))]).into_response())
    }

    pub(super) async fn put_bucket_acl(
        &self,
        call: &Call<'_>,
        hub: &Hub,
    ) -> Result<Response, Error> {
        let missing = || Error::argument(ACL, "", "", "The header x-oss-acl is missing.");
        let access = acl(call)?.ok_or_else(missing)?;
        self.control().put_hub(&call.by, &hub.name, access).await?;
        Ok(StatusCode::OK.into_response())
    }

    pub(super) async fn delete_bucket(
        &self,
        call: &Call<'_>,
        hub: &Hub,
    ) -> Result<Response, Error> {
        match self.control().delete_hub(&call.by, &hub.name).await? {
            true => Ok(StatusCode::NO_CONTENT.into_response()),
            false => {
                let message = "The bucket has live channels or media. Delete them first.";
                let error = Error::new(Code::BucketNotEmpty, message);
                Err(error.with("BucketName", hub.name.as_str()))
            }
        }
    }

    pub(super) fn bucket_info(&self, call: &Call<'_>, hub: &Hub) -> Response {
        let facts = BucketFacts {
            listed: self.listed_bucket(call, hub.name.as_str(), hub.created_ms),
            owner: OWNER,
            access_control_list: grants(hub),
        };
        xml("BucketInfo", &BucketInfo { bucket: facts })
    }

    pub(super) fn bucket_location(&self) -> Response {
        let text = document::text("LocationConstraint", REGION);
        ([(CONTENT_TYPE, "application/xml")], text).into_response()
    }

    pub(super) fn bucket_acl(&self, hub: &Hub) -> Response {
        let policy = AccessControlPolicy {
            owner: OWNER,
            access_control_list: grants(hub),
        };
        xml("AccessControlPolicy", &policy)
    }

    /// There are never any: media comes by push.
    pub(super) fn list_uploads(&self, call: &Call<'_>, hub: &Hub) -> Response {
        let filled = |name| call.target.query.get(name).unwrap_or_default().to_owned();
        let result = ListMultipartUploadsResult {
            bucket: hub.name.to_string(),
            key_marker: filled("key-marker"),
            upload_id_marker: filled("upload-id-marker"),
            next_key_marker: String::new(),
            next_upload_id_marker: String::new(),
            prefix: filled("prefix"),
            delimiter: filled("delimiter"),
            max_uploads: 1000,
            is_truncated: false,
        };
        xml("ListMultipartUploadsResult", &result)
    }

    fn listed_bucket(&self, call: &Call<'_>, name: &str, created_ms: i64) -> ListedBucket {
        let endpoint = self.endpoint(call.target);
        ListedBucket {
            name: name.to_owned(),
            location: REGION,
            creation_date: time::iso(created_ms),
            extranet_endpoint: endpoint.clone(),
            intranet_endpoint: endpoint,
            storage_class: "Standard",
        }
    }
}

fn grants(hub: &Hub) -> Grants {
    Grants {
        grant: match hub.access {
            HubAccess::Private => "private",
            HubAccess::Read => "public-read",
            HubAccess::ReadWrite => "public-read-write",
        },
    }
}

/// The ACL that a request sets, if it does.
fn acl(call: &Call<'_>) -> Result<Option<HubAccess>, Error> {
    let Some(value) = call.parts.headers.get(ACL) else {
        return Ok(None);
    };
    match value.to_str().unwrap_or_default() {
        "private" => Ok(Some(HubAccess::Private)),
        "public-read" => Ok(Some(HubAccess::Read)),
        "public-read-write" => Ok(Some(HubAccess::ReadWrite)),
        other => {
            let message = "x-oss-acl is private, public-read or public-read-write.";
            Err(Error::argument(ACL, other, "", message))
        }
    }
}

/// A text that sorts before every one that begins with `prefix`, and after nearly all that do not.
fn before(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    match text.pop() {
        Some(_) => text,
        None => String::new(),
    }
}
