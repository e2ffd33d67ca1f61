-- The waiver by which a request was let in, by name; '' where none did. Records had it before this version: it is taken of their bodies.
ALTER TABLE findings ADD COLUMN waiver TEXT NOT NULL DEFAULT '';

UPDATE findings SET waiver = coalesce(
  (SELECT json_extract(CAST(r.body AS TEXT), '$.notPassed[' || findings.n || '].waiver') FROM records r WHERE r.idx = findings.idx), '')
WHERE idx IN (SELECT idx FROM records WHERE unread = 0 AND instr(body, CAST('"waiver"' AS BLOB)) > 0 AND json_valid(CAST(body AS TEXT)));

-- What only tests asked is no longer kept: what stands open of requests (scanned says what stands in the cluster), counts by day, changes
-- and catalogues (the ledger has them, and answers with proof), the history of an object, and findings by who asked.
DROP TABLE standing;
DROP TABLE standing_counts;
DROP TABLE daily;
DROP TABLE changes;
DROP TABLE digests;
DROP INDEX decisions_subject;
ALTER TABLE decisions DROP COLUMN at;
ALTER TABLE subjects DROP COLUMN last;
DROP INDEX findings_a;
DROP INDEX findings_na;
DROP INDEX findings_ca;
DROP INDEX findings_nca;
ALTER TABLE findings DROP COLUMN actor;
