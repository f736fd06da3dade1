-- Finds the sessions of late that came by SQL, and so by another way than through the ledger, which
-- makes none of revision 1.
CREATE INDEX interview_sessions_by_sql ON interview_sessions (organization_id, ended_at)
    WHERE revision = 1;
