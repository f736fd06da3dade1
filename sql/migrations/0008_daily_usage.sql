-- What was used on each day of an account: for daily breakdowns, for days active and streaks, and for
-- periods whose figures nobody had asked for before.

-- Kept by triggers on usage_tracking. A minute is of the day that it was in the account's time zone of
-- that time. Periods turn at the start of a day, so the days of a period make up its figure.
CREATE TABLE daily_usage (
    organization_id text NOT NULL,
    user_id text NOT NULL,
    day date NOT NULL,
    -- Part of the key: where a zone takes the place of another one, both have a part of that day, and
    -- the end of a period between them.
    time_zone text NOT NULL,
    seconds_used bigint NOT NULL
        CONSTRAINT daily_usage_seconds CHECK (seconds_used >= 0),
    minutes_used bigint NOT NULL GENERATED ALWAYS AS ((seconds_used + 59) / 60) STORED,
    PRIMARY KEY (organization_id, day, user_id, time_zone)
)
WITH (fillfactor = 70);

CREATE INDEX daily_usage_user ON daily_usage (user_id, day);

-- The zone that an account had at some moment.
CREATE FUNCTION zone_at(organization text, moment timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (
            SELECT time_zone
            FROM cycles_in_force
            WHERE organization_id = organization AND since <= moment AND moment < until
        ),
        'UTC'
    )
$$;

CREATE FUNCTION add_daily_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM added) THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM cycles_in_force) THEN
        INSERT INTO daily_usage AS kept (organization_id, user_id, day, time_zone, seconds_used)
        SELECT
            organization_id,
            user_id,
            (minute_timestamp AT TIME ZONE 'UTC')::date AS day,
            'UTC',
            sum(seconds_recorded)
        FROM added
        GROUP BY organization_id, user_id, day
        ORDER BY organization_id, day, user_id
        ON CONFLICT (organization_id, day, user_id, time_zone) DO UPDATE
        SET seconds_used = kept.seconds_used + excluded.seconds_used;
        RETURN NULL;
    END IF;
    -- Planned each time, as a plan is only good for about as many rows as it was made for.
    EXECUTE $query$
        INSERT INTO daily_usage AS kept (organization_id, user_id, day, time_zone, seconds_used)
        SELECT
            added.organization_id,
            added.user_id,
            (added.minute_timestamp AT TIME ZONE coalesce(force.time_zone, 'UTC'))::date AS day,
            coalesce(force.time_zone, 'UTC') AS zone,
            sum(added.seconds_recorded)
        FROM added
        LEFT JOIN cycles_in_force AS force
            ON force.organization_id = added.organization_id
            AND force.since <= added.minute_timestamp
            AND added.minute_timestamp < force.until
        GROUP BY added.organization_id, added.user_id, day, zone
        ORDER BY added.organization_id, day, added.user_id, zone
        ON CONFLICT (organization_id, day, user_id, time_zone) DO UPDATE
        SET seconds_used = kept.seconds_used + excluded.seconds_used
    $query$;
    RETURN NULL;
END
$$;

CREATE FUNCTION remove_daily_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM removed) THEN
        RETURN NULL;
    END IF;
    EXECUTE $query$
        WITH change AS (
            SELECT
                removed.organization_id,
                removed.user_id,
                (removed.minute_timestamp AT TIME ZONE coalesce(force.time_zone, 'UTC'))::date
                    AS day,
                coalesce(force.time_zone, 'UTC') AS time_zone,
                sum(removed.seconds_recorded) AS seconds
            FROM removed
            LEFT JOIN cycles_in_force AS force
                ON force.organization_id = removed.organization_id
                AND force.since <= removed.minute_timestamp
                AND removed.minute_timestamp < force.until
            GROUP BY 1, 2, 3, 4
        ), locked AS (
            SELECT
                kept.organization_id, kept.user_id, kept.day, kept.time_zone, change.seconds
            FROM daily_usage AS kept
            JOIN change USING (organization_id, user_id, day, time_zone)
            ORDER BY kept.organization_id, kept.day, kept.user_id, kept.time_zone
            FOR UPDATE OF kept
        )
        UPDATE daily_usage AS kept
        SET seconds_used = kept.seconds_used - locked.seconds
        FROM locked
        WHERE (kept.organization_id, kept.day, kept.user_id, kept.time_zone)
            = (locked.organization_id, locked.day, locked.user_id, locked.time_zone)
    $query$;
    RETURN NULL;
END
$$;

CREATE FUNCTION clear_daily_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM daily_usage;
    RETURN NULL;
END
$$;

CREATE TRIGGER usage_5_daily_removed_by_update AFTER UPDATE ON usage_tracking
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION remove_daily_usage();
CREATE TRIGGER usage_5_daily_removed_by_delete AFTER DELETE ON usage_tracking
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION remove_daily_usage();
CREATE TRIGGER usage_6_daily_added_by_update AFTER UPDATE ON usage_tracking
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_daily_usage();
CREATE TRIGGER usage_6_daily_added_by_insert AFTER INSERT ON usage_tracking
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_daily_usage();
CREATE TRIGGER usage_daily_cleared AFTER TRUNCATE ON usage_tracking
    FOR EACH STATEMENT EXECUTE FUNCTION clear_daily_usage();

-- Makes an account's days anew from its rows, as an audit would. Hold its writers back meanwhile.
CREATE FUNCTION rebuild_daily_usage(organization text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM daily_usage WHERE organization_id = organization;
    INSERT INTO daily_usage (organization_id, user_id, day, time_zone, seconds_used)
    SELECT
        tracked.organization_id,
        tracked.user_id,
        (tracked.minute_timestamp AT TIME ZONE coalesce(force.time_zone, 'UTC'))::date AS day,
        coalesce(force.time_zone, 'UTC') AS zone,
        sum(tracked.seconds_recorded)
    FROM usage_tracking AS tracked
    LEFT JOIN cycles_in_force AS force
        ON force.organization_id = tracked.organization_id
        AND force.since <= tracked.minute_timestamp
        AND tracked.minute_timestamp < force.until
    WHERE tracked.organization_id = organization
    GROUP BY tracked.organization_id, tracked.user_id, day, zone;
END
$$;

-- What was recorded before this migration. Minutes written meanwhile wait for it.
LOCK TABLE usage_tracking IN SHARE ROW EXCLUSIVE MODE;
SELECT rebuild_daily_usage(organization_id)
FROM (SELECT DISTINCT organization_id FROM monthly_usage_cache) AS recorded;

-- Seconds that the rows have of an account in one of its periods (see account_period): in all, and of
-- one member. Reads a row a member, or where the period's figures aren't kept, a row a member and day.
CREATE FUNCTION period_seconds(
    organization text, member text, starts timestamptz, ends timestamptz, zone text,
    OUT organization_seconds bigint, OUT member_seconds bigint
)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF starts = date_trunc('month', starts, 'UTC')
        AND ends = (date_trunc('month', starts AT TIME ZONE 'UTC') + interval '1 month')
            AT TIME ZONE 'UTC'
    THEN
        SELECT
            coalesce(sum(seconds_used), 0),
            coalesce(sum(seconds_used) FILTER (WHERE user_id = member), 0)
        INTO organization_seconds, member_seconds
        FROM monthly_usage_cache
        WHERE
            organization_id = organization AND month = (starts AT TIME ZONE 'UTC')::date;
    ELSIF EXISTS (
        SELECT FROM billing_periods
        WHERE
            organization_id = organization AND period_start = starts AND period_end = ends
    ) THEN
        SELECT
            coalesce(sum(seconds_used), 0),
            coalesce(sum(seconds_used) FILTER (WHERE user_id = member), 0)
        INTO organization_seconds, member_seconds
        FROM period_usage
        WHERE organization_id = organization AND period_start = starts;
    ELSE
        SELECT
            coalesce(sum(seconds_used), 0),
            coalesce(sum(seconds_used) FILTER (WHERE user_id = member), 0)
        INTO organization_seconds, member_seconds
        FROM daily_usage
        WHERE
            organization_id = organization
            AND time_zone = zone
            AND day >= (starts AT TIME ZONE zone)::date
            AND day < (ends AT TIME ZONE zone)::date;
    END IF;
END
$$;
