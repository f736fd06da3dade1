-- What must hold of rows that are written since the last migration, of all: they are read while others
-- write. Where one of before breaks it, that row is left as it is, and the constraint goes on for others
-- (`NOT VALID`): no deploy should fail for it.
DO $validate$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT conrelid::regclass AS relation, conname AS name
        FROM pg_constraint
        WHERE
            conname IN (
                'feature_events_account', 'interview_sessions_account',
                'interview_sessions_moments', 'interview_sessions_reason'
            )
            AND connamespace = current_schema()::regnamespace
        ORDER BY conname
    LOOP
        BEGIN
            EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', one.relation, one.name);
        EXCEPTION WHEN check_violation THEN
            RAISE WARNING 'a row of % breaks %', one.relation, one.name;
        END;
    END LOOP;
END
$validate$;
