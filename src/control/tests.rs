//! Rights and states of channels, over a real catalog and a real disk.

use super::auth::{Caller, Need, NewToken, Playback, Presented, Scope};
use super::channels::{ChannelState, IfLive, Put, Wanted};
use super::live::Ending;
use super::settings::ChannelSettings;
use super::*;
use crate::clock;
use crate::store::disk;

struct World {
    control: Control,
    catalog: Catalog,
    _dir: tempfile::TempDir,
}

async fn world(publish: Policy) -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let catalog = Catalog::sqlite(&dir.path().join("catalog.sqlite")).await;
    let catalog = catalog.expect("a catalog");
    World {
        control: open(dir.path(), publish, catalog.clone()).await,
        catalog,
        _dir: dir,
    }
}

/// Those of a small server.
pub(super) fn settings() -> Settings {
    Settings {
        publish: Policy::Key,
        node: "a".to_owned(),
        window_segments: 6,
        reconnect_window: Duration::from_secs(30),
        second_publisher: SecondPublisher::Takeover,
        cache_bytes: 1 << 20,
        playlist_bytes: 1 << 20,
    }
}

pub(super) async fn open(dir: &std::path::Path, publish: Policy, catalog: Catalog) -> Control {
    let disk = Disk::new(dir, &dir.join(".running"), disk::Settings::default()).expect("a disk");
    let settings = Settings {
        publish,
        ..settings()
    };
    let store = Store::local(dir).expect("a store");
    Control::open(settings, store, disk, catalog)
        .await
        .expect("opens")
}

pub(super) fn id(name: &str) -> ChannelId {
    ChannelId::new("live", name).expect("a name")
}

pub(super) fn me() -> Caller {
    Caller::server("me")
}

/// Whether the query lets its owner publish to `live/{name}`, and if not, why.
async fn publish(control: &Control, name: &str, query: &str) -> Result<Grant, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let may = control
        .may_publish("live", name, &Presented::new(pairs), [192, 0, 2, 1].into())
        .await;
    may.map_err(|denied| denied.to_string())
}

#[tokio::test]
async fn only_the_right_key_is_granted_and_only_until_it_is_changed() {
    let world = world(Policy::Key).await;
    let control = &world.control;
    let first = control
        .first_start(&id("stream"))
        .await
        .expect("made")
        .expect("the first");
    assert!(
        control
            .first_start(&id("stream"))
            .await
            .expect("asked")
            .is_none()
    );
    let key = format!("key={}", first.key.reveal());
    let check = async |name: &str, query: &str, why: &str| {
        let denied = publish(control, name, query).await.expect_err(why);
        assert!(denied.contains(why), "{denied}");
        assert!(!denied.contains(first.key.reveal()));
    };
    assert!(publish(control, "stream", &key).await.is_ok());
    check("stream", "", "needs its stream key").await;
    check("stream", "key=", "needs its stream key").await;
    check("stream", "key=wrong", "wrong stream key").await;
    check("stream", &key[..key.len() - 1], "wrong stream key").await;
    check("unknown", &key, "wrong stream key").await;
    check("..", &key, "begins with a dot").await;
    let new = control
        .rotate_key(&me(), &id("stream"))
        .await
        .expect("rotated");
    check("stream", &key, "wrong stream key").await;
    let new = format!("key={}", new.reveal());
    assert!(publish(control, "stream", &new).await.is_ok());
    control.set_passing_key(id("stream"), "configured");
    assert!(publish(control, "stream", "key=configured").await.is_ok());
    assert!(publish(control, "stream", &new).await.is_ok(), "both work");
    let kept = world
        .catalog
        .credential("key", "live/stream")
        .await
        .expect("read");
    assert!(
        !kept.expect("kept").secret.contains(&new[4..]),
        "only its digest"
    );
    let again = open(world._dir.path(), Policy::Key, world.catalog.clone()).await;
    assert!(
        publish(&again, "stream", &new).await.is_ok(),
        "it outlives the process"
    );
}

#[tokio::test]
async fn a_signed_url_is_for_one_channel_one_use_and_some_time() {
    let world = world(Policy::Signed).await;
    let control = &world.control;
    let settings = ChannelSettings {
        playback: Playback::Signed,
        ..ChannelSettings::default()
    };
    for name in ["a", "b"] {
        control
            .put_channel(&me(), &id(name), settings.clone())
            .await
            .expect("made");
    }
    let now = clock::now().unix_ms() / 1000;
    let good = control.sign_publish(&id("a"), now + 60);
    assert!(publish(control, "a", &good).await.is_ok());
    let check = async |name: &str, query: &str, why: &str| {
        let denied = publish(control, name, query).await.expect_err(why);
        assert!(denied.contains(why), "{denied}");
    };
    check("a", "key=x", "needs a signed URL").await;
    check("b", &good, "signature of this URL is not right").await;
    check("a", &control.sign_publish(&id("a"), now - 1), "expired").await;
    check(
        "a",
        &good.replace(&(now + 60).to_string(), &(now + 61).to_string()),
        "not right",
    )
    .await;
    check("a", "signature=x&expires=1", "not right").await;
    check("a", "signature=x", "not right").await;

    let token = control.sign_playback(&id("a"), now + 60);
    let token = token.strip_prefix("token=");
    let may = control.may_play(&id("a"), token, None).await;
    assert_eq!(may.expect("signed").playback, Playback::Signed);
    assert!(control.may_play(&id("b"), token, None).await.is_err());
    assert!(control.may_play(&id("a"), None, None).await.is_err());
    assert!(control.may_play(&id("a"), Some("x-y"), None).await.is_err());
    let signature = good.rsplit_once('=').map_or("", |(_, signature)| signature);
    let other_use = format!("{}-{signature}", now + 60);
    assert!(
        control
            .may_play(&id("a"), Some(&other_use), None)
            .await
            .is_err()
    );
    let nobody = control.may_play(&id("nobody"), None, None).await;
    assert!(matches!(nobody, Err(Lookup::NoChannel(_))));
}

#[tokio::test]
async fn tokens_have_a_scope_a_hub_and_an_end() {
    let world = world(Policy::Key).await;
    let control = &world.control;
    let (live, other) = (
        "live".parse().expect("a name"),
        "other".parse().expect("a name"),
    );
    let make = async |scope, hub: Option<&crate::id::HubName>, expires_ms| {
        let new = NewToken {
            name: "x".to_owned(),
            scope,
            hub: hub.cloned(),
            expires_ms,
        };
        control.make_token(&me(), new).await.expect("made")
    };
    let (token, secret) = make(Scope::Channels, Some(&live), None).await;
    let caller = control.caller(secret.reveal()).await.expect("known");
    assert!(caller.may(Need::ReadHub(&live)).is_ok());
    assert!(caller.may(Need::ChangeHub(&live)).is_ok());
    assert!(caller.may(Need::ChangeHub(&other)).is_err());
    assert!(caller.may(Need::ReadAll).is_err());
    assert!(caller.may(Need::Admin).is_err());
    let (_, read) = make(Scope::Read, None, None).await;
    let caller = control.caller(read.reveal()).await.expect("known");
    assert!(caller.may(Need::ReadAll).is_ok() && caller.may(Need::ChangeHub(&live)).is_err());
    let (_, old) = make(Scope::Admin, None, Some(1)).await;
    assert_eq!(control.caller(old.reveal()).await, Err(Denied::NoToken));
    assert_eq!(control.caller("ms_wrong").await, Err(Denied::NoToken));
    assert_eq!(control.tokens(None, 10).await.expect("listed").len(), 3);
    control.delete_token(&me(), &token.id).await.expect("gone");
    assert_eq!(control.caller(secret.reveal()).await, Err(Denied::NoToken));
}

#[tokio::test]
async fn a_channel_is_idle_live_or_disabled_and_disabling_ends_its_push() {
    let world = world(Policy::Open).await;
    let control = &world.control;
    let grant = publish(control, "a", "").await.expect("open makes it");
    let publisher = Publisher {
        remote: "192.0.2.1:1".to_owned(),
        encoder: None,
    };
    let claim = control.claim(&grant, &publisher).await.expect("free");
    let state = async |name| control.state(&control.channel(&id(name)).await.expect("there"));
    assert_eq!(state("a").await, ChannelState::Live);
    let wanted = Wanted {
        state: Some(ChannelState::Live),
        ..Wanted::default()
    };
    assert_eq!(
        control
            .channels(&wanted, 10)
            .await
            .expect("listed")
            .channels
            .len(),
        1
    );
    let refused = control
        .enable_channel(&me(), &id("a"), false, IfLive::Refuse)
        .await;
    assert!(matches!(refused, Err(Error::Live(_))));
    control
        .enable_channel(&me(), &id("a"), false, IfLive::End)
        .await
        .expect("disabled");
    assert_eq!(claim.told_to_end().await, Ending::Disabled);
    drop(claim);
    assert_eq!(state("a").await, ChannelState::Disabled);
    let denied = publish(control, "a", "").await.expect_err("disabled");
    assert!(denied.contains("is disabled"), "{denied}");
    let late = control.claim(&grant, &publisher).await;
    assert!(
        matches!(late, Err(Refused::Disabled(_))),
        "granted before, claimed after"
    );

    control
        .enable_channel(&me(), &id("a"), true, IfLive::End)
        .await
        .expect("enabled");
    let grant = publish(control, "a", "").await.expect("enabled");
    let claim = control.claim(&grant, &publisher).await.expect("free");
    control.kick(&me(), &id("a")).await.expect("live");
    assert_eq!(claim.told_to_end().await, Ending::Kicked);
    drop(claim);
    assert!(matches!(
        control.kick(&me(), &id("a")).await,
        Err(Error::NotLive(_))
    ));
    let claim = control.claim(&grant, &publisher).await.expect("free");
    control
        .delete_channel(&me(), &id("a"), IfLive::End)
        .await
        .expect("deleted");
    assert_eq!(claim.told_to_end().await, Ending::Deleted);
    assert!(matches!(
        control.channel(&id("a")).await,
        Err(Error::NoChannel(_))
    ));
    let trail = control.audit(None, 10).await.expect("read");
    let actions: Vec<_> = trail.iter().rev().map(|row| row.action.as_str()).collect();
    let expected = [
        "create channel",
        "change channel",
        "change channel",
        "kick channel",
        "delete channel",
    ];
    assert_eq!(actions, expected);
}

#[tokio::test]
async fn putting_the_same_again_changes_nothing() {
    let world = world(Policy::Key).await;
    let control = &world.control;
    let settings = ChannelSettings {
        window: Some(9),
        ..ChannelSettings::default()
    };
    let put = async |settings: &ChannelSettings| {
        let put = control.put_channel(&me(), &id("a"), settings.clone()).await;
        put.expect("put").1
    };
    assert_eq!(put(&settings).await, Put::Created);
    let key = control.rotate_key(&me(), &id("a")).await.expect("made");
    assert_eq!(put(&settings).await, Put::Same);
    assert_eq!(put(&ChannelSettings::default()).await, Put::Replaced);
    let query = format!("key={}", key.reveal());
    assert!(publish(control, "a", &query).await.is_ok(), "its key stays");
    let again = open(world._dir.path(), Policy::Key, world.catalog.clone()).await;
    assert_eq!(
        again.channel(&id("a")).await.expect("kept").settings,
        ChannelSettings::default()
    );
}

#[tokio::test]
async fn who_publishes_and_watches_does_not_notice_that_the_catalog_is_away() {
    let world = world(Policy::Key).await;
    let control = &world.control;
    control
        .put_channel(&me(), &id("a"), ChannelSettings::default())
        .await
        .expect("made");
    let key = control.rotate_key(&me(), &id("a")).await.expect("made");
    let query = format!("key={}", key.reveal());
    world.catalog.close().await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert!(publish(control, "a", &query).await.is_ok());
    let may = control.may_play(&id("a"), None, None).await;
    assert_eq!(may.expect("remembered").playback, Playback::Public);
    let denied = publish(control, "b", &query)
        .await
        .expect_err("not remembered");
    assert!(denied.contains("try again"), "{denied}");
}

/// A push into `live/a` of so many segments whose process is killed: all of them are in the
/// recording's index, with `lines` behind them, and only the first is in the catalog.
async fn killed(world: &World, segments: u64, lines: &[journal::Line]) -> (RecordingKey, i64) {
    use super::journal::Line;
    use crate::media::{Segment, Timestamp, WallTime};
    let control = &world.control;
    let grant = publish(control, "a", "").await.expect("open");
    let publisher = Publisher {
        remote: "192.0.2.1:1".to_owned(),
        encoder: None,
    };
    let claim = control.claim(&grant, &publisher).await.expect("free");
    let key = claim.recording().key().clone();
    let began = claim.ledger().began();
    let session = Line::Session {
        began_ms: began.unix_ms(),
        remote: publisher.remote.clone(),
        encoder: None,
        node: Some("a".to_owned()),
    };
    let segment = |number: u64| Segment {
        number,
        start: Timestamp::ZERO,
        program_date_time: WallTime::from_unix_ms(began.unix_ms() + 2_000 * number as i64),
        duration: crate::media::Duration::from_ms(2_000),
        size: 1000,
        discontinuity: false,
        independent: true,
        gap: false,
        parts: Vec::new(),
    };
    let mut text = Line::recording("live/a".to_owned(), began).to_text() + &session.to_text();
    for number in 0..segments {
        text += &Line::segment(&segment(number), 2).to_text();
    }
    lines.iter().for_each(|line| text += &line.to_text());
    let writer = claim.disk_writer();
    writer
        .line(key.journal(), text, |done| assert!(done.is_ok()))
        .await;
    writer.flush().await;
    claim.ledger().segment(&segment(0), 2);
    while control.catalog_health().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    std::mem::forget(claim);
    (key, began.unix_ms())
}

#[tokio::test]
async fn what_a_killed_process_left_open_is_closed_from_the_recordings_index() {
    let world = world(Policy::Open).await;
    let lost = [journal::Line::Lost { number: 1 }];
    let (key, began_ms) = killed(&world, 3, &lost).await;
    let again = open(world._dir.path(), Policy::Open, world.catalog.clone()).await;
    let recover = async || again.recover_history(Vec::new()).await.expect("recovered");
    assert_eq!(recover().await, 1);
    assert_eq!(recover().await, 0, "nothing is left");
    let rows = world
        .catalog
        .sessions(&key.channel, 0..i64::MAX, None, 10)
        .await
        .expect("listed");
    assert_eq!(rows[0].ended_ms, Some(began_ms + 6_000));
    assert_eq!(
        rows[0].reason.as_deref(),
        Some("the server was interrupted")
    );
    let segments = world
        .catalog
        .segments(&key, 0..i64::MAX, 0, 10)
        .await
        .expect("listed");
    let gaps: Vec<_> = segments.iter().map(|row| row.segment().gap).collect();
    assert_eq!(gaps, [false, true, false], "what was lost is known as lost");
}

/// Rows of a long push are written behind the start, which does not wait for them.
#[tokio::test]
async fn many_rows_of_a_killed_process_do_not_hold_back_the_start() {
    const SEGMENTS: u64 = 15_000;
    let world = world(Policy::Open).await;
    let (key, _) = killed(&world, SEGMENTS, &[]).await;
    let again = open(world._dir.path(), Policy::Open, world.catalog.clone()).await;
    let count = async || {
        let rows = world.catalog.segments(&key, 0..i64::MAX, 0, usize::MAX);
        rows.await.expect("listed").len() as u64
    };
    again.recover_history(Vec::new()).await.expect("recovered");
    assert!(count().await < SEGMENTS, "the start has waited");
    assert!(again.0.is_restoring(&key));
    while again.0.is_restoring(&key) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(count().await, SEGMENTS);
}

#[tokio::test]
async fn the_store_knows_what_is_set_of_hubs_and_channels_and_that_one_was_deleted() {
    let world = world(Policy::Key).await;
    let control = &world.control;
    let hub = "yard".parse().expect("a name");
    let access = super::hubs::HubAccess::ReadWrite;
    control.put_hub(&me(), &hub, access).await.expect("made");
    let settings = ChannelSettings {
        enabled: false,
        description: "barn".to_owned(),
        ..ChannelSettings::default()
    };
    for name in ["a", "gone"] {
        let put = control
            .put_channel(&me(), &id(name), settings.clone())
            .await;
        put.expect("made");
    }
    let clip = "x".parse().expect("a name");
    let clip = control
        .put_range(&me(), RangeKind::Clip, &id("a"), clip, 5..9)
        .await
        .expect("made");
    assert_eq!(control.write_cards().await.expect("written"), 4);
    let gone = control
        .delete_channel(&me(), &id("gone"), IfLive::End)
        .await;
    gone.expect("gone");
    assert_eq!(control.write_cards().await.expect("written"), 1);
    assert_eq!(control.write_cards().await.expect("written"), 0, "once");
    let (before, hub_before) = (control.channel(&id("a")).await, control.hub(&hub).await);

    let lost = world._dir.path().join("other.sqlite");
    let catalog = Catalog::sqlite(&lost).await.expect("an empty catalog");
    let again = open(world._dir.path(), Policy::Key, catalog).await;
    let found = again.rebuild(|_, _, _| {}).await.expect("rebuilt");
    assert_eq!(found, (1, 0), "nothing is left of the other");
    let after = again.channel(&id("a")).await.expect("there");
    assert_eq!(after, before.expect("there"));
    assert_eq!(
        again.hub(&hub).await.expect("asked"),
        hub_before.expect("asked")
    );
    let clips = again
        .ranges(RangeKind::Clip, &id("a"), None, 10)
        .await
        .expect("listed");
    assert_eq!(clips, [clip]);
}
