//! Signatures of the reference, and every request that the real SDK was recorded to send.

use super::super::address::Names;
use super::super::query::Query;
use super::super::recorded::{self, Recorded};
use super::*;

fn names() -> Names {
    Names {
        domain: "oss.localhost".to_owned(),
        cnames: [("live.localhost".to_owned(), "demo-bucket".to_owned())].into(),
    }
}

/// For as long as the tests run: answers refer to them.
fn keys() -> &'static AccessKeys {
    let pair = |value: &str| [("testak".to_owned(), value.to_owned())].into();
    Box::leak(Box::new(AccessKeys::new(
        &pair("testsk"),
        &BTreeMap::new(),
        &BTreeMap::new(),
    )))
}

fn keys_with_token(token: &str) -> AccessKeys {
    let pair = |value: &str| [("testak".to_owned(), value.to_owned())].into();
    AccessKeys::new(&pair("testsk"), &pair(token), &BTreeMap::new())
}

/// When a recorded request was sent: what its date says, or little before it expires.
fn sent_at(request: &Recorded) -> i64 {
    let header = |name| request.headers.get(name)?.to_str().ok();
    let date = header("date").and_then(time::of_http);
    let query = Query::parse(&request.query).expect("UTF-8");
    let stamp = header("x-oss-date").or(query.get("x-oss-date"));
    let until = query.get("Expires").or(query.get("x-oss-expires"));
    date.or(stamp.and_then(time::of_compact))
        .or(until.and_then(|until| until.parse().ok()))
        .expect("a time")
}

fn caller<'k>(keys: &'k AccessKeys, request: &Recorded, now: i64) -> Result<Caller<'k>, Code> {
    let target = Target::parse(&names(), &request.host, &request.path, &request.query);
    let request = Request {
        method: &request.method,
        target: &target.expect("UTF-8"),
        headers: &request.headers,
    };
    keys.caller(request, now).map_err(|error| error.code)
}

#[test]
fn every_request_of_the_sdk_is_known_by_its_signature() {
    let all = recorded::requests();
    assert!(all.len() > 70, "{}", all.len());
    for request in all {
        let (label, now) = (&request.label, sent_at(&request));
        assert_eq!(caller(keys(), &request, now), Ok(OWNER), "{label}");
        let stranger = AccessKeys::default();
        let found = caller(&stranger, &request, now);
        assert_eq!(found, Err(Code::InvalidAccessKeyId), "{label}");
        let token = keys_with_token("TOK+/=");
        let expected = match label.contains("sts") {
            true => Ok(OWNER),
            false => Err(Code::InvalidSecurityToken),
        };
        assert_eq!(caller(&token, &request, now), expected, "{label}");

        let mut other = request.clone();
        other.path.push('x');
        let found = caller(keys(), &other, now);
        assert_eq!(found, Err(Code::SignatureDoesNotMatch), "{label}");
    }
}

#[test]
fn a_signature_holds_for_a_while() {
    for request in recorded::requests() {
        let (label, now) = (&request.label, sent_at(&request));
        let at = |now| caller(keys(), &request, now);
        if label.contains("with_url") {
            let late = at(now + 7 * 86_400);
            assert_eq!(late, Err(Code::AccessDenied), "{label}");
            continue;
        }
        for off in [-SKEW_MAX_S, SKEW_MAX_S] {
            assert_eq!(at(now + off), Ok(OWNER), "{label}");
            let too_far = at(now + off + off.signum());
            assert_eq!(too_far, Err(Code::RequestTimeTooSkewed), "{label}");
        }
    }
}

/// One request of the reference: its method, bucket, raw path and query, and header lines.
fn check(method: &str, bucket: &str, path: &str, headers: &str) {
    let host = format!("{bucket}.oss.localhost");
    let text = format!("### reference\n{method} {path} HTTP/1.1\nHost: {host}\n{headers}");
    let [request] = &recorded::read(&text)[..] else {
        panic!("not one request: {text}");
    };
    let now = sent_at(request);
    assert_eq!(caller(keys(), request, now), Ok(OWNER), "{text}");
}

#[test]
fn signatures_of_the_reference_hold() {
    check(
        "PUT",
        "pytrijeugczhl",
        "/test-create-channel?live",
        "Date: Sat, 21 Nov 2026 01:49:45 GMT\nAuthorization: OSS testak:mdz5L/yYNcBtVUpH8BIq1DZKhpc=",
    );
    check(
        "GET",
        "pytrijeugernf",
        "/?live&prefix=&marker=&max-keys=1000",
        "Date: Sat, 21 Nov 2026 01:49:45 GMT\nAuthorization: OSS testak:1cLDXVLWXC12ZCoJthCEey/b6Gs=",
    );
    check(
        "POST",
        "pytrijeugjxsc",
        "/test-post-vod-playlist%2Fvod_playlist.m3u8?vod&startTime=1795222138&endTime=1795225738",
        "Date: Sat, 21 Nov 2026 01:49:58 GMT\nAuthorization: OSS testak:N0c+rxOYZ/T/C2esGaXqJ8CkhOc=",
    );
    check(
        "PUT",
        "pytwylggrbvtt",
        "/test-create-channel?live=",
        "Date: Sat, 21 Nov 2026 01:50:20 GMT\nAuthorization: OSS2 AccessKeyId:testak,Signature:mb0DY0v//t2YYGQ3PkB8pnnHbcaMjIU0Gi3xiHxtRRc=",
    );
    check(
        "GET",
        "pytwylggrjqrv",
        "/?live=&prefix=&marker=&max-keys=1000",
        "Date: Sat, 21 Nov 2026 01:50:20 GMT\nAuthorization: OSS2 AccessKeyId:testak,Signature:CKiZ0dIXnHi49xrLcpLh/ql/OpJOr+VJoUA16HWow6w=",
    );
    let v4 = |stamp: &str, signature: &str| {
        format!(
            "x-oss-date: {stamp}\nx-oss-content-sha256: UNSIGNED-PAYLOAD\nAuthorization: OSS4-HMAC-SHA256 \
             Credential=testak/20261121/cn-hangzhou/oss/aliyun_v4_request, Signature={signature}"
        )
    };
    check(
        "PUT",
        "pytlvltzzvzgp",
        "/test-create-channel?live=",
        &v4(
            "20261121T015039Z",
            "0e93832d39c4d3505dd9e015c43b148067d09c6c7083b6a96cca6208122407c4",
        ),
    );
    check(
        "GET",
        "pytlvltzzgccm",
        "/?live=&prefix=&marker=&max-keys=1000",
        &v4(
            "20261121T015038Z",
            "1c4a7f8ed4bf6689e0a23618b52473dd20427b4dbe88c419a64a57e770ca9a36",
        ),
    );
    check(
        "POST",
        "pytlvltzzdabl",
        "/test-post-vod-playlist%2Fvod_playlist.m3u8?vod=&startTime=1795222192&endTime=1795225792",
        &v4(
            "20261121T015052Z",
            "265f318441dee1ef670d0b6215570906ad5498cc298742f66ed7ccd7633b0ac0",
        ),
    );
}

#[test]
fn what_is_no_signature_is_told_apart() {
    let check = |path: &str, headers: &str, expected: Result<Caller, Code>| {
        let text = format!("### x\nGET {path} HTTP/1.1\nHost: b.oss.localhost\n{headers}");
        let request = &recorded::read(&text)[0];
        let found = caller(keys(), request, 1_795_225_785);
        assert_eq!(found, expected, "{text}");
    };
    let date = "Date: Sat, 21 Nov 2026 01:49:45 GMT\n";
    let with = |authorization: &str, expected| {
        check(
            "/",
            &format!("{date}Authorization: {authorization}"),
            Err(expected),
        );
    };
    with("OSS", Code::InvalidArgument);
    with("Basic dTpw", Code::InvalidArgument);
    with("OSS testak", Code::InvalidArgument);
    with("OSS testak:", Code::SignatureDoesNotMatch);
    with("OSS testak:AAAA", Code::SignatureDoesNotMatch);
    with("OSS testak:ä", Code::InvalidArgument);
    with("OSS2 Signature:AAAA", Code::InvalidArgument);
    with("OSS4-HMAC-SHA256 Signature=00", Code::InvalidArgument);
    with(
        "OSS4-HMAC-SHA256 Credential=testak/20261121/r/oss/aliyun_v4_request, Signature=00",
        Code::AccessDenied,
    );
    check("/", "", Ok(Caller::Anonymous));
    check(
        "/",
        "Authorization: OSS testak:AAAA",
        Err(Code::AccessDenied),
    );
    check("/?OSSAccessKeyId=testak", "", Err(Code::AccessDenied));
    check(
        "/?OSSAccessKeyId=testak&Expires=x&Signature=AAAA",
        "",
        Err(Code::AccessDenied),
    );
    check(
        "/?x-oss-signature-version=OSS9",
        "",
        Err(Code::InvalidArgument),
    );
    check(
        "/?x-oss-signature-version=OSS2",
        "",
        Err(Code::AccessDenied),
    );
    check(
        "/?x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-expires=604801",
        "",
        Err(Code::AccessDenied),
    );
}

proptest::proptest! {
    /// Whatever somebody sends, it is an answer and not an end.
    #[test]
    fn nothing_that_is_sent_is_too_strange(
        host in "[a-z.:\\[\\]0-9]{0,30}",
        path in "/[ -~]{0,60}",
        query in "[ -~]{0,120}",
        scheme in "(OSS|OSS2|OSS4-HMAC-SHA256|Basic)?",
        rest in "[ -~]{0,160}",
        date in "[ -~]{0,40}",
    ) {
        let mut headers = HeaderMap::new();
        let value = |text: &str| text.parse().expect("ASCII");
        headers.insert("authorization", value(&format!("{scheme} {rest}")));
        headers.insert("x-oss-date", value(&date));
        if let Ok(target) = Target::parse(&names(), &host, &path, &query) {
            for headers in [&headers, &HeaderMap::new()] {
                let request = Request { method: "GET", target: &target, headers };
                let found = keys().caller(request, 0);
                proptest::prop_assert_ne!(found, Ok(OWNER));
            }
        }
    }
}
