-- What a channel keeps, as its settings say; here too, so that retention finds it by an index.
ALTER TABLE channels ADD COLUMN retention_s BIGINT;
ALTER TABLE channels ADD COLUMN retention_bytes BIGINT;
CREATE INDEX channels_by_age ON channels (hub, name) WHERE retention_s IS NOT NULL;
CREATE INDEX channels_by_bytes ON channels (hub, name) WHERE retention_bytes IS NOT NULL;

-- Where its first segment begins that has not expired; greater than every time if there is none.
ALTER TABLE recordings ADD COLUMN oldest_ms BIGINT NOT NULL DEFAULT 0;
-- Segments before this number have expired, but for "kept" ones, which a clip or a hold names.
ALTER TABLE recordings ADD COLUMN expired_before BIGINT NOT NULL DEFAULT 0;
ALTER TABLE recordings ADD COLUMN kept BIGINT NOT NULL DEFAULT 0;
-- Discontinuities before that number.
ALTER TABLE recordings ADD COLUMN expired_discontinuities BIGINT NOT NULL DEFAULT 0;
-- Of its bytes, those that have expired and are still there.
ALTER TABLE recordings ADD COLUMN withdrawn BIGINT NOT NULL DEFAULT 0;
UPDATE recordings SET oldest_ms = began_ms;
CREATE INDEX recordings_by_oldest ON recordings (oldest_ms);
CREATE INDEX recordings_by_channel_oldest ON recordings (hub, channel, oldest_ms);
CREATE INDEX recordings_with_kept ON recordings (key) WHERE kept > 0;

-- Expired segments (flag 8) whose objects go at a time.
CREATE TABLE withdrawals (
    recording BIGINT NOT NULL,
    first BIGINT NOT NULL,
    before BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    PRIMARY KEY (recording, first, due_ms)
);
CREATE INDEX withdrawals_by_due ON withdrawals (due_ms);

-- Named ranges of a channel's time that retention leaves alone; they stay when the channel goes.
CREATE TABLE holds (
    hub TEXT COLLATE "binary" NOT NULL,
    channel TEXT COLLATE "binary" NOT NULL,
    name TEXT COLLATE "binary" NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (hub, channel, name)
);
