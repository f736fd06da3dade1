-- The rules of billing periods in SQL, for functions and views that need an account's period: the
-- same ones as in the programs (meter/periods.py, meter/cycles.py), to which tests hold them.

-- How far a zone's clocks are ahead of UTC's at some moment.
CREATE FUNCTION offset_at(moment timestamptz, zone text) RETURNS interval
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (moment AT TIME ZONE zone) - (moment AT TIME ZONE 'UTC')
$$;

-- The first moment at which it is `day`, or a later one, in a time zone. That is midnight; the first
-- of the two where clocks are set back over it, and the moment they are set forward where that skips
-- it, or skips the whole day.
CREATE FUNCTION start_of_day(day date, zone text) RETURNS timestamptz
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
    midnight timestamp := day;
    given timestamptz := midnight AT TIME ZONE zone;
    -- Midnight as read by the offsets that hold the day before, and the day after.
    by_old timestamptz;
    by_new timestamptz;
    low bigint;
    high bigint;
    middle bigint;
BEGIN
    by_old := (midnight - offset_at(given - interval '1 day', zone)) AT TIME ZONE 'UTC';
    by_new := (midnight - offset_at(given + interval '1 day', zone)) AT TIME ZONE 'UTC';
    IF by_old <= by_new THEN
        RETURN CASE WHEN by_old AT TIME ZONE zone = midnight THEN by_old ELSE given END;
    END IF;
    IF by_new AT TIME ZONE zone = midnight THEN
        RETURN by_new;
    END IF;
    -- Skipped: the clock changes somewhere between the two.
    low := extract(epoch FROM by_new);
    high := extract(epoch FROM by_old);
    WHILE low < high LOOP
        middle := (low + high) / 2;
        IF to_timestamp(middle) AT TIME ZONE zone < midnight THEN
            low := middle + 1;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN to_timestamp(low);
END
$$;

-- When a cycle turns in the month that holds `day`: at the start of its anchor day, or of the month's
-- last day where that comes first.
CREATE FUNCTION cycle_turn(zone text, anchor_day integer, day date) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT start_of_day(
        least(
            date_trunc('month', day::timestamp)::date + anchor_day - 1,
            (date_trunc('month', day::timestamp) + interval '1 month')::date - 1
        ),
        zone
    )
$$;

-- The cycle's period that holds a moment.
CREATE FUNCTION cycle_period(
    zone text, anchor_day integer, moment timestamptz,
    OUT period_start timestamptz, OUT period_end timestamptz
)
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    month timestamp;
BEGIN
    IF zone = 'UTC' AND anchor_day = 1 THEN
        period_start := date_trunc('month', moment, 'UTC');
        period_end := ((period_start AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
        RETURN;
    END IF;
    month := date_trunc('month', moment AT TIME ZONE zone);
    period_start := cycle_turn(zone, anchor_day, month::date);
    period_end := cycle_turn(zone, anchor_day, (month + interval '1 month')::date);
    IF moment < period_start THEN
        period_end := period_start;
        period_start := cycle_turn(zone, anchor_day, (month - interval '1 month')::date);
    ELSIF moment >= period_end THEN
        period_start := period_end;
        period_end := cycle_turn(zone, anchor_day, (month + interval '2 months')::date);
    END IF;
END
$$;

-- The same of a cycle that came into force at `since` (-infinity: always held). What lies between
-- that and its first turn is a period of its own, unless it is shorter than two days.
CREATE FUNCTION period_under(
    since timestamptz, zone text, anchor_day integer, moment timestamptz,
    OUT period_start timestamptz, OUT period_end timestamptz
)
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    first_end timestamptz;
BEGIN
    IF isfinite(since) THEN
        first_end := (SELECT p.period_end FROM cycle_period(zone, anchor_day, since) AS p);
        IF first_end - since < interval '48 hours' THEN
            first_end := (SELECT p.period_end FROM cycle_period(zone, anchor_day, first_end) AS p);
        END IF;
        IF moment < first_end THEN
            period_start := since;
            period_end := first_end;
            RETURN;
        END IF;
    END IF;
    SELECT p.period_start, p.period_end INTO period_start, period_end
    FROM cycle_period(zone, anchor_day, moment) AS p;
END
$$;

-- The cycles that came or will come into force, out of those that were set: kept by a trigger on
-- billing_cycles. No row for an account that always had calendar months in UTC.
CREATE TABLE cycles_in_force (
    organization_id text NOT NULL,
    -- -infinity: from the beginning.
    since timestamptz NOT NULL,
    -- Exclusive; infinity: until another one is set.
    until timestamptz NOT NULL,
    time_zone text NOT NULL,
    anchor_day smallint NOT NULL
        CONSTRAINT cycles_in_force_anchor_day CHECK (anchor_day BETWEEN 1 AND 31),
    PRIMARY KEY (organization_id, since),
    CONSTRAINT cycles_in_force_span CHECK (since < until)
);

CREATE FUNCTION renew_cycles_in_force(organization text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    change record;
    -- The cycles as they come into force, one after the other.
    since timestamptz[] := '{-infinity}';
    zones text[] := '{UTC}';
    anchors smallint[] := '{1}';
    last integer := 1;
    -- Whether the last of them is one whose turn may still be taken by another.
    waiting boolean := false;
    held integer;
    turn timestamptz;
BEGIN
    DELETE FROM cycles_in_force WHERE organization_id = organization;
    FOR change IN
        SELECT to_timestamp(floor(extract(epoch FROM set_at))) AS set_at, time_zone, anchor_day
        FROM billing_cycles
        WHERE organization_id = organization
        ORDER BY billing_cycles.set_at
    LOOP
        IF change.set_at <= to_timestamp(0) THEN
            zones[1] := change.time_zone;
            anchors[1] := change.anchor_day;
            CONTINUE;
        END IF;
        held := CASE WHEN waiting AND change.set_at < since[last] THEN last - 1 ELSE last END;
        turn := (
            SELECT period_end
            FROM period_under(since[held], zones[held], anchors[held], change.set_at)
        );
        last := held + 1;
        since[last] := turn;
        zones[last] := change.time_zone;
        anchors[last] := change.anchor_day;
        waiting := true;
    END LOOP;
    IF last = 1 AND (zones[1], anchors[1]) = ('UTC', 1::smallint) THEN
        RETURN;
    END IF;
    INSERT INTO cycles_in_force (organization_id, since, until, time_zone, anchor_day)
    SELECT
        organization,
        changed.since,
        coalesce(lead(changed.since) OVER (ORDER BY changed.position), 'infinity'),
        changed.zone,
        changed.anchor
    FROM (
        SELECT
            given.*,
            lag(given.zone) OVER met AS zone_before,
            lag(given.anchor) OVER met AS anchor_before
        FROM unnest(since[:last], zones[:last], anchors[:last]) WITH ORDINALITY
            AS given (since, zone, anchor, position)
        WINDOW met AS (ORDER BY given.position)
    ) AS changed
    -- Set back to what it was before its turn came: nothing changed.
    WHERE
        changed.position = 1
        OR (changed.zone, changed.anchor) <> (changed.zone_before, changed.anchor_before);
END
$$;

CREATE FUNCTION keep_cycles_in_force() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF tg_op <> 'INSERT' THEN
        PERFORM renew_cycles_in_force(old.organization_id);
    END IF;
    IF tg_op <> 'DELETE' THEN
        PERFORM renew_cycles_in_force(new.organization_id);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION clear_cycles_in_force() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM cycles_in_force;
    RETURN NULL;
END
$$;

CREATE TRIGGER cycles_changed AFTER INSERT OR UPDATE OR DELETE ON billing_cycles
    FOR EACH ROW EXECUTE FUNCTION keep_cycles_in_force();
CREATE TRIGGER cycles_cleared AFTER TRUNCATE ON billing_cycles
    FOR EACH STATEMENT EXECUTE FUNCTION clear_cycles_in_force();

SELECT renew_cycles_in_force(organization_id)
FROM (SELECT DISTINCT organization_id FROM billing_cycles) AS noted;

-- An account's period that holds a moment, and the zone by which it turns. Always one row.
CREATE FUNCTION account_period(
    organization text, moment timestamptz DEFAULT now(),
    OUT period_start timestamptz, OUT period_end timestamptz, OUT time_zone text
)
LANGUAGE sql STABLE AS $$
    SELECT held.period_start, held.period_end, coalesce(force.time_zone, 'UTC')
    FROM (SELECT) AS one
    LEFT JOIN cycles_in_force AS force
        ON force.organization_id = organization
        AND force.since <= moment
        AND moment < force.until
    CROSS JOIN LATERAL period_under(
        coalesce(force.since, '-infinity'),
        coalesce(force.time_zone, 'UTC'),
        coalesce(force.anchor_day, 1),
        moment
    ) AS held
$$;

-- The day, week (from Monday), month, year or lifetime of an account that holds a moment, in its time
-- zone. A month is the account's billing period, so that all that is monthly starts anew at once.
CREATE FUNCTION usage_period(
    organization text, period text, moment timestamptz DEFAULT now(),
    OUT period_start timestamptz, OUT period_end timestamptz
)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    zone text;
    step interval;
    first timestamp;
BEGIN
    IF period = 'lifetime' THEN
        period_start := '-infinity';
        period_end := 'infinity';
        RETURN;
    END IF;
    SELECT p.period_start, p.period_end, p.time_zone INTO period_start, period_end, zone
    FROM account_period(organization, moment) AS p;
    IF period = 'month' THEN
        RETURN;
    END IF;
    step := ('1 ' || period)::interval;
    first := date_trunc(period, moment AT TIME ZONE zone);
    period_start := start_of_day(first::date, zone);
    period_end := start_of_day((first + step)::date, zone);
    -- Where a clock that is set back shows the day before once more.
    IF moment >= period_end THEN
        period_start := period_end;
        period_end := start_of_day((first + 2 * step)::date, zone);
    END IF;
END
$$;
