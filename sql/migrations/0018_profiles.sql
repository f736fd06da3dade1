-- Profiles under the names they had, with what is computed of them as columns; and ends of responses
-- that stay.

-- What is stored of a profile. The others' foreign keys point to it.
ALTER TABLE profiles RENAME TO profile_records;

CREATE OR REPLACE FUNCTION make_profile() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO profile_records (id) VALUES (new.id) ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END
$$;

-- By their users' external ids they are looked up most.
ALTER TABLE profile_records ADD COLUMN user_id text;
UPDATE profile_records AS record
SET user_id = users.clerk_id
FROM users
WHERE users.id = record.id;
ALTER TABLE users ADD CONSTRAINT users_ids UNIQUE (id, clerk_id);
ALTER TABLE profile_records
    ALTER COLUMN user_id SET NOT NULL,
    ADD CONSTRAINT profile_records_user_id UNIQUE (user_id),
    DROP CONSTRAINT profiles_id_fkey,
    ADD CONSTRAINT profile_records_user FOREIGN KEY (id, user_id)
        REFERENCES users (id, clerk_id) ON UPDATE CASCADE ON DELETE CASCADE;

-- Either id says whose it is.
CREATE FUNCTION complete_profile() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    new.id := coalesce(new.id, (SELECT users.id FROM users WHERE users.clerk_id = new.user_id));
    new.user_id := coalesce(
        new.user_id, (SELECT users.clerk_id FROM users WHERE users.id = new.id)
    );
    IF new.user_id IS NULL OR new.id IS NULL THEN
        RAISE EXCEPTION 'there is no user %', coalesce(new.user_id, new.id::text)
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'profile_records_user';
    END IF;
    RETURN new;
END
$$;

CREATE TRIGGER profile_completed BEFORE INSERT ON profile_records
    FOR EACH ROW EXECUTE FUNCTION complete_profile();

-- One at most, by which plans are made of what reads it.
ALTER FUNCTION usage_standing(text, text, text) ROWS 1;

-- A profile as a whole. Over one table, so that it can be written as that: the columns that are stored
-- can be set, and the computed ones cannot. Each of those is computed only where it is asked for.
CREATE VIEW profiles AS
SELECT
    record.id,
    record.user_id,
    record.organization_id,
    record.full_name,
    record.organisation_name,
    record.stripe_customer_id,
    record.stripe_subscription_id,
    record.created_at,
    (
        SELECT coalesce(
            (
                SELECT plans.membership
                FROM plans
                WHERE plans.id = account_plan(account.organization_id, account.user_id)
            ),
            'free'
        )
        FROM profile_accounts AS account
        WHERE account.profile_id = record.id
    ) AS membership,
    (
        SELECT (coalesce(sum(cache.seconds_used), 0)::bigint + 59) / 60
        FROM monthly_usage_cache AS cache
        WHERE cache.user_id = record.user_id
    ) AS total_minutes,
    (
        SELECT overview.monthly_minutes_allocation
        FROM account_overview AS overview
        WHERE overview.profile_id = record.id
    ) AS monthly_minutes_allocation,
    (
        SELECT overview.minutes_used_this_month
        FROM account_overview AS overview
        WHERE overview.profile_id = record.id
    ) AS minutes_used_this_month,
    (
        SELECT overview.minutes_remaining
        FROM account_overview AS overview
        WHERE overview.profile_id = record.id
    ) AS minutes_remaining,
    (
        SELECT coalesce(sum(used.amount), 0)::bigint
        FROM feature_usage AS used
        WHERE used.user_id = record.user_id AND used.usage_type = 'chat_responses_per_month'
    ) AS responses_used_total,
    (
        SELECT credits.responses_used_this_month
        FROM profile_credits AS credits
        WHERE credits.profile_id = record.id
    ) AS responses_used_this_month,
    (
        SELECT credits.responses_available
        FROM profile_credits AS credits
        WHERE credits.profile_id = record.id
    ) AS responses_available,
    (
        SELECT credits.monthly_responses_quota
        FROM profile_credits AS credits
        WHERE credits.profile_id = record.id
    ) AS monthly_responses_quota,
    (
        SELECT coalesce(sum(used.amount), 0)::bigint
        FROM feature_usage AS used
        WHERE used.user_id = record.user_id AND used.usage_type = 'chat_instances'
    ) AS chat_instances_used,
    (
        SELECT credits.chat_instances_available
        FROM profile_credits AS credits
        WHERE credits.profile_id = record.id
    ) AS chat_instances_available
FROM profile_records AS record;

-- A response ends once. (Its end may be told again.)
CREATE FUNCTION refuse_new_end() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'response % is % already', old.id, old.completion_status
        USING ERRCODE = 'check_violation', CONSTRAINT = 'chat_responses_final';
END
$$;

CREATE TRIGGER response_ended BEFORE UPDATE OF completion_status, session_end ON chat_responses
    FOR EACH ROW
    WHEN (
        old.completion_status <> 'in_progress'
        AND (old.completion_status, old.session_end)
            IS DISTINCT FROM (new.completion_status, new.session_end)
    )
    EXECUTE FUNCTION refuse_new_end();
