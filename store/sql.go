package store

import "strings"

// All SQL stands here and in migrations. Texts from outside are arguments, never part of a text. What is not plain SQL that
// PostgreSQL takes too, beside the form of arguments, are PRAGMA, INDEXED BY, and the JSON functions of migration 4.

// The file.
const (
	sqlCheck   = `PRAGMA integrity_check(1)`
	sqlAppID   = `PRAGMA application_id`
	sqlVersion = `PRAGMA user_version`
	sqlTables  = `SELECT count(*) FROM sqlite_schema`
	sqlShorten = `PRAGMA wal_checkpoint(TRUNCATE)`
)

// Filling.
const (
	sqlMeta      = `SELECT key, value FROM meta`
	sqlSetMeta   = `INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`
	sqlWord      = `SELECT id FROM words WHERE text = ?`
	sqlAddWord   = `INSERT INTO words (text) VALUES (?) RETURNING id`
	sqlAddRecord = `INSERT INTO records (idx, id, cluster, producer, seq, at, ns, kind, digest, unread, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`
	sqlAddTotal = `INSERT INTO totals (kind, n, first, last, unread) VALUES (?, 1, ?, ?, ?) ON CONFLICT (kind) DO UPDATE SET
		n = totals.n + 1, unread = totals.unread + excluded.unread,
		first = CASE WHEN excluded.first < totals.first THEN excluded.first ELSE totals.first END,
		last = CASE WHEN excluded.last > totals.last THEN excluded.last ELSE totals.last END`
	sqlProducer    = `SELECT seq, at FROM producers WHERE cluster = ? AND producer = ?`
	sqlSetProducer = `INSERT INTO producers (cluster, producer, seq, at, idx, n, missing) VALUES (?, ?, ?, ?, ?, 1, ?)
		ON CONFLICT (cluster, producer) DO UPDATE SET seq = excluded.seq, idx = excluded.idx, n = producers.n + 1,
		at = CASE WHEN excluded.at > producers.at THEN excluded.at ELSE producers.at END, missing = producers.missing + excluded.missing`
	sqlSubject     = `SELECT id FROM subjects WHERE namespace = ? AND kind = ? AND name = ? AND cluster = ? AND api = ?`
	sqlAddSubject  = `INSERT INTO subjects (namespace, kind, name, cluster, api) VALUES (?, ?, ?, ?, ?) RETURNING id`
	sqlAddDecision = `INSERT INTO decisions (idx, kind, refused, operation, subject, actor, behalf) VALUES (?, ?, ?, ?, ?, ?, ?)`
	sqlAddFinding  = `INSERT INTO findings (idx, n, at, refused, namespace, control, outcome, action, value, path, waiver)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	sqlScanStays = `UPDATE scanned SET last = ?, latest = ?, outcome = ?, action = ?, value = ?, waiver = ?, expires = ?
		WHERE subject = ? AND control = ? AND path = ? AND state > 0`
	sqlScanClose = `UPDATE scanned SET state = 0, moment = ?, last = ?, latest = ?, why = ? WHERE subject = ? AND control = ? AND path = ? AND state > 0`
	sqlScanOpen  = `INSERT INTO scanned (subject, control, path, since, state, was, moment, namespace, first, n, last, latest, outcome, action, value, why, waiver, expires)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?)`
	sqlAddGap = `INSERT INTO gaps (idx, n, what, cluster, producer, why, since, until, wide, lost, detail)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	sqlEndGap = `UPDATE gaps SET until = ?, wide = ? WHERE cluster = ? AND producer = ? AND what = ? AND why = ? AND since = ?`
)

// Asking. {between} and {order} are made by ranged, {where} by where.
const (
	sqlRecord = `SELECT r.idx, r.id, wc.text, wp.text, r.seq, r.at, r.ns, wk.text, wd.text, r.unread, r.body FROM {from} r
		JOIN words wc ON wc.id = r.cluster JOIN words wp ON wp.id = r.producer JOIN words wk ON wk.id = r.kind
		JOIN words wd ON wd.id = r.digest`
	sqlRecordByIndex = `(SELECT * FROM records WHERE idx = ?)`
	sqlRecords       = `(SELECT * FROM records {index} WHERE{where}{between} ORDER BY at {order}, idx {order} LIMIT ?)`

	sqlFindings   = `SELECT at, idx, n FROM findings {index} WHERE refused = ?{where}{between} ORDER BY at {order}, idx {order}, n {order} LIMIT ?`
	sqlFindingsAt = `SELECT f.idx, f.n, f.at, r.ns, r.id, wk.text, wc.text, d.operation, d.refused, s.api, s.kind, wn.text, s.name,
		wa.text, coalesce(pa.name, ''), pa.ref IS NOT NULL AND pa.name IS NULL, wb.text, coalesce(pb.name, ''), pb.ref IS NOT NULL AND pb.name IS NULL,
		w.text, f.outcome, f.action, f.value, f.path, f.waiver FROM (SELECT * FROM findings WHERE (idx, n) IN (VALUES {values})) f
		JOIN records r ON r.idx = f.idx JOIN decisions d ON d.idx = f.idx JOIN subjects s ON s.id = d.subject
		JOIN words wk ON wk.id = d.kind JOIN words wc ON wc.id = s.cluster JOIN words wn ON wn.id = s.namespace
		JOIN words wa ON wa.id = d.actor LEFT JOIN people pa ON pa.ref = wa.text
		JOIN words wb ON wb.id = d.behalf LEFT JOIN people pb ON pb.ref = wb.text JOIN words w ON w.id = f.control`

	sqlScannedRows = `SELECT * FROM scanned {index} WHERE state = ?{where}{between} ORDER BY moment {order}, first {order}, n {order} LIMIT ?`
	sqlScanned     = `SELECT f.moment, f.first, f.n, f.since, f.state, f.was, f.last, wc.text, s.api, s.kind, wn.text, s.name,
		w.text, f.outcome, f.action, f.value, f.path, f.why, f.waiver, f.expires, coalesce(ra.id, ''), coalesce(rl.id, '') FROM ({from}) f
		JOIN subjects s ON s.id = f.subject JOIN words wc ON wc.id = s.cluster JOIN words wn ON wn.id = f.namespace
		JOIN words w ON w.id = f.control LEFT JOIN records ra ON ra.idx = f.first LEFT JOIN records rl ON rl.idx = f.latest`
	sqlGaps = `SELECT g.idx, g.n, g.what, wc.text, g.producer, g.why, g.since, g.until, g.lost, g.detail FROM gaps g
		JOIN words wc ON wc.id = g.cluster WHERE g.wide = ? AND g.since >= ? AND g.since < ? AND g.until >= ?
		AND (g.since, g.idx, g.n) > (?, ?, ?) ORDER BY g.since, g.idx, g.n LIMIT ?`
	sqlProducers = `SELECT wc.text, wp.text, p.seq, p.at, p.idx, p.n, p.missing FROM producers p
		JOIN words wc ON wc.id = p.cluster JOIN words wp ON wp.id = p.producer`
	sqlTotals = `SELECT w.text, t.n, t.first, t.last, t.unread FROM totals t JOIN words w ON w.id = t.kind`
)

// People and retention.
const (
	sqlPerson   = `SELECT ref, coalesce(name, ''), name IS NULL FROM people WHERE ref = ?`
	sqlRemember = `INSERT INTO people (ref, name, changed) VALUES (?, ?, ?) ON CONFLICT (ref) DO UPDATE SET name = excluded.name
		WHERE people.name IS NOT NULL AND people.name <> excluded.name`
	sqlForget = `INSERT INTO people (ref, name, changed) VALUES (?, NULL, ?) ON CONFLICT (ref) DO UPDATE SET
		name = NULL, changed = excluded.changed`
	sqlPeople = `SELECT ref, name, changed FROM people ORDER BY ref`
	sqlCarry  = `INSERT INTO people (ref, name, changed) VALUES (?, ?, ?)`

	sqlHorizons   = `SELECT kind, before FROM horizons ORDER BY kind`
	sqlSetHorizon = `INSERT INTO horizons (kind, before) VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET
		before = CASE WHEN excluded.before > horizons.before THEN excluded.before ELSE horizons.before END`
	sqlOld        = `SELECT idx FROM records WHERE kind = ? AND at < ? ORDER BY at, idx LIMIT ?`
	sqlOldScanned = `DELETE FROM scanned WHERE (subject, control, path, since, first, n) IN
		(SELECT subject, control, path, since, first, n FROM scanned WHERE state = 0 AND moment < ? LIMIT ?)`
)

// sqlRemove removes what a store holds of one record. Counts stay.
func sqlRemove() []string {
	return []string{`DELETE FROM findings WHERE idx = ?`, `DELETE FROM decisions WHERE idx = ?`, `DELETE FROM records WHERE idx = ?`}
}

// ranged gives a text its direction: from a place on, up to an instant. keys are the columns of the order, the time first.
func ranged(text string, newest bool, keys ...string) string {
	row, marks := "("+strings.Join(keys, ", ")+")", "("+strings.TrimSuffix(strings.Repeat("?, ", len(keys)), ", ")+")"
	between, order := " AND "+row+" > "+marks+" AND "+keys[0]+" < ?", "ASC"
	if newest {
		between, order = " AND "+row+" < "+marks+" AND "+keys[0]+" >= ?", "DESC"
	}
	return strings.NewReplacer("{between}", between, "{order}", order).Replace(text)
}

// where adds a condition for each column that is given, and names the index of just these: SQLite's planner, which knows no
// counts here, took another one. PostgreSQL has no such clause and does not need it.
func where(text, index string, columns ...string) string {
	var all strings.Builder
	for _, c := range columns {
		all.WriteString(" AND " + c + " = ?")
	}
	return strings.NewReplacer("{where}", all.String(), "{index}", "INDEXED BY "+index).Replace(text)
}

// first takes away the AND before the first condition of a WHERE.
func first(text string) string { return strings.Replace(text, "WHERE AND ", "WHERE ", 1) }

// initials is the end of an index's name: the first letters of its columns, or what it has without any.
func initials(none string, columns ...string) string {
	if len(columns) == 0 {
		return none
	}
	var all strings.Builder
	for _, c := range columns {
		all.WriteString(c[:1])
	}
	return all.String()
}

// only is the end of an index's name that has one column or none.
func only(none string, columns ...string) string {
	if len(columns) == 0 {
		return none
	}
	return columns[0]
}
