-- Times are microseconds since 1970 in UTC. cluster, producer, kind, digest, namespace, control and actor are numbers of words.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE words (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);

CREATE TABLE records (
  idx INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
  cluster INTEGER NOT NULL, producer INTEGER NOT NULL, seq INTEGER NOT NULL,
  at INTEGER NOT NULL, ns INTEGER NOT NULL, kind INTEGER NOT NULL, digest INTEGER NOT NULL,
  unread INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX records_at ON records (at, idx);
CREATE INDEX records_kind ON records (kind, at, idx);

CREATE TABLE subjects (
  id INTEGER PRIMARY KEY, cluster INTEGER NOT NULL, namespace INTEGER NOT NULL,
  kind TEXT NOT NULL, name TEXT NOT NULL, api TEXT NOT NULL, last INTEGER NOT NULL,
  UNIQUE (namespace, kind, name, cluster, api)
);

-- What was decided: one row a record that judged something.
CREATE TABLE decisions (
  idx INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind INTEGER NOT NULL, refused INTEGER NOT NULL, operation TEXT NOT NULL,
  subject INTEGER NOT NULL, actor INTEGER NOT NULL, behalf INTEGER NOT NULL
);
CREATE INDEX decisions_subject ON decisions (subject, at, idx);

-- What did not pass: one row a finding of a decision. One index for each set of filters, so that none of them is slow.
CREATE TABLE findings (
  idx INTEGER NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL, refused INTEGER NOT NULL,
  namespace INTEGER NOT NULL, control INTEGER NOT NULL, actor INTEGER NOT NULL,
  outcome TEXT NOT NULL, action TEXT NOT NULL, value TEXT NOT NULL, path TEXT NOT NULL,
  PRIMARY KEY (idx, n)
) WITHOUT ROWID;
CREATE INDEX findings_at ON findings (refused, at, idx, n);
CREATE INDEX findings_n ON findings (refused, namespace, at, idx, n);
CREATE INDEX findings_c ON findings (refused, control, at, idx, n);
CREATE INDEX findings_a ON findings (refused, actor, at, idx, n);
CREATE INDEX findings_nc ON findings (refused, namespace, control, at, idx, n);
CREATE INDEX findings_na ON findings (refused, namespace, actor, at, idx, n);
CREATE INDEX findings_ca ON findings (refused, control, actor, at, idx, n);
CREATE INDEX findings_nca ON findings (refused, namespace, control, actor, at, idx, n);

-- What stands of findings: one row a subject, control and path.
CREATE TABLE standing (
  subject INTEGER NOT NULL, control INTEGER NOT NULL, path TEXT NOT NULL, open INTEGER NOT NULL,
  namespace INTEGER NOT NULL, since INTEGER NOT NULL, first INTEGER NOT NULL, n INTEGER NOT NULL,
  last INTEGER NOT NULL, latest INTEGER NOT NULL, times INTEGER NOT NULL,
  refused INTEGER NOT NULL, outcome TEXT NOT NULL, action TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (subject, control, path)
) WITHOUT ROWID;
CREATE INDEX standing_since ON standing (open, since, first, n);
CREATE INDEX standing_n ON standing (open, namespace, since, first, n);
CREATE INDEX standing_c ON standing (open, control, since, first, n);
CREATE INDEX standing_nc ON standing (open, namespace, control, since, first, n);
CREATE INDEX standing_last ON standing (open, last);

CREATE TABLE standing_counts (
  control INTEGER NOT NULL, namespace INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (control, namespace)
) WITHOUT ROWID;

-- How many findings a day; namespace 0 is all of them. Kept for ever.
CREATE TABLE daily (
  namespace INTEGER NOT NULL, day INTEGER NOT NULL, control INTEGER NOT NULL, action TEXT NOT NULL, refused INTEGER NOT NULL,
  n INTEGER NOT NULL, PRIMARY KEY (namespace, day, control, action, refused)
) WITHOUT ROWID;
CREATE INDEX daily_control ON daily (namespace, control, day, action, refused);

CREATE TABLE changes (
  idx INTEGER PRIMARY KEY, at INTEGER NOT NULL, operation TEXT NOT NULL, kind TEXT NOT NULL, subject INTEGER NOT NULL,
  actor INTEGER NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, fields TEXT NOT NULL
);
CREATE INDEX changes_at ON changes (at, idx);
CREATE INDEX changes_kind ON changes (kind, at, idx);
CREATE INDEX changes_subject ON changes (subject, at, idx);
CREATE INDEX changes_actor ON changes (actor, at, idx);

-- Time of which something is not known. wide is 1 for gaps of more than a day and for those that have no end yet.
CREATE TABLE gaps (
  idx INTEGER NOT NULL, n INTEGER NOT NULL, what TEXT NOT NULL, cluster INTEGER NOT NULL, producer TEXT NOT NULL,
  why TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, wide INTEGER NOT NULL, lost INTEGER NOT NULL,
  detail TEXT NOT NULL, PRIMARY KEY (idx, n)
) WITHOUT ROWID;
CREATE INDEX gaps_since ON gaps (wide, since, idx, n);
CREATE INDEX gaps_same ON gaps (cluster, producer, what, why, since);

CREATE TABLE producers (
  cluster INTEGER NOT NULL, producer INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, idx INTEGER NOT NULL,
  n INTEGER NOT NULL, missing INTEGER NOT NULL, PRIMARY KEY (cluster, producer)
) WITHOUT ROWID;

CREATE TABLE totals (
  kind INTEGER PRIMARY KEY, n INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, unread INTEGER NOT NULL
);

-- What retention removed: records of a kind that happened before.
CREATE TABLE horizons (kind TEXT PRIMARY KEY, before INTEGER NOT NULL) WITHOUT ROWID;

-- Whom a reference means: the only personal data. A row without a name is of somebody who was forgotten.
CREATE TABLE people (ref TEXT PRIMARY KEY, name TEXT, changed INTEGER NOT NULL) WITHOUT ROWID;
