-- Channels, and hubs (an empty name), of which the store has not been told the newest. "mark" is
-- another one after each change.
CREATE TABLE unstored (
    hub TEXT COLLATE "binary" NOT NULL,
    name TEXT COLLATE "binary" NOT NULL,
    mark BIGINT NOT NULL,
    PRIMARY KEY (hub, name)
);
INSERT INTO unstored (hub, name, mark) SELECT name, '', 0 FROM hubs;
INSERT INTO unstored (hub, name, mark) SELECT hub, name, 0 FROM channels;
