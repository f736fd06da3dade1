-- Figures kept from usage_tracking, by one trigger a statement. It moves each figure by what the whole
-- statement changed, in one write: by MERGE, as a row is nearly always there, and INSERT … ON CONFLICT
-- locks it first. Days get the moments of their first and last second.

-- Nearly all sessions that live have all of these rows changed each minute: half of each page is kept
-- free for that, so that no index has to change with them.
ALTER TABLE monthly_usage_cache SET (fillfactor = 45);
ALTER TABLE daily_usage SET (fillfactor = 45);
ALTER TABLE period_usage SET (fillfactor = 45);
ALTER TABLE interview_sessions SET (fillfactor = 45);
ALTER TABLE organization_members SET (fillfactor = 45);

-- When the first second of a minute's mask began, and when its last one ended. (Stable and not immutable,
-- as the sum of a time and an interval is: else they would be called, instead of being part of a query.)
CREATE FUNCTION first_second(minute timestamptz, mask bigint) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT minute + (60 - position(B'1' IN (mask & -mask)::bit(60))) * interval '1 second'
$$;

CREATE FUNCTION end_of_last_second(minute timestamptz, mask bigint) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT minute + (61 - position(B'1' IN mask::bit(60))) * interval '1 second'
$$;

ALTER TABLE daily_usage
    -- When the day's first counted second began, and its last one ended; null without any.
    ADD COLUMN first_second_at timestamptz,
    ADD COLUMN last_second_at timestamptz;

-- The same out of the rows: of one day of a member.
CREATE FUNCTION seconds_of_day(
    organization text, member text, of_day date, zone text,
    OUT first_second_at timestamptz, OUT last_second_at timestamptz
)
LANGUAGE sql STABLE AS $$
    SELECT
        min(first_second(tracked.minute_timestamp, tracked.seconds_mask)),
        max(end_of_last_second(tracked.minute_timestamp, tracked.seconds_mask))
    FROM usage_tracking AS tracked
    WHERE
        tracked.organization_id = organization
        AND tracked.user_id = member
        -- A day of any zone lies within these.
        AND tracked.minute_timestamp >= (of_day - 1)::timestamp AT TIME ZONE 'UTC'
        AND tracked.minute_timestamp < (of_day + 2)::timestamp AT TIME ZONE 'UTC'
        AND (tracked.minute_timestamp AT TIME ZONE zone)::date = of_day
        AND zone_at(tracked.organization_id, tracked.minute_timestamp) = zone
$$;

-- Writers of minutes wait for the rest, as the triggers change under them.
LOCK TABLE usage_tracking IN SHARE ROW EXCLUSIVE MODE;

DROP TRIGGER usage_1_removed_by_update ON usage_tracking;
DROP TRIGGER usage_1_removed_by_delete ON usage_tracking;
DROP TRIGGER usage_2_added_by_update ON usage_tracking;
DROP TRIGGER usage_2_added_by_insert ON usage_tracking;
DROP TRIGGER usage_3_period_removed_by_update ON usage_tracking;
DROP TRIGGER usage_3_period_removed_by_delete ON usage_tracking;
DROP TRIGGER usage_4_period_added_by_update ON usage_tracking;
DROP TRIGGER usage_4_period_added_by_insert ON usage_tracking;
DROP TRIGGER usage_5_daily_removed_by_update ON usage_tracking;
DROP TRIGGER usage_5_daily_removed_by_delete ON usage_tracking;
DROP TRIGGER usage_6_daily_added_by_update ON usage_tracking;
DROP TRIGGER usage_6_daily_added_by_insert ON usage_tracking;
DROP FUNCTION add_usage();
DROP FUNCTION remove_usage();
DROP FUNCTION add_period_usage();
DROP FUNCTION remove_period_usage();
DROP FUNCTION add_daily_usage();
DROP FUNCTION remove_daily_usage();

UPDATE daily_usage AS kept
SET first_second_at = moments.first_second_at, last_second_at = moments.last_second_at
FROM daily_usage AS day
CROSS JOIN LATERAL seconds_of_day(day.organization_id, day.user_id, day.day, day.time_zone)
    AS moments
WHERE
    (kept.organization_id, kept.day, kept.user_id, kept.time_zone)
        = (day.organization_id, day.day, day.user_id, day.time_zone)
    AND day.seconds_used > 0;

-- One function for each kind of statement, as each knows other transition tables; they differ only in
-- where the moved seconds come from. Added ones have the sign 1, removed ones -1: an update is both, at
-- once, so nothing falls below zero on the way. Rows are locked table by table in the order of their
-- keys, so that two writers wait instead of deadlocking. Where another one has just made a row that was
-- missing here, its commit was waited for, and the row is found the next time.
--
-- Joins by index alone, as plans are kept: those tables are looked into for few of their rows, however
-- many there are, and whatever the statistics said when a plan was made.
DO $make$
DECLARE
    kind record;
BEGIN
    FOR kind IN
        SELECT *
        FROM (
            VALUES
                ('insert', 'SELECT added.*, 1 AS sign FROM added', 'added'),
                (
                    'update',
                    'SELECT added.*, 1 AS sign FROM added'
                    ' UNION ALL SELECT removed.*, -1 FROM removed',
                    'added'
                ),
                ('delete', 'SELECT removed.*, -1 AS sign FROM removed', 'removed')
        ) AS kinds (name, moved, any_of)
    LOOP
        EXECUTE replace(replace(replace($template$
CREATE FUNCTION keep_usage_after_{kind}() RETURNS trigger
LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off
AS $function$
DECLARE
    has_zones boolean;
    tries integer := 5;
BEGIN
    IF NOT EXISTS (SELECT FROM {any_of}) THEN
        RETURN NULL;
    END IF;
    LOOP
        BEGIN
            MERGE INTO monthly_usage_cache AS kept
            USING (
                SELECT
                    moved.organization_id,
                    date_trunc('month', moved.minute_timestamp AT TIME ZONE 'UTC')::date AS month,
                    moved.user_id,
                    sum(moved.seconds_recorded * moved.sign) AS seconds
                FROM ({moved}) AS moved
                GROUP BY 1, 2, 3
                ORDER BY 1, 2, 3
            ) AS change
            ON kept.organization_id = change.organization_id
                AND kept.month = change.month
                AND kept.user_id = change.user_id
            WHEN MATCHED THEN UPDATE SET seconds_used = kept.seconds_used + change.seconds
            WHEN NOT MATCHED AND change.seconds > 0 THEN
                INSERT (organization_id, user_id, month, seconds_used)
                VALUES (change.organization_id, change.user_id, change.month, change.seconds);

            -- A session whose own row isn't there yet gets one, so that it cannot miss a second. Its
            -- account is written, too, for the trigger that refuses another one.
            MERGE INTO interview_sessions AS kept
            USING (
                SELECT
                    moved.session_id,
                    moved.organization_id,
                    moved.user_id,
                    min(moved.minute_timestamp) FILTER (WHERE moved.sign > 0) AS first_minute,
                    sum(moved.seconds_recorded * moved.sign) AS seconds
                FROM ({moved}) AS moved
                GROUP BY 1, 2, 3
                ORDER BY 1, 2, 3
            ) AS change
            ON kept.session_id = change.session_id
            WHEN MATCHED THEN UPDATE SET
                organization_id = change.organization_id,
                user_id = change.user_id,
                seconds_recorded = kept.seconds_recorded + change.seconds,
                started_at = CASE
                    WHEN kept.revision = 0 THEN least(kept.started_at, change.first_minute)
                    ELSE kept.started_at
                END
            WHEN NOT MATCHED AND change.seconds > 0 THEN
                INSERT (session_id, organization_id, user_id, started_at, seconds_recorded)
                VALUES (
                    change.session_id, change.organization_id, change.user_id,
                    change.first_minute, change.seconds
                );

            has_zones := EXISTS (SELECT FROM cycles_in_force);
            MERGE INTO daily_usage AS kept
            USING (
                SELECT
                    moved.organization_id,
                    (moved.minute_timestamp AT TIME ZONE moved.time_zone)::date AS day,
                    moved.user_id,
                    moved.time_zone,
                    sum(moved.seconds_recorded * moved.sign) AS seconds,
                    min(first_second(moved.minute_timestamp, moved.seconds_mask))
                        FILTER (WHERE moved.sign > 0) AS added_first,
                    max(end_of_last_second(moved.minute_timestamp, moved.seconds_mask))
                        FILTER (WHERE moved.sign > 0) AS added_last,
                    min(first_second(moved.minute_timestamp, moved.seconds_mask))
                        FILTER (WHERE moved.sign < 0) AS removed_first,
                    max(end_of_last_second(moved.minute_timestamp, moved.seconds_mask))
                        FILTER (WHERE moved.sign < 0) AS removed_last
                FROM (
                    SELECT
                        given.*,
                        CASE
                            WHEN has_zones THEN coalesce(
                                (
                                    SELECT force.time_zone
                                    FROM cycles_in_force AS force
                                    WHERE
                                        force.organization_id = given.organization_id
                                        AND force.since <= given.minute_timestamp
                                        AND given.minute_timestamp < force.until
                                ),
                                'UTC'
                            )
                            ELSE 'UTC'
                        END AS time_zone
                    FROM ({moved}) AS given
                ) AS moved
                GROUP BY 1, 2, 3, 4
                ORDER BY 1, 2, 3, 4
            ) AS change
            ON kept.organization_id = change.organization_id
                AND kept.day = change.day
                AND kept.user_id = change.user_id
                AND kept.time_zone = change.time_zone
            WHEN MATCHED THEN UPDATE SET
                seconds_used = kept.seconds_used + change.seconds,
                -- Only where what bounded the day is gone has it to be looked for in the rows.
                first_second_at = CASE
                    WHEN
                        change.removed_first <= kept.first_second_at
                        AND change.added_first <= change.removed_first IS NOT TRUE
                    THEN (
                        SELECT rows.first_second_at
                        FROM seconds_of_day(
                            kept.organization_id, kept.user_id, kept.day, kept.time_zone
                        ) AS rows
                    )
                    ELSE least(kept.first_second_at, change.added_first)
                END,
                last_second_at = CASE
                    WHEN
                        change.removed_last >= kept.last_second_at
                        AND change.added_last >= change.removed_last IS NOT TRUE
                    THEN (
                        SELECT rows.last_second_at
                        FROM seconds_of_day(
                            kept.organization_id, kept.user_id, kept.day, kept.time_zone
                        ) AS rows
                    )
                    ELSE greatest(kept.last_second_at, change.added_last)
                END
            WHEN NOT MATCHED AND change.seconds > 0 THEN
                INSERT (
                    organization_id, user_id, day, time_zone, seconds_used, first_second_at,
                    last_second_at
                )
                VALUES (
                    change.organization_id, change.user_id, change.day, change.time_zone,
                    change.seconds, change.added_first, change.added_last
                );

            -- Who makes periods holds this lock alone, and every transaction that changed
            -- usage_tracking shares it: so a new period's figures have each of its rows once, and
            -- those of no transaction twice.
            PERFORM pg_advisory_xact_lock_shared(hashtext('billing_periods'));
            IF EXISTS (SELECT FROM billing_periods) THEN
                MERGE INTO period_usage AS kept
                USING (
                    SELECT
                        moved.organization_id,
                        period.period_start,
                        moved.user_id,
                        sum(moved.seconds_recorded * moved.sign) AS seconds
                    FROM ({moved}) AS moved
                    JOIN billing_periods AS period
                        ON period.organization_id = moved.organization_id
                        AND period.period_start <= moved.minute_timestamp
                        AND moved.minute_timestamp < period.period_end
                    GROUP BY 1, 2, 3
                    ORDER BY 1, 2, 3
                ) AS change
                ON kept.organization_id = change.organization_id
                    AND kept.period_start = change.period_start
                    AND kept.user_id = change.user_id
                WHEN MATCHED THEN UPDATE SET seconds_used = kept.seconds_used + change.seconds
                WHEN NOT MATCHED AND change.seconds > 0 THEN
                    INSERT (organization_id, user_id, period_start, seconds_used)
                    VALUES (
                        change.organization_id, change.user_id, change.period_start, change.seconds
                    );
            END IF;
            RETURN NULL;
        EXCEPTION WHEN unique_violation THEN
            tries := tries - 1;
            IF tries = 0 THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END
$function$
        $template$, '{kind}', kind.name), '{moved}', kind.moved), '{any_of}', kind.any_of);
    END LOOP;
END
$make$;

-- An account is a session's for good.
CREATE TRIGGER minute_owner AFTER UPDATE ON usage_tracking
    FOR EACH ROW
    WHEN (old.organization_id <> new.organization_id OR old.user_id <> new.user_id)
    EXECUTE FUNCTION refuse_new_session_owner();

CREATE TRIGGER usage_kept_after_insert AFTER INSERT ON usage_tracking
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION keep_usage_after_insert();
CREATE TRIGGER usage_kept_after_update AFTER UPDATE ON usage_tracking
    REFERENCING NEW TABLE AS added OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION keep_usage_after_update();
CREATE TRIGGER usage_kept_after_delete AFTER DELETE ON usage_tracking
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION keep_usage_after_delete();

-- A session's row is updated each minute, and a trigger before that would lock it first, whatever its
-- condition says: both of these do as well after it.
DROP TRIGGER session_owner ON interview_sessions;
CREATE TRIGGER session_owner AFTER UPDATE ON interview_sessions
    FOR EACH ROW
    WHEN (old.organization_id <> new.organization_id OR old.user_id <> new.user_id)
    EXECUTE FUNCTION refuse_new_session_owner();

DROP TRIGGER session_user_late ON interview_sessions;
CREATE OR REPLACE FUNCTION link_session() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE interview_sessions AS session
    SET user_uuid = known.id
    FROM (
        SELECT users.id
        FROM users
        WHERE users.clerk_id = new.user_id
        FOR KEY SHARE SKIP LOCKED
    ) AS known
    WHERE session.session_id = new.session_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER session_user_late AFTER UPDATE ON interview_sessions
    FOR EACH ROW WHEN (new.user_uuid IS NULL AND new.revision > old.revision)
    EXECUTE FUNCTION link_session();

CREATE OR REPLACE FUNCTION rebuild_daily_usage(organization text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM daily_usage WHERE organization_id = organization;
    INSERT INTO daily_usage (
        organization_id, user_id, day, time_zone, seconds_used, first_second_at, last_second_at
    )
    SELECT
        tracked.organization_id,
        tracked.user_id,
        (tracked.minute_timestamp AT TIME ZONE coalesce(force.time_zone, 'UTC'))::date AS day,
        coalesce(force.time_zone, 'UTC') AS zone,
        sum(tracked.seconds_recorded),
        min(first_second(tracked.minute_timestamp, tracked.seconds_mask)),
        max(end_of_last_second(tracked.minute_timestamp, tracked.seconds_mask))
    FROM usage_tracking AS tracked
    LEFT JOIN cycles_in_force AS force
        ON force.organization_id = tracked.organization_id
        AND force.since <= tracked.minute_timestamp
        AND tracked.minute_timestamp < force.until
    WHERE tracked.organization_id = organization
    GROUP BY tracked.organization_id, tracked.user_id, day, zone;
END
$$;
