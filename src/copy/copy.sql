-- copy: a feed that is brought to its source.

CREATE PROCEDURE walhouse.resync(feed text, failover boolean DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'walhouse_resync';
COMMENT ON PROCEDURE walhouse.resync(text, boolean) IS
    'Lets a feed go on whose slot is gone or lost its WAL, or whose source was restored or failed over: makes a new slot, compares all tables with their mirrors at its point by checksums, and logs what differs as the changes of one transaction, so that models go on. Can be repeated after a failure; the feed waits until it is at its end. failover: as in create_feed; NULL: as the slot was, if it is there. Errors: another warehouse reads the slot; the source is no copy of the one that the feed was made for. Not inside a transaction block.';
