-- Profiles' figures, all computed; chats and their responses, which are used up as features are.

ALTER TABLE plans
    -- The membership that it stands for in profiles; without a plan it is `free`.
    ADD COLUMN membership text NOT NULL DEFAULT 'pro'
        CONSTRAINT plans_membership CHECK (membership IN ('free', 'starter', 'pro'));

UPDATE plans SET membership = 'starter' WHERE id = 'starter';

-- A profile's membership and minutes: over its lifetime those that the person recorded anywhere; this
-- period those of the account that it uses, whose limit may be shared.
CREATE VIEW account_overview AS
SELECT
    account.profile_id,
    account.user_id,
    account.organization_id,
    coalesce(plans.membership, 'free') AS membership,
    plans.id AS plan_id,
    (
        SELECT (coalesce(sum(cache.seconds_used), 0)::bigint + 59) / 60
        FROM monthly_usage_cache AS cache
        WHERE cache.user_id = account.user_id
    ) AS total_minutes,
    usage.minutes_limit AS monthly_minutes_allocation,
    usage.minutes_used AS minutes_used_this_month,
    usage.minutes_remaining AS minutes_remaining,
    usage.unlimited,
    usage.period_start,
    usage.period_end
FROM profile_accounts AS account
LEFT JOIN plans ON plans.id = account_plan(account.organization_id, account.user_id)
CROSS JOIN LATERAL check_usage_limit(account.user_id, account.organization_id) AS usage;

INSERT INTO usage_types (name, unit, period) VALUES
    ('chat_responses_per_month', 'responses', 'month'),
    ('chat_instances', 'chats', 'lifetime');

-- The plans that came before know no such limit.
INSERT INTO plan_limits (plan_id, usage_type, limit_value)
SELECT plans.id, usage_types.name, -1
FROM plans, usage_types
WHERE usage_types.name IN ('chat_responses_per_month', 'chat_instances');

CREATE TABLE chat_instances (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    profile_id uuid NOT NULL REFERENCES profiles ON DELETE CASCADE,
    title text NOT NULL DEFAULT '',
    metadata jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT chat_instances_metadata CHECK (jsonb_typeof(metadata) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    -- For the responses' foreign key.
    UNIQUE (id, profile_id)
);

CREATE INDEX chat_instances_profile ON chat_instances (profile_id, created_at);

-- A response is a session of its own: its minutes are how long it took, and none of the recorded ones.
CREATE TABLE chat_responses (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    chat_instance_id uuid NOT NULL,
    profile_id uuid NOT NULL REFERENCES profiles ON DELETE CASCADE,
    session_start timestamptz NOT NULL DEFAULT now(),
    session_end timestamptz,
    total_minutes bigint GENERATED ALWAYS AS (
        ceil(extract(epoch FROM session_end - session_start) / 60)::bigint
    ) STORED,
    completion_status text NOT NULL DEFAULT 'in_progress'
        CONSTRAINT chat_responses_status
        CHECK (completion_status IN ('in_progress', 'completed', 'abandoned')),
    metadata jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT chat_responses_metadata CHECK (jsonb_typeof(metadata) = 'object'),
    CONSTRAINT chat_responses_span CHECK (session_start <= session_end),
    CONSTRAINT chat_responses_end
        CHECK ((session_end IS NULL) = (completion_status = 'in_progress')),
    -- In a chat of the same profile.
    FOREIGN KEY (chat_instance_id, profile_id) REFERENCES chat_instances (id, profile_id)
        ON DELETE CASCADE
);

CREATE INDEX chat_responses_chat ON chat_responses (chat_instance_id, profile_id);
CREATE INDEX chat_responses_profile ON chat_responses (profile_id, session_start);

-- A new row is one use: of the type in the first argument, at the time in the column that the second
-- one names. Without room it is refused, unless it is of before yesterday: history that is moved in.
-- What is deleted was used all the same.
CREATE FUNCTION use_up() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := to_jsonb(new) ->> tg_argv[1];
    account record;
BEGIN
    SELECT * INTO account FROM profile_accounts WHERE profile_id = new.profile_id;
    PERFORM pg_advisory_xact_lock(hashtext('track_usage'), hashtext(account.organization_id));
    IF moment > now() - interval '1 day'
        AND NOT has_room(account.organization_id, account.user_id, tg_argv[0], 1)
    THEN
        RAISE EXCEPTION 'the limit of % is reached', tg_argv[0]
            USING ERRCODE = 'check_violation', CONSTRAINT = 'usage_limit';
    END IF;
    INSERT INTO feature_events (organization_id, user_id, usage_type, amount, used_at)
    VALUES (account.organization_id, account.user_id, tg_argv[0], 1, moment);
    RETURN NULL;
END
$$;

CREATE TRIGGER chat_used AFTER INSERT ON chat_instances
    FOR EACH ROW EXECUTE FUNCTION use_up('chat_instances', 'created_at');
CREATE TRIGGER response_used AFTER INSERT ON chat_responses
    FOR EACH ROW EXECUTE FUNCTION use_up('chat_responses_per_month', 'session_start');

-- A profile's own responses and chats, and what its account still has of them (null: unlimited).
CREATE VIEW profile_credits AS
SELECT
    account.profile_id,
    account.user_id,
    account.organization_id,
    used.responses_in_all AS responses_used_total,
    used.responses_this_month AS responses_used_this_month,
    responses.remaining AS responses_available,
    responses.limit_value AS monthly_responses_quota,
    used.chats AS chat_instances_used,
    chats.remaining AS chat_instances_available,
    chats.limit_value AS chat_instances_quota,
    responses.period_start,
    responses.period_end
FROM profile_accounts AS account
CROSS JOIN LATERAL usage_standing(
    account.organization_id, account.user_id, 'chat_responses_per_month'
) AS responses
CROSS JOIN LATERAL usage_standing(
    account.organization_id, account.user_id, 'chat_instances'
) AS chats
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(amount) FILTER (WHERE usage_type = 'chat_responses_per_month'), 0)::bigint
            AS responses_in_all,
        coalesce(
            sum(amount) FILTER (
                WHERE
                    usage_type = 'chat_responses_per_month'
                    AND feature_usage.organization_id = account.organization_id
                    AND feature_usage.period_end > responses.period_start
                    AND feature_usage.period_start < responses.period_end
            ),
            0
        )::bigint AS responses_this_month,
        coalesce(sum(amount) FILTER (WHERE usage_type = 'chat_instances'), 0)::bigint AS chats
    FROM feature_usage
    WHERE
        feature_usage.user_id = account.user_id
        AND feature_usage.usage_type IN ('chat_responses_per_month', 'chat_instances')
) AS used;
