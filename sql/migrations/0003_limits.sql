-- Monthly limits of organizations and their members, and which of them the ledger is to be told.

-- A limit is stored once, in hours, as its writers give it; whole seconds, what it is compared by,
-- are generated from it. With six decimals and more each whole second comes back exactly.
CREATE TABLE organizations (
    id text PRIMARY KEY,
    name text NOT NULL DEFAULT '',
    -- Null or -1: unlimited. (The bound keeps seconds exact in the ledger, and out NaN, which is
    -- greater than all numbers.)
    monthly_audio_hours_limit numeric CONSTRAINT organizations_limit CHECK (
        monthly_audio_hours_limit = -1 OR monthly_audio_hours_limit BETWEEN 0 AND 1000000000
    ),
    -- Null: unlimited.
    monthly_limit_seconds bigint GENERATED ALWAYS AS (
        CASE
            WHEN monthly_audio_hours_limit BETWEEN 0 AND 1000000000
            THEN round(monthly_audio_hours_limit * 3600)::bigint
        END
    ) STORED,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One row a member that something is known of; any other user of an organization has no limit of
-- their own.
CREATE TABLE organization_members (
    organization_id text NOT NULL REFERENCES organizations ON DELETE CASCADE,
    user_id text NOT NULL,
    monthly_audio_hours_limit numeric CONSTRAINT organization_members_limit CHECK (
        monthly_audio_hours_limit = -1 OR monthly_audio_hours_limit BETWEEN 0 AND 1000000000
    ),
    monthly_limit_seconds bigint GENERATED ALWAYS AS (
        CASE
            WHEN monthly_audio_hours_limit BETWEEN 0 AND 1000000000
            THEN round(monthly_audio_hours_limit * 3600)::bigint
        END
    ) STORED,
    -- Kept by update_member_usage(): the latest UTC month with figures, as its first day, and what
    -- monthly_usage_cache says of it.
    current_month_start date,
    current_month_minutes_used bigint NOT NULL DEFAULT 0
        CHECK (current_month_minutes_used >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id)
)
WITH (fillfactor = 70);

CREATE INDEX organization_members_user ON organization_members (user_id);

-- Members' figures ------------------------------------------------------------------------------

-- Copies what changed in monthly_usage_cache, unless a later month is there already.
CREATE FUNCTION update_member_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM changed) THEN
        RETURN NULL;
    END IF;
    WITH latest AS (
        SELECT DISTINCT ON (organization_id, user_id)
            organization_id, user_id, month, minutes_used
        FROM changed
        ORDER BY organization_id, user_id, month DESC
    ), locked AS (
        SELECT member.organization_id, member.user_id, latest.month, latest.minutes_used
        FROM organization_members AS member
        JOIN latest USING (organization_id, user_id)
        WHERE
            coalesce(member.current_month_start <= latest.month, true)
            AND (member.current_month_start, member.current_month_minutes_used)
                IS DISTINCT FROM (latest.month, latest.minutes_used)
        ORDER BY member.organization_id, member.user_id
        FOR NO KEY UPDATE OF member
    )
    UPDATE organization_members AS member
    SET
        current_month_start = locked.month,
        current_month_minutes_used = locked.minutes_used
    FROM locked
    WHERE (member.organization_id, member.user_id) = (locked.organization_id, locked.user_id);
    RETURN NULL;
END
$$;

CREATE TRIGGER member_usage_added AFTER INSERT ON monthly_usage_cache
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION update_member_usage();
CREATE TRIGGER member_usage_changed AFTER UPDATE ON monthly_usage_cache
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION update_member_usage();

CREATE FUNCTION clear_member_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE organization_members AS member
    SET current_month_minutes_used = 0
    FROM removed
    WHERE
        (member.organization_id, member.user_id, member.current_month_start)
            = (removed.organization_id, removed.user_id, removed.month)
        AND member.current_month_minutes_used > 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER member_usage_removed AFTER DELETE ON monthly_usage_cache
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION clear_member_usage();

-- A new member may have recorded already. Touching the month's figures gives them their part by the
-- trigger above, and waits for a writer that has them under its hands and couldn't see the member.
CREATE FUNCTION start_member_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO monthly_usage_cache AS kept (organization_id, user_id, month, seconds_used)
    VALUES (
        new.organization_id, new.user_id, date_trunc('month', now() AT TIME ZONE 'UTC')::date, 0
    )
    ON CONFLICT (organization_id, month, user_id) DO UPDATE SET seconds_used = kept.seconds_used;
    RETURN NULL;
END
$$;

CREATE TRIGGER member_usage_started AFTER INSERT ON organization_members
    FOR EACH ROW EXECUTE FUNCTION start_member_usage();

-- Changed limits --------------------------------------------------------------------------------

-- A row an organization that ever had a limit. The version grows with each change of its limits or
-- its members', in the order of the commits, as they wait for each other at this row: so limits that
-- were read together with a version are those of that version. A flusher tells the ledger, and then
-- notes the version it has told; died in between, it or another one tells it again.
CREATE TABLE limit_changes (
    organization_id text PRIMARY KEY,
    version bigint NOT NULL DEFAULT 1,
    told_version bigint NOT NULL DEFAULT 0,
    CONSTRAINT limit_changes_versions CHECK (told_version BETWEEN 0 AND version)
);

CREATE INDEX limit_changes_untold ON limit_changes (organization_id)
    WHERE told_version < version;

-- The argument names the column that holds the organization.
CREATE FUNCTION note_limit_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO limit_changes AS kept (organization_id)
    SELECT DISTINCT given.organization_id
    FROM unnest(ARRAY[to_jsonb(old) ->> tg_argv[0], to_jsonb(new) ->> tg_argv[0]])
        AS given (organization_id)
    WHERE given.organization_id IS NOT NULL
    ORDER BY given.organization_id
    ON CONFLICT (organization_id) DO UPDATE SET version = kept.version + 1;
    RETURN NULL;
END
$$;

CREATE FUNCTION note_all_limit_changes() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE limit_changes SET version = version + 1;
    RETURN NULL;
END
$$;

CREATE TRIGGER limit_added AFTER INSERT ON organizations
    FOR EACH ROW WHEN (new.monthly_limit_seconds IS NOT NULL)
    EXECUTE FUNCTION note_limit_change('id');
CREATE TRIGGER limit_changed AFTER UPDATE OF id, monthly_audio_hours_limit ON organizations
    FOR EACH ROW
    WHEN ((old.id, old.monthly_limit_seconds) IS DISTINCT FROM (new.id, new.monthly_limit_seconds))
    EXECUTE FUNCTION note_limit_change('id');
CREATE TRIGGER limit_removed AFTER DELETE ON organizations
    FOR EACH ROW WHEN (old.monthly_limit_seconds IS NOT NULL)
    EXECUTE FUNCTION note_limit_change('id');
CREATE TRIGGER limits_cleared AFTER TRUNCATE ON organizations
    FOR EACH STATEMENT EXECUTE FUNCTION note_all_limit_changes();

CREATE TRIGGER limit_added AFTER INSERT ON organization_members
    FOR EACH ROW WHEN (new.monthly_limit_seconds IS NOT NULL)
    EXECUTE FUNCTION note_limit_change('organization_id');
CREATE TRIGGER limit_changed
    AFTER UPDATE OF organization_id, user_id, monthly_audio_hours_limit ON organization_members
    FOR EACH ROW
    WHEN (
        (old.organization_id, old.user_id, old.monthly_limit_seconds)
        IS DISTINCT FROM (new.organization_id, new.user_id, new.monthly_limit_seconds)
    )
    EXECUTE FUNCTION note_limit_change('organization_id');
CREATE TRIGGER limit_removed AFTER DELETE ON organization_members
    FOR EACH ROW WHEN (old.monthly_limit_seconds IS NOT NULL)
    EXECUTE FUNCTION note_limit_change('organization_id');
CREATE TRIGGER limits_cleared AFTER TRUNCATE ON organization_members
    FOR EACH STATEMENT EXECUTE FUNCTION note_all_limit_changes();

-- The limits that hold for a member of an organization, in seconds (null: unlimited), and the
-- version of the organization's limits that they are of. Always one row.
CREATE FUNCTION account_limits(
    organization text,
    member text,
    OUT version bigint,
    OUT organization_limit bigint,
    OUT member_limit bigint
)
LANGUAGE sql STABLE AS $$
    SELECT
        coalesce((SELECT version FROM limit_changes WHERE organization_id = organization), 0),
        (SELECT monthly_limit_seconds FROM organizations WHERE id = organization),
        (
            SELECT monthly_limit_seconds
            FROM organization_members
            WHERE organization_id = organization AND user_id = member
        )
$$;
