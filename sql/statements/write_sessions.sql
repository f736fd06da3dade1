-- Writes sessions' own rows, each unless a newer copy of it is there.
--   $1 uuid[]    session       $2 text[]    organization   $3 text[]    user
--   $4 text[]    kind          $5 text[]    metadata: a JSON object, or empty to leave it alone
--   $6 bigint[]  started       $7 bigint[]  ended, or null $8 text[]    end reason, or null
--   $9 bigint[]  revision
-- All of one length, in the order of the session, each once. Times in epoch seconds.
-- The account is written too, so that a session of another account is refused by its owner trigger.
INSERT INTO interview_sessions AS stored (
    session_id, organization_id, user_id, kind, metadata, started_at, ended_at, end_reason, revision
)
SELECT
    due.session_id,
    due.organization_id,
    due.user_id,
    due.kind,
    coalesce(metadata_of(due.metadata), '{}'),
    to_timestamp(due.started),
    to_timestamp(due.ended),
    due.end_reason,
    due.revision
FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
    $8::text[], $9::bigint[]
) AS due (
    session_id, organization_id, user_id, kind, metadata, started, ended, end_reason, revision
)
ON CONFLICT (session_id) DO UPDATE
SET
    organization_id = excluded.organization_id,
    user_id = excluded.user_id,
    kind = excluded.kind,
    metadata = CASE
        WHEN excluded.metadata = '{}' THEN stored.metadata ELSE excluded.metadata
    END,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    end_reason = excluded.end_reason,
    revision = excluded.revision
WHERE
    excluded.revision > stored.revision
    OR stored.organization_id <> excluded.organization_id
    OR stored.user_id <> excluded.user_id
