-- What the background scan found of objects that lie in the cluster: one row for each time that a finding stood, open or waived. It is
-- kept when it closed. was is 1 for what stood open and 2 for what was waived; state is the same while it stands, and 0 once it closed.
-- moment is since while it stands, and until once it closed.
CREATE TABLE scanned (
  subject INTEGER NOT NULL, control INTEGER NOT NULL, path TEXT NOT NULL, since INTEGER NOT NULL,
  state INTEGER NOT NULL, was INTEGER NOT NULL, moment INTEGER NOT NULL, namespace INTEGER NOT NULL, first INTEGER NOT NULL, n INTEGER NOT NULL,
  last INTEGER NOT NULL, latest INTEGER NOT NULL, outcome TEXT NOT NULL, action TEXT NOT NULL, value TEXT NOT NULL,
  why TEXT NOT NULL, waiver TEXT NOT NULL, expires TEXT NOT NULL,
  PRIMARY KEY (subject, control, path, since, first, n)
) WITHOUT ROWID;
CREATE INDEX scanned_moment ON scanned (state, moment, first, n);
CREATE INDEX scanned_n ON scanned (state, namespace, moment, first, n);
CREATE INDEX scanned_c ON scanned (state, control, moment, first, n);
CREATE INDEX scanned_nc ON scanned (state, namespace, control, moment, first, n);
CREATE UNIQUE INDEX scanned_stands ON scanned (subject, control, path) WHERE state > 0;
