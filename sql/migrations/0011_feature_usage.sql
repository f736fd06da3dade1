-- What plans allow besides minutes, and what was used of it: events, and counts kept from them.

ALTER TABLE usage_types
    -- 1 means that one has it: using it uses nothing up.
    ADD COLUMN is_access boolean NOT NULL DEFAULT false;

UPDATE usage_types SET is_access = true WHERE name = 'advanced_analytics';

-- One row a use. Accounts and users are external ids, as in usage_tracking.
CREATE TABLE feature_events (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    organization_id text NOT NULL,
    user_id text NOT NULL,
    usage_type text NOT NULL REFERENCES usage_types ON UPDATE CASCADE
        -- Minutes are counted in one place.
        CONSTRAINT feature_events_no_minutes CHECK (usage_type <> 'minutes_per_month'),
    amount bigint NOT NULL
        CONSTRAINT feature_events_amount CHECK (amount BETWEEN 1 AND 1000000000),
    used_at timestamptz NOT NULL DEFAULT now()
        CONSTRAINT feature_events_moment CHECK (isfinite(used_at)),
    -- These are set by a trigger, to what they were when it was used: the type's period, the day in the
    -- account's time zone, and the plan.
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    day date NOT NULL,
    plan_id text REFERENCES plans ON UPDATE CASCADE ON DELETE SET NULL,
    CONSTRAINT feature_events_period CHECK (period_start < period_end)
);

CREATE INDEX feature_events_user ON feature_events (user_id, day);
CREATE INDEX feature_events_organization ON feature_events (organization_id, used_at);
CREATE INDEX feature_events_usage_type ON feature_events (usage_type, day);
CREATE INDEX feature_events_plan ON feature_events (plan_id);

CREATE FUNCTION stamp_feature_event() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    SELECT held.period_start, held.period_end INTO new.period_start, new.period_end
    FROM usage_types AS type
    CROSS JOIN LATERAL usage_period(new.organization_id, type.period, new.used_at) AS held
    WHERE type.name = new.usage_type;
    new.day := (new.used_at AT TIME ZONE zone_at(new.organization_id, new.used_at))::date;
    new.plan_id := plan_at(new.organization_id, new.used_at);
    RETURN new;
END
$$;

-- The plan that an account had at some moment; null: none.
CREATE FUNCTION plan_at(organization text, moment timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT plan_id
    FROM user_subscriptions
    WHERE
        organization_id = organization
        AND started_at <= moment
        AND (ended_at IS NULL OR moment < ended_at)
    ORDER BY started_at DESC, id DESC
    LIMIT 1
$$;

CREATE TRIGGER event_stamped BEFORE INSERT ON feature_events
    FOR EACH ROW EXECUTE FUNCTION stamp_feature_event();

-- What was used in each period of its type: kept by triggers on feature_events.
CREATE TABLE feature_usage (
    organization_id text NOT NULL,
    usage_type text NOT NULL REFERENCES usage_types ON UPDATE CASCADE,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    user_id text NOT NULL,
    amount bigint NOT NULL CONSTRAINT feature_usage_amount CHECK (amount >= 0),
    -- The periods that aren't over stand at the end.
    PRIMARY KEY (organization_id, usage_type, period_end, period_start, user_id)
)
WITH (fillfactor = 70);

CREATE INDEX feature_usage_user ON feature_usage (user_id, usage_type, period_start);
CREATE INDEX feature_usage_type ON feature_usage (usage_type);

CREATE FUNCTION add_feature_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feature_usage AS kept
        (organization_id, usage_type, period_start, period_end, user_id, amount)
    SELECT organization_id, usage_type, period_start, period_end, user_id, sum(amount)
    FROM added
    GROUP BY organization_id, usage_type, period_start, period_end, user_id
    ORDER BY organization_id, usage_type, period_end, period_start, user_id
    ON CONFLICT (organization_id, usage_type, period_end, period_start, user_id) DO UPDATE
    SET amount = kept.amount + excluded.amount;
    RETURN NULL;
END
$$;

CREATE FUNCTION remove_feature_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    WITH change AS (
        SELECT
            organization_id, usage_type, period_start, period_end, user_id,
            sum(amount) AS amount
        FROM removed
        GROUP BY organization_id, usage_type, period_start, period_end, user_id
    ), locked AS (
        SELECT change.*
        FROM feature_usage AS kept
        JOIN change USING (organization_id, usage_type, period_start, period_end, user_id)
        ORDER BY
            kept.organization_id, kept.usage_type, kept.period_end, kept.period_start,
            kept.user_id
        FOR UPDATE OF kept
    )
    UPDATE feature_usage AS kept
    SET amount = kept.amount - locked.amount
    FROM locked
    WHERE
        (kept.organization_id, kept.usage_type, kept.period_end, kept.period_start, kept.user_id)
        = (
            locked.organization_id, locked.usage_type, locked.period_end, locked.period_start,
            locked.user_id
        );
    RETURN NULL;
END
$$;

CREATE FUNCTION clear_feature_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM feature_usage;
    RETURN NULL;
END
$$;

CREATE TRIGGER events_1_removed_by_update AFTER UPDATE ON feature_events
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION remove_feature_usage();
CREATE TRIGGER events_1_removed_by_delete AFTER DELETE ON feature_events
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION remove_feature_usage();
CREATE TRIGGER events_2_added_by_update AFTER UPDATE ON feature_events
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_feature_usage();
CREATE TRIGGER events_2_added_by_insert AFTER INSERT ON feature_events
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_feature_usage();
CREATE TRIGGER events_cleared AFTER TRUNCATE ON feature_events
    FOR EACH STATEMENT EXECUTE FUNCTION clear_feature_usage();

-- Its uses are counted by the period that the type had.
CREATE FUNCTION refuse_new_period() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM feature_events WHERE usage_type = old.name) THEN
        RAISE EXCEPTION '% was used already: make another usage type', old.name
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN new;
END
$$;

CREATE TRIGGER type_stays BEFORE UPDATE OF period ON usage_types
    FOR EACH ROW WHEN (old.period <> new.period) EXECUTE FUNCTION refuse_new_period();

-- How much of a type an account used in its present period. Periods of it that overlap with the
-- present one count too: there are such only after a change of time zone.
CREATE FUNCTION feature_used(
    organization text, type text, starts timestamptz, ends timestamptz
) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(amount), 0)::bigint
    FROM feature_usage
    WHERE
        organization_id = organization
        AND usage_type = type
        AND period_end > starts
        AND period_start < ends
$$;

-- How an account stands with one usage type now: what is allowed (null: unlimited; 0 also where its
-- plan doesn't have it), used and left in the present period. No row for an unknown type. Minutes are
-- those of the limit that binds, as check_usage_limit(user, organization) gives them.
CREATE FUNCTION usage_standing(organization text, member text, type text)
RETURNS TABLE (
    usage_type text,
    unit text,
    period text,
    is_access boolean,
    period_start timestamptz,
    period_end timestamptz,
    limit_value bigint,
    used bigint,
    remaining bigint
)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    plan text;
    allotment record;
BEGIN
    SELECT t.name, t.unit, t.period, t.is_access INTO usage_type, unit, period, is_access
    FROM usage_types AS t
    WHERE t.name = type;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF type = 'minutes_per_month' THEN
        SELECT c.period_start, c.period_end, c.minutes_limit, c.minutes_used, c.minutes_remaining
        INTO period_start, period_end, limit_value, used, remaining
        FROM check_usage_limit(member, organization) AS c;
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT p.period_start, p.period_end INTO period_start, period_end
    FROM usage_period(organization, period) AS p;
    used := feature_used(organization, type, period_start, period_end);
    plan := account_plan(organization, member);
    -- Without any plan nothing is limited, as with minutes.
    IF plan IS NOT NULL THEN
        SELECT l.limit_value INTO allotment
        FROM plan_limits AS l
        WHERE l.plan_id = plan AND l.usage_type = type;
        limit_value := CASE WHEN FOUND THEN nullif(allotment.limit_value, -1) ELSE 0 END;
    END IF;
    remaining := CASE
        WHEN is_access OR limit_value IS NULL THEN limit_value
        ELSE greatest(limit_value - used, 0)
    END;
    RETURN NEXT;
END
$$;

-- Whether so much more of a type may be used now: minutes, or uses.
CREATE FUNCTION has_room(organization text, member text, type text, amount numeric) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF amount IS NULL OR amount < 0 THEN
        RETURN false;
    END IF;
    IF type = 'minutes_per_month' THEN
        RETURN (
            SELECT
                coalesce(
                    organization_used + ceil(amount * 60) <= organization_limit + room_past_limit,
                    true
                )
                AND coalesce(member_used + ceil(amount * 60) <= member_limit, true)
            FROM account_standing(organization, member)
        );
    END IF;
    RETURN coalesce(
        (
            SELECT
                CASE
                    WHEN s.is_access THEN s.limit_value IS NULL OR s.limit_value >= 1
                    ELSE s.limit_value IS NULL OR s.used + amount <= s.limit_value
                END
            FROM usage_standing(organization, member, type) AS s
        ),
        false
    );
END
$$;
