-- Forgets the answers of calls that are older than a day: nobody makes them again.
DELETE FROM usage_calls WHERE created_at < now() - interval '1 day'
