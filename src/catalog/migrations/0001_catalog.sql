-- One text for SQLite and PostgreSQL. Every number is a BIGINT, truth is 0 or 1, instants are
-- milliseconds since the Unix epoch, what only we read is JSON text. "binary" is a collation of
-- SQLite; in PostgreSQL it is made before the first migration: names sort by their bytes in both.

CREATE TABLE hubs (
    name TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
    created_ms BIGINT NOT NULL
);

CREATE TABLE channels (
    hub TEXT COLLATE "binary" NOT NULL,
    name TEXT COLLATE "binary" NOT NULL,
    enabled BIGINT NOT NULL,
    settings TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (hub, name)
);

CREATE TABLE channel_labels (
    label TEXT COLLATE "binary" NOT NULL,
    value TEXT COLLATE "binary" NOT NULL,
    hub TEXT COLLATE "binary" NOT NULL,
    name TEXT COLLATE "binary" NOT NULL,
    PRIMARY KEY (hub, name, label)
);
CREATE INDEX channel_labels_by_value ON channel_labels (label, value, hub, name);

-- "key" is made from the recording's name, so whoever writes rows needs to ask nobody for it.
CREATE TABLE recordings (
    key BIGINT NOT NULL PRIMARY KEY,
    hub TEXT COLLATE "binary" NOT NULL,
    channel TEXT COLLATE "binary" NOT NULL,
    id TEXT COLLATE "binary" NOT NULL,
    began_ms BIGINT NOT NULL,
    -- Where its last segment ends; grows with them.
    until_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    target_duration_s BIGINT NOT NULL,
    segments BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);
CREATE INDEX recordings_by_channel ON recordings (hub, channel, began_ms);

CREATE TABLE sessions (
    recording BIGINT NOT NULL,
    began_ms BIGINT NOT NULL,
    hub TEXT COLLATE "binary" NOT NULL,
    channel TEXT COLLATE "binary" NOT NULL,
    recording_id TEXT COLLATE "binary" NOT NULL,
    ended_ms BIGINT,
    reason TEXT,
    remote TEXT NOT NULL,
    encoder TEXT,
    tracks TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    video_frames BIGINT NOT NULL,
    audio_frames BIGINT NOT NULL,
    dropped BIGINT NOT NULL,
    discontinuities BIGINT NOT NULL,
    gaps BIGINT NOT NULL,
    node TEXT NOT NULL,
    PRIMARY KEY (recording, began_ms)
);
CREATE INDEX sessions_by_channel ON sessions (hub, channel, began_ms);
CREATE INDEX sessions_running ON sessions (node, began_ms) WHERE ended_ms IS NULL;

CREATE TABLE segments (
    recording BIGINT NOT NULL,
    number BIGINT NOT NULL,
    session_ms BIGINT NOT NULL,
    date_ms BIGINT NOT NULL,
    -- In ticks of 90 kHz.
    duration BIGINT NOT NULL,
    size BIGINT NOT NULL,
    -- 1: a discontinuity stands before it; 2: it does not begin with a key frame; 4: its media is missing.
    flags BIGINT NOT NULL,
    PRIMARY KEY (recording, number)
);
CREATE INDEX segments_by_date ON segments (recording, date_ms);

CREATE TABLE clips (
    hub TEXT COLLATE "binary" NOT NULL,
    channel TEXT COLLATE "binary" NOT NULL,
    name TEXT COLLATE "binary" NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (hub, channel, name)
);

-- Stream keys (kind "key", id "hub/channel"), API tokens (kind "token") and the secret by which
-- URLs are signed (kind "secret", the only one that is kept itself and not as a digest).
CREATE TABLE credentials (
    kind TEXT COLLATE "binary" NOT NULL,
    id TEXT COLLATE "binary" NOT NULL,
    secret TEXT COLLATE "binary" NOT NULL,
    about TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE UNIQUE INDEX credentials_by_secret ON credentials (kind, secret, id);

CREATE TABLE audit (
    id BIGINT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL
);
