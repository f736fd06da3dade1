-- Figures kept by triggers: each is the sum of what usage_tracking holds, moved by the change of a
-- whole statement. They hang on usage_tracking itself: write through it, not into a partition.

CREATE TABLE monthly_usage_cache (
    organization_id text NOT NULL,
    user_id text NOT NULL,
    -- The UTC month, as its first day.
    month date NOT NULL
        CONSTRAINT monthly_usage_cache_first_day CHECK (extract(day FROM month) = 1),
    seconds_used bigint NOT NULL CHECK (seconds_used >= 0),
    minutes_used bigint NOT NULL GENERATED ALWAYS AS ((seconds_used + 59) / 60) STORED,
    -- An organization's month is a row a member, side by side in this index.
    PRIMARY KEY (organization_id, month, user_id)
)
WITH (fillfactor = 70);

CREATE INDEX monthly_usage_cache_user ON monthly_usage_cache (user_id, month);

-- Rows are locked in the order of their keys, so that two writers wait instead of deadlocking.
CREATE FUNCTION add_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM added) THEN
        RETURN NULL;
    END IF;
    INSERT INTO monthly_usage_cache AS kept (organization_id, user_id, month, seconds_used)
    SELECT
        organization_id,
        user_id,
        date_trunc('month', minute_timestamp AT TIME ZONE 'UTC')::date AS month,
        sum(seconds_recorded)
    FROM added
    GROUP BY organization_id, user_id, month
    ORDER BY organization_id, month, user_id
    ON CONFLICT (organization_id, month, user_id) DO UPDATE
    SET seconds_used = kept.seconds_used + excluded.seconds_used;
    -- A session whose own row isn't there yet gets one, so that it cannot miss a second.
    INSERT INTO interview_sessions AS kept
        (session_id, organization_id, user_id, started_at, seconds_recorded)
    SELECT
        session_id, organization_id, user_id, min(minute_timestamp), sum(seconds_recorded)
    FROM added
    GROUP BY session_id, organization_id, user_id
    ORDER BY session_id
    ON CONFLICT (session_id) DO UPDATE
    SET
        organization_id = excluded.organization_id,
        user_id = excluded.user_id,
        seconds_recorded = kept.seconds_recorded + excluded.seconds_recorded,
        started_at = CASE
            WHEN kept.revision = 0 THEN least(kept.started_at, excluded.started_at)
            ELSE kept.started_at
        END;
    RETURN NULL;
END
$$;

CREATE FUNCTION remove_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM removed) THEN
        RETURN NULL;
    END IF;
    WITH change AS (
        SELECT
            organization_id,
            user_id,
            date_trunc('month', minute_timestamp AT TIME ZONE 'UTC')::date AS month,
            sum(seconds_recorded) AS seconds
        FROM removed
        GROUP BY organization_id, user_id, month
    ), locked AS (
        SELECT kept.organization_id, kept.user_id, kept.month, change.seconds
        FROM monthly_usage_cache AS kept
        JOIN change USING (organization_id, user_id, month)
        ORDER BY kept.organization_id, kept.month, kept.user_id
        FOR UPDATE OF kept
    )
    UPDATE monthly_usage_cache AS kept
    SET seconds_used = kept.seconds_used - locked.seconds
    FROM locked
    WHERE (kept.organization_id, kept.month, kept.user_id)
        = (locked.organization_id, locked.month, locked.user_id);
    WITH change AS (
        SELECT session_id, sum(seconds_recorded) AS seconds FROM removed GROUP BY session_id
    ), locked AS (
        SELECT kept.session_id, change.seconds
        FROM interview_sessions AS kept
        JOIN change USING (session_id)
        ORDER BY kept.session_id
        FOR UPDATE OF kept
    )
    UPDATE interview_sessions AS kept
    SET seconds_recorded = kept.seconds_recorded - locked.seconds
    FROM locked
    WHERE kept.session_id = locked.session_id;
    RETURN NULL;
END
$$;

CREATE FUNCTION clear_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM monthly_usage_cache;
    UPDATE interview_sessions SET seconds_recorded = 0 WHERE seconds_recorded > 0;
    RETURN NULL;
END
$$;

-- An update takes the old rows away and then adds the new ones (triggers fire by name), which
-- never goes below zero on the way.
CREATE TRIGGER usage_1_removed_by_update AFTER UPDATE ON usage_tracking
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION remove_usage();
CREATE TRIGGER usage_1_removed_by_delete AFTER DELETE ON usage_tracking
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION remove_usage();
CREATE TRIGGER usage_2_added_by_update AFTER UPDATE ON usage_tracking
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_usage();
CREATE TRIGGER usage_2_added_by_insert AFTER INSERT ON usage_tracking
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_usage();
CREATE TRIGGER usage_cleared AFTER TRUNCATE ON usage_tracking
    FOR EACH STATEMENT EXECUTE FUNCTION clear_usage();

-- A session's row goes after its minutes: deleted before them, its total would be lost.
CREATE FUNCTION refuse_orphaned_minutes() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM usage_tracking WHERE session_id = old.session_id) THEN
        RAISE EXCEPTION 'session % still has minutes in usage_tracking', old.session_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN old;
END
$$;

CREATE TRIGGER session_minutes BEFORE DELETE ON interview_sessions
    FOR EACH ROW EXECUTE FUNCTION refuse_orphaned_minutes();
