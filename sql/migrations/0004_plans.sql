-- Users, plans and subscriptions: what an account's limit and terms come from.

-- An external auth id, and the internal record it stands for. A user's personal account is the
-- organization whose id is the user's.
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    clerk_id text NOT NULL UNIQUE CHECK (clerk_id <> ''),
    email text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Whether periods of an account may be cut by this zone: an IANA name, as pg_timezone_names has it
-- (and not an abbreviation or a POSIX rule, which Postgres takes as well).
CREATE FUNCTION is_time_zone(name text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT name = 'UTC' OR EXISTS (SELECT FROM pg_timezone_names WHERE pg_timezone_names.name = $1)
$$;

-- Whether all of a list are within bounds and none is null.
CREATE FUNCTION are_between(given integer[], low integer, high integer) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(bool_and(coalesce(each BETWEEN low AND high, false)), true)
    FROM unnest(given) AS given (each)
$$;

CREATE TABLE plans (
    id text PRIMARY KEY CHECK (id <> ''),
    name text NOT NULL UNIQUE,
    price_cents integer NOT NULL DEFAULT 0 CHECK (price_cents >= 0),
    currency text NOT NULL DEFAULT 'usd' CHECK (currency ~ '^[a-z]{3}$'),
    -- The plan that new users get: at most one.
    is_default boolean NOT NULL DEFAULT false,
    -- A soft cap: seconds past the limit count as overage, up to the ceiling (null or -1: none).
    soft_cap boolean NOT NULL DEFAULT false,
    overage_ceiling_seconds bigint
        CHECK (overage_ceiling_seconds BETWEEN -1 AND 3600000000000),
    -- How long a recorder may stay connected after `stop`; null: as the gateway is set.
    grace_seconds integer CHECK (grace_seconds BETWEEN 0 AND 3600),
    -- Whether what is recorded in the grace counts, as overage.
    grace_is_overage boolean NOT NULL DEFAULT false,
    CONSTRAINT plans_grace_is_known CHECK (NOT grace_is_overage OR grace_seconds IS NOT NULL),
    -- Sessions of an account at once, and the longest of them; null or -1: unlimited.
    max_concurrent_sessions integer
        CHECK (max_concurrent_sessions = -1 OR max_concurrent_sessions BETWEEN 1 AND 1000000),
    max_session_seconds integer
        CHECK (max_session_seconds = -1 OR max_session_seconds BETWEEN 1 AND 86400),
    -- When accounts are warned: with so many minutes left, with so much of the limit used.
    warn_minutes_remaining integer[] NOT NULL DEFAULT '{10,5,1}'
        CHECK (
            cardinality(warn_minutes_remaining) <= 20
            AND are_between(warn_minutes_remaining, 1, 1000000)
        ),
    warn_percent_used integer[] NOT NULL DEFAULT '{70,90,100}'
        CHECK (
            cardinality(warn_percent_used) <= 20 AND are_between(warn_percent_used, 1, 1000)
        ),
    -- Seconds as they are billed, in the telecom notation: the first step, then each further one.
    billing_increment text NOT NULL DEFAULT '60/60'
        CHECK (
            CASE WHEN billing_increment ~ '^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$' THEN
                greatest(
                    split_part(billing_increment, '/', 1)::integer,
                    split_part(billing_increment, '/', 2)::integer
                ) <= 86400
            ELSE false END
        ),
    billing_rounding text NOT NULL DEFAULT 'period'
        CHECK (billing_rounding IN ('session', 'period')),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX plans_default ON plans (is_default) WHERE is_default;

-- What is counted; a new type is a row. `unit` is for people, `period` is when it starts anew.
CREATE TABLE usage_types (
    name text PRIMARY KEY CHECK (name <> ''),
    unit text NOT NULL DEFAULT '',
    period text NOT NULL DEFAULT 'month'
        CHECK (period IN ('day', 'week', 'month', 'year', 'lifetime'))
);

-- One row a plan and usage type. Null or -1: unlimited; a type without a row: none of it.
CREATE TABLE plan_limits (
    plan_id text NOT NULL REFERENCES plans ON UPDATE CASCADE ON DELETE CASCADE,
    usage_type text NOT NULL REFERENCES usage_types ON UPDATE CASCADE ON DELETE CASCADE,
    limit_value bigint CHECK (limit_value BETWEEN -1 AND 60000000000),
    PRIMARY KEY (plan_id, usage_type)
);

CREATE INDEX plan_limits_usage_type ON plan_limits (usage_type);

ALTER TABLE organizations
    -- What its billing periods are cut by.
    ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC'
        CONSTRAINT organizations_time_zone CHECK (is_time_zone(time_zone));

-- An account's plan. Ended ones stay, as history.
CREATE TABLE user_subscriptions (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    organization_id text NOT NULL
        REFERENCES organizations ON UPDATE CASCADE ON DELETE CASCADE,
    -- The user whose personal account it is; null: an organization's.
    user_uuid uuid REFERENCES users ON DELETE CASCADE,
    plan_id text NOT NULL REFERENCES plans ON UPDATE CASCADE,
    status text NOT NULL DEFAULT 'active'
        CHECK (status IN ('trialing', 'active', 'past_due', 'canceled', 'expired')),
    -- Calendar months, or months from the day on which it started (in the account's time zone).
    billing_cycle text NOT NULL DEFAULT 'calendar'
        CHECK (billing_cycle IN ('calendar', 'anniversary')),
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT user_subscriptions_end
        CHECK ((ended_at IS NOT NULL) = (status IN ('canceled', 'expired')))
);

-- The one that holds.
CREATE UNIQUE INDEX user_subscriptions_present ON user_subscriptions (organization_id)
    WHERE ended_at IS NULL;
CREATE INDEX user_subscriptions_organization ON user_subscriptions (organization_id, started_at);
CREATE INDEX user_subscriptions_user ON user_subscriptions (user_uuid);
CREATE INDEX user_subscriptions_plan ON user_subscriptions (plan_id) WHERE ended_at IS NULL;

INSERT INTO usage_types (name, unit, period) VALUES
    ('minutes_per_month', 'minutes', 'month'),
    ('interviews_per_day', 'interviews', 'day'),
    ('detailed_analysis_per_month', 'analyses', 'month'),
    ('video_review_per_month', 'reviews', 'month'),
    ('advanced_analytics', 'access', 'lifetime');

INSERT INTO plans (id, name, price_cents, is_default) VALUES
    ('starter', 'Starter', 3000, true),
    ('professional', 'Professional', 5000, false),
    ('premium', 'Premium', 9900, false);

INSERT INTO plan_limits (plan_id, usage_type, limit_value) VALUES
    ('starter', 'minutes_per_month', 300),
    ('starter', 'interviews_per_day', 3),
    ('starter', 'detailed_analysis_per_month', 5),
    ('professional', 'minutes_per_month', 800),
    ('professional', 'interviews_per_day', 10),
    ('professional', 'detailed_analysis_per_month', 25),
    ('professional', 'video_review_per_month', 10),
    ('premium', 'minutes_per_month', 2500),
    ('premium', 'interviews_per_day', -1),
    ('premium', 'detailed_analysis_per_month', -1),
    ('premium', 'video_review_per_month', -1),
    ('premium', 'advanced_analytics', 1);

-- New users ---------------------------------------------------------------------------------------

-- Gives a user's personal account the default plan, unless it has one; its subscription's id, or
-- null when there is no default plan.
CREATE FUNCTION create_default_subscription(clerk_id text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    subscription bigint;
BEGIN
    INSERT INTO organizations (id) VALUES (create_default_subscription.clerk_id)
    ON CONFLICT (id) DO NOTHING;
    INSERT INTO user_subscriptions (organization_id, user_uuid, plan_id)
    SELECT users.clerk_id, users.id, plans.id
    FROM users, plans
    WHERE users.clerk_id = create_default_subscription.clerk_id AND plans.is_default
    ON CONFLICT (organization_id) WHERE ended_at IS NULL DO NOTHING;
    SELECT id INTO subscription
    FROM user_subscriptions
    WHERE organization_id = create_default_subscription.clerk_id AND ended_at IS NULL;
    RETURN subscription;
END
$$;

-- The internal record of an external auth id, made where it is missing.
CREATE FUNCTION ensure_user_exists(clerk_id text, email text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    found uuid;
BEGIN
    INSERT INTO users AS kept (clerk_id, email)
    VALUES (ensure_user_exists.clerk_id, ensure_user_exists.email)
    ON CONFLICT ON CONSTRAINT users_clerk_id_key DO UPDATE SET email = excluded.email
    WHERE excluded.email IS NOT NULL AND kept.email IS DISTINCT FROM excluded.email;
    SELECT users.id INTO found FROM users WHERE users.clerk_id = ensure_user_exists.clerk_id;
    RETURN found;
END
$$;

CREATE FUNCTION subscribe_new_user() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_default_subscription(new.clerk_id);
    RETURN NULL;
END
$$;

CREATE TRIGGER new_user AFTER INSERT ON users
    FOR EACH ROW EXECUTE FUNCTION subscribe_new_user();

-- Changes that the ledger is told of --------------------------------------------------------------

-- An organization's own limit now holds before its plan's, so null (the plan's) and -1 (unlimited)
-- differ; and its zone is part of what is told.
DROP TRIGGER limit_added ON organizations;
DROP TRIGGER limit_changed ON organizations;
DROP TRIGGER limit_removed ON organizations;
CREATE TRIGGER limit_added AFTER INSERT ON organizations
    FOR EACH ROW WHEN (new.monthly_audio_hours_limit IS NOT NULL OR new.time_zone <> 'UTC')
    EXECUTE FUNCTION note_limit_change('id');
CREATE TRIGGER limit_changed AFTER UPDATE OF id, monthly_audio_hours_limit, time_zone
    ON organizations
    FOR EACH ROW
    WHEN (
        (old.id, old.monthly_audio_hours_limit, old.time_zone)
        IS DISTINCT FROM (new.id, new.monthly_audio_hours_limit, new.time_zone)
    )
    EXECUTE FUNCTION note_limit_change('id');
CREATE TRIGGER limit_removed AFTER DELETE ON organizations
    FOR EACH ROW WHEN (old.monthly_audio_hours_limit IS NOT NULL OR old.time_zone <> 'UTC')
    EXECUTE FUNCTION note_limit_change('id');

CREATE TRIGGER plan_added AFTER INSERT ON user_subscriptions
    FOR EACH ROW EXECUTE FUNCTION note_limit_change('organization_id');
CREATE TRIGGER plan_changed AFTER UPDATE ON user_subscriptions
    FOR EACH ROW WHEN (old IS DISTINCT FROM new)
    EXECUTE FUNCTION note_limit_change('organization_id');
CREATE TRIGGER plan_removed AFTER DELETE ON user_subscriptions
    FOR EACH ROW EXECUTE FUNCTION note_limit_change('organization_id');
CREATE TRIGGER plans_cleared AFTER TRUNCATE ON user_subscriptions
    FOR EACH STATEMENT EXECUTE FUNCTION note_all_limit_changes();

-- The argument names the column that holds the plan. All accounts with that plan are noted.
CREATE FUNCTION note_plan_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO limit_changes AS kept (organization_id)
    SELECT organization_id
    FROM user_subscriptions
    WHERE
        ended_at IS NULL
        AND plan_id IN (to_jsonb(old) ->> tg_argv[0], to_jsonb(new) ->> tg_argv[0])
    ORDER BY organization_id
    ON CONFLICT (organization_id) DO UPDATE SET version = kept.version + 1;
    RETURN NULL;
END
$$;

CREATE TRIGGER terms_changed AFTER UPDATE ON plans
    FOR EACH ROW WHEN (old IS DISTINCT FROM new) EXECUTE FUNCTION note_plan_change('id');
CREATE TRIGGER limit_added AFTER INSERT ON plan_limits
    FOR EACH ROW EXECUTE FUNCTION note_plan_change('plan_id');
CREATE TRIGGER limit_changed AFTER UPDATE ON plan_limits
    FOR EACH ROW WHEN (old IS DISTINCT FROM new) EXECUTE FUNCTION note_plan_change('plan_id');
CREATE TRIGGER limit_removed AFTER DELETE ON plan_limits
    FOR EACH ROW EXECUTE FUNCTION note_plan_change('plan_id');
CREATE TRIGGER limits_cleared AFTER TRUNCATE ON plan_limits
    FOR EACH STATEMENT EXECUTE FUNCTION note_all_limit_changes();

-- What holds for a member of an organization, and the version of the organization's limits that it
-- is of. Limits are in seconds, null: unlimited. The organization's is its own where it has one,
-- else its plan's: that of its subscription, or where a user's personal account has none any more,
-- the default one. Without a plan the other columns are null, and the defaults hold. Always one row.
DROP FUNCTION account_limits(text, text);
CREATE FUNCTION account_terms(
    organization text,
    member text,
    OUT version bigint,
    OUT organization_limit bigint,
    OUT member_limit bigint,
    OUT plan_id text,
    OUT soft_cap boolean,
    OUT overage_ceiling_seconds bigint,
    OUT grace_seconds integer,
    OUT grace_is_overage boolean,
    OUT max_concurrent_sessions integer,
    OUT max_session_seconds integer,
    OUT warn_minutes_remaining integer[],
    OUT warn_percent_used integer[],
    OUT billing_increment text,
    OUT billing_rounding text
)
LANGUAGE sql STABLE AS $$
    SELECT
        coalesce((SELECT version FROM limit_changes WHERE organization_id = organization), 0),
        CASE
            WHEN own.monthly_audio_hours_limit IS NOT NULL THEN own.monthly_limit_seconds
            WHEN allotment.limit_value >= 0 THEN allotment.limit_value * 60
            WHEN plan.id IS NOT NULL AND allotment.plan_id IS NULL THEN 0
        END,
        (
            SELECT monthly_limit_seconds
            FROM organization_members
            WHERE organization_id = organization AND user_id = member
        ),
        plan.id,
        plan.soft_cap,
        plan.overage_ceiling_seconds,
        plan.grace_seconds,
        plan.grace_is_overage,
        plan.max_concurrent_sessions,
        plan.max_session_seconds,
        plan.warn_minutes_remaining,
        plan.warn_percent_used,
        plan.billing_increment,
        plan.billing_rounding
    FROM (SELECT) AS one
    LEFT JOIN organizations AS own ON own.id = organization
    LEFT JOIN user_subscriptions AS subscription
        ON subscription.organization_id = organization AND subscription.ended_at IS NULL
    LEFT JOIN plans AS plan
        ON plan.id = subscription.plan_id
        OR (
            subscription.plan_id IS NULL
            AND plan.is_default
            AND EXISTS (SELECT FROM users WHERE clerk_id = organization)
        )
    LEFT JOIN plan_limits AS allotment
        ON allotment.plan_id = plan.id AND allotment.usage_type = 'minutes_per_month'
$$;
