-- When accounts' billing periods turn, and what was used in periods that are no UTC months.

-- The cycles that were set for accounts whose periods are, or once were, other than calendar months
-- in UTC; an account without a row has those. One that was set comes into force at the end of the
-- period that holds the moment, so periods that ended and the present one stay as they are.
CREATE TABLE billing_cycles (
    organization_id text NOT NULL,
    -- The epoch: from the beginning.
    set_at timestamptz NOT NULL
        CONSTRAINT billing_cycles_set_at CHECK (set_at >= '1970-01-01 00:00:00+00'),
    time_zone text NOT NULL,
    anchor_day smallint NOT NULL
        CONSTRAINT billing_cycles_anchor_day CHECK (anchor_day BETWEEN 1 AND 31),
    PRIMARY KEY (organization_id, set_at)
);

-- The cycle that is set for an account now: its periods turn each month in this zone at the start of
-- this day, or of the last one in shorter months. Always one row.
CREATE FUNCTION account_cycle(
    organization text, OUT time_zone text, OUT anchor_day smallint
)
LANGUAGE sql STABLE AS $$
    SELECT
        given.zone,
        coalesce(
            (
                SELECT extract(day FROM subscription.started_at AT TIME ZONE given.zone)
                FROM user_subscriptions AS subscription
                WHERE
                    subscription.organization_id = organization
                    AND subscription.ended_at IS NULL
                    AND subscription.billing_cycle = 'anniversary'
            ),
            1
        )::smallint
    FROM (
        SELECT coalesce(
            (SELECT own.time_zone FROM organizations AS own WHERE own.id = organization), 'UTC'
        )
    ) AS given (zone)
$$;

-- Notes the cycles of organizations where they changed. One that has recorded nothing has no past
-- that must stay as it is: its cycle holds from the beginning.
CREATE FUNCTION note_billing_cycles(organizations text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    WITH present AS (
        SELECT
            changed.organization_id,
            cycle.time_zone,
            cycle.anchor_day,
            newest.set_at AS newest_set_at,
            EXISTS (
                SELECT FROM interview_sessions AS session
                WHERE session.organization_id = changed.organization_id
            ) AS has_recorded
        FROM (SELECT DISTINCT unnest(organizations)) AS changed (organization_id)
        CROSS JOIN LATERAL account_cycle(changed.organization_id) AS cycle
        LEFT JOIN LATERAL (
            SELECT noted.set_at, noted.time_zone, noted.anchor_day
            FROM billing_cycles AS noted
            WHERE noted.organization_id = changed.organization_id
            ORDER BY noted.set_at DESC
            LIMIT 1
        ) AS newest ON true
        WHERE
            changed.organization_id IS NOT NULL
            AND (cycle.time_zone, cycle.anchor_day) IS DISTINCT FROM (
                coalesce(newest.time_zone, 'UTC'), coalesce(newest.anchor_day, 1)
            )
    ), forgotten AS (
        DELETE FROM billing_cycles AS noted
        USING present
        WHERE
            noted.organization_id = present.organization_id
            AND NOT present.has_recorded
            AND noted.set_at > to_timestamp(0)
    )
    INSERT INTO billing_cycles AS noted (organization_id, set_at, time_zone, anchor_day)
    SELECT
        organization_id,
        CASE WHEN has_recorded
            THEN greatest(clock_timestamp(), newest_set_at + interval '1 microsecond')
            ELSE to_timestamp(0)
        END,
        time_zone,
        anchor_day
    FROM present
    ON CONFLICT (organization_id, set_at) DO UPDATE
    SET time_zone = excluded.time_zone, anchor_day = excluded.anchor_day;
END
$$;

-- The argument names the column that holds the organization.
CREATE FUNCTION note_cycle_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_billing_cycles(
        ARRAY[to_jsonb(old) ->> tg_argv[0], to_jsonb(new) ->> tg_argv[0]]
    );
    RETURN NULL;
END
$$;

CREATE FUNCTION note_all_cycle_changes() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_billing_cycles(ARRAY(SELECT DISTINCT organization_id FROM billing_cycles));
    RETURN NULL;
END
$$;

-- By their names these fire after those that bump the version of the organization's limits and there
-- wait for each other: so of two changes at once the later one sees the other's.
CREATE TRIGGER turns_added AFTER INSERT ON organizations
    FOR EACH ROW WHEN (new.time_zone <> 'UTC')
    EXECUTE FUNCTION note_cycle_change('id');
CREATE TRIGGER turns_changed AFTER UPDATE OF id, time_zone ON organizations
    FOR EACH ROW WHEN ((old.id, old.time_zone) IS DISTINCT FROM (new.id, new.time_zone))
    EXECUTE FUNCTION note_cycle_change('id');
CREATE TRIGGER turns_removed AFTER DELETE ON organizations
    FOR EACH ROW WHEN (old.time_zone <> 'UTC')
    EXECUTE FUNCTION note_cycle_change('id');
CREATE TRIGGER turns_cleared AFTER TRUNCATE ON organizations
    FOR EACH STATEMENT EXECUTE FUNCTION note_all_cycle_changes();

CREATE TRIGGER turns_added AFTER INSERT ON user_subscriptions
    FOR EACH ROW WHEN (new.billing_cycle = 'anniversary')
    EXECUTE FUNCTION note_cycle_change('organization_id');
CREATE TRIGGER turns_changed AFTER UPDATE ON user_subscriptions
    FOR EACH ROW
    WHEN (
        (old.organization_id, old.billing_cycle, old.started_at, old.ended_at)
        IS DISTINCT FROM (new.organization_id, new.billing_cycle, new.started_at, new.ended_at)
    )
    EXECUTE FUNCTION note_cycle_change('organization_id');
CREATE TRIGGER turns_removed AFTER DELETE ON user_subscriptions
    FOR EACH ROW WHEN (old.billing_cycle = 'anniversary')
    EXECUTE FUNCTION note_cycle_change('organization_id');
CREATE TRIGGER turns_cleared AFTER TRUNCATE ON user_subscriptions
    FOR EACH STATEMENT EXECUTE FUNCTION note_all_cycle_changes();

-- What was used in them ---------------------------------------------------------------------------

-- Periods of the accounts that have a row in billing_cycles: from the time they had one, and made
-- some ahead.
CREATE TABLE billing_periods (
    organization_id text NOT NULL,
    period_start timestamptz NOT NULL,
    -- Exclusive.
    period_end timestamptz NOT NULL,
    PRIMARY KEY (organization_id, period_start),
    -- So no row of usage_tracking is in two of them.
    CONSTRAINT billing_periods_whole_minutes CHECK (
        date_bin('1 minute', period_start, '2000-01-01 00:00:00+00') = period_start
        AND date_bin('1 minute', period_end, '2000-01-01 00:00:00+00') = period_end
    ),
    CONSTRAINT billing_periods_length CHECK (period_start < period_end)
);

-- As monthly_usage_cache, which is there for every account, for the periods of billing_periods.
CREATE TABLE period_usage (
    organization_id text NOT NULL,
    user_id text NOT NULL,
    period_start timestamptz NOT NULL,
    seconds_used bigint NOT NULL
        CONSTRAINT period_usage_seconds CHECK (seconds_used >= 0),
    minutes_used bigint NOT NULL GENERATED ALWAYS AS ((seconds_used + 59) / 60) STORED,
    PRIMARY KEY (organization_id, period_start, user_id),
    FOREIGN KEY (organization_id, period_start) REFERENCES billing_periods ON DELETE CASCADE
)
WITH (fillfactor = 70);

-- Who makes periods holds this lock alone, and every transaction that changed usage_tracking shares
-- it: so a new period's figures have each of its rows once, and those of no transaction twice.
CREATE FUNCTION add_period_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('billing_periods'));
    -- Nearly always there is nothing to do, which is to cost next to nothing.
    IF NOT EXISTS (SELECT FROM billing_periods) OR NOT EXISTS (SELECT FROM added) THEN
        RETURN NULL;
    END IF;
    -- Planned each time, as a plan is only good for about as many rows as it was made for.
    EXECUTE $query$
        INSERT INTO period_usage AS kept (organization_id, user_id, period_start, seconds_used)
        SELECT
            added.organization_id, added.user_id, period.period_start, sum(added.seconds_recorded)
        FROM added
        JOIN billing_periods AS period
            ON period.organization_id = added.organization_id
            AND period.period_start <= added.minute_timestamp
            AND added.minute_timestamp < period.period_end
        GROUP BY added.organization_id, period.period_start, added.user_id
        ORDER BY added.organization_id, period.period_start, added.user_id
        ON CONFLICT (organization_id, period_start, user_id) DO UPDATE
        SET seconds_used = kept.seconds_used + excluded.seconds_used
    $query$;
    RETURN NULL;
END
$$;

CREATE FUNCTION remove_period_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('billing_periods'));
    IF NOT EXISTS (SELECT FROM billing_periods) OR NOT EXISTS (SELECT FROM removed) THEN
        RETURN NULL;
    END IF;
    EXECUTE $query$
        WITH change AS (
            SELECT
                removed.organization_id,
                removed.user_id,
                period.period_start,
                sum(removed.seconds_recorded) AS seconds
            FROM removed
            JOIN billing_periods AS period
                ON period.organization_id = removed.organization_id
                AND period.period_start <= removed.minute_timestamp
                AND removed.minute_timestamp < period.period_end
            GROUP BY removed.organization_id, removed.user_id, period.period_start
        ), locked AS (
            SELECT kept.organization_id, kept.user_id, kept.period_start, change.seconds
            FROM period_usage AS kept
            JOIN change USING (organization_id, user_id, period_start)
            ORDER BY kept.organization_id, kept.period_start, kept.user_id
            FOR UPDATE OF kept
        )
        UPDATE period_usage AS kept
        SET seconds_used = kept.seconds_used - locked.seconds
        FROM locked
        WHERE (kept.organization_id, kept.period_start, kept.user_id)
            = (locked.organization_id, locked.period_start, locked.user_id)
    $query$;
    RETURN NULL;
END
$$;

CREATE FUNCTION clear_period_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('billing_periods'));
    DELETE FROM period_usage;
    RETURN NULL;
END
$$;

CREATE TRIGGER usage_3_period_removed_by_update AFTER UPDATE ON usage_tracking
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION remove_period_usage();
CREATE TRIGGER usage_3_period_removed_by_delete AFTER DELETE ON usage_tracking
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION remove_period_usage();
CREATE TRIGGER usage_4_period_added_by_update AFTER UPDATE ON usage_tracking
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_period_usage();
CREATE TRIGGER usage_4_period_added_by_insert AFTER INSERT ON usage_tracking
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_period_usage();
CREATE TRIGGER usage_period_cleared AFTER TRUNCATE ON usage_tracking
    FOR EACH STATEMENT EXECUTE FUNCTION clear_period_usage();

-- Organizations may have had a zone, or a subscription by its anniversary, before this migration.
SELECT note_billing_cycles(ARRAY(
    SELECT id FROM organizations WHERE time_zone <> 'UTC'
    UNION
    SELECT organization_id FROM user_subscriptions
    WHERE billing_cycle = 'anniversary' AND ended_at IS NULL
));
