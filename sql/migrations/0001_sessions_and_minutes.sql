-- What was recorded: sessions, and the seconds counted of them in each UTC minute.

CREATE TABLE interview_sessions (
    session_id uuid PRIMARY KEY,
    organization_id text NOT NULL,
    user_id text NOT NULL,
    kind text NOT NULL DEFAULT '',
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    -- Second 0 of the session. While only its minutes are known (revision 0): its first minute.
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason text,
    -- Grows with each change of the row at its source; an older copy never overwrites a newer one.
    revision bigint NOT NULL DEFAULT 0 CHECK (revision >= 0),
    -- Kept by triggers on usage_tracking.
    seconds_recorded bigint NOT NULL DEFAULT 0 CHECK (seconds_recorded >= 0),
    duration_minutes bigint NOT NULL GENERATED ALWAYS AS ((seconds_recorded + 59) / 60) STORED,
    CONSTRAINT interview_sessions_end CHECK ((ended_at IS NULL) = (end_reason IS NULL))
)
-- The figures change with every minute: room on the page keeps those updates out of the indexes.
WITH (fillfactor = 70);

CREATE INDEX interview_sessions_organization
    ON interview_sessions (organization_id, started_at);
CREATE INDEX interview_sessions_user ON interview_sessions (user_id, started_at);
CREATE INDEX interview_sessions_live ON interview_sessions (organization_id)
    WHERE ended_at IS NULL AND revision > 0;

CREATE FUNCTION refuse_new_session_owner() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'session % belongs to another account', old.session_id
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

-- The id is the recorder's choice, so two accounts can come with the same one.
CREATE TRIGGER session_owner BEFORE UPDATE ON interview_sessions
    FOR EACH ROW
    WHEN (old.organization_id <> new.organization_id OR old.user_id <> new.user_id)
    EXECUTE FUNCTION refuse_new_session_owner();

-- A metadata text as it can be stored. JSON allows what jsonb cannot hold (NUL, lone surrogates,
-- huge numbers); that is kept as text, since the seconds of its session have to be written anyway.
CREATE FUNCTION metadata_of(given text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    parsed jsonb;
BEGIN
    IF given = '' THEN
        RETURN NULL;
    END IF;
    parsed := given::jsonb;
    IF jsonb_typeof(parsed) = 'object' THEN
        RETURN parsed;
    END IF;
    RETURN jsonb_build_object('unreadable', given);
EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
    RETURN jsonb_build_object('unreadable', given);
END
$$;

-- One row a session and minute. A row is a set of seconds, so writing one again, late or twice
-- merges it by OR and changes nothing that was there.
CREATE TABLE usage_tracking (
    session_id uuid NOT NULL,
    organization_id text NOT NULL,
    user_id text NOT NULL,
    -- The start of the UTC minute.
    minute_timestamp timestamptz NOT NULL
        CONSTRAINT usage_tracking_whole_minute CHECK (
            date_bin('1 minute', minute_timestamp, '2000-01-01 00:00:00+00') = minute_timestamp
        ),
    -- Bit i: second i of the minute was recorded.
    seconds_mask bigint NOT NULL
        CONSTRAINT usage_tracking_sixty_bits CHECK (
            seconds_mask > 0 AND seconds_mask < 1::bigint << 60
        ),
    seconds_recorded smallint NOT NULL
        GENERATED ALWAYS AS (bit_count(seconds_mask::bit(60))::smallint) STORED
        CONSTRAINT usage_tracking_seconds CHECK (seconds_recorded BETWEEN 1 AND 60),
    PRIMARY KEY (session_id, minute_timestamp)
) PARTITION BY RANGE (minute_timestamp);

CREATE INDEX usage_tracking_organization ON usage_tracking (organization_id, minute_timestamp);
CREATE INDEX usage_tracking_user ON usage_tracking (user_id, minute_timestamp);

-- Makes the monthly partitions from the UTC month of `first` on, where they are missing, and gives
-- how many it made. Reads and writes of other partitions go on meanwhile, which CREATE TABLE …
-- PARTITION OF would not let them.
CREATE FUNCTION ensure_usage_partitions(first timestamptz, months integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    opening timestamp := date_trunc('month', first AT TIME ZONE 'UTC');
    made integer := 0;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ensure_usage_partitions'));
    FOR ahead IN 1 .. months LOOP
        name := 'usage_tracking_' || to_char(opening, 'YYYY_MM');
        -- Not by to_regclass(), which may still know nothing of what was made while we waited.
        IF NOT EXISTS (
            SELECT FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace AND relname = name
        ) THEN
            EXECUTE format(
                'CREATE TABLE %I (LIKE usage_tracking INCLUDING ALL) WITH (fillfactor = 90)', name
            );
            EXECUTE format(
                'ALTER TABLE usage_tracking ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                name,
                opening AT TIME ZONE 'UTC',
                (opening + interval '1 month') AT TIME ZONE 'UTC'
            );
            made := made + 1;
        END IF;
        opening := opening + interval '1 month';
    END LOOP;
    RETURN made;
END
$$;

SELECT ensure_usage_partitions(now() - interval '1 month', 4);
