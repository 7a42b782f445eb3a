-- Who may use a hub's media without being known: 0 nobody, 1 to read, 2 to read and write.
ALTER TABLE hubs ADD COLUMN access BIGINT NOT NULL DEFAULT 0;
