package store

import (
	"context"
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNoFullScan asks SQLite how it would answer: no table that grows with the evidence is read whole, and nothing is sorted
// beyond a page.
func TestNoFullScan(t *testing.T) {
	s, err := Open(context.Background(), Config{Path: filepath.Join(t.TempDir(), "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	texts := map[string]string{"record at": recordAtSQL(), "findings at": findingsAtSQL(3), "gaps": sqlGaps, "subject": sqlSubject, "word": sqlWord,
		"producers": sqlProducers, "totals": sqlTotals, "person": sqlPerson, "state": sqlMeta, "horizons": sqlHorizons, "old": sqlOld, "end gap": sqlEndGap,
		"scan stays": sqlScanStays, "scan close": sqlScanClose, "old scanned": sqlOldScanned}
	for _, newest := range []bool{false, true} {
		for i := range 4 {
			var columns []string
			for bit, c := range []string{"namespace", "control"} {
				if i&(1<<bit) > 0 {
					columns = append(columns, c)
				}
			}
			name := strings.Join(columns, " ") + map[bool]string{true: " newest"}[newest]
			texts["findings "+name] = findingsSQL(columns, newest)
			texts["scanned "+name] = scannedSQL(columns, newest)
		}
		texts["records"], texts["records kind"] = recordsSQL(nil, newest), recordsSQL([]string{"kind"}, newest)
	}
	small := []string{"SCAN p", "SCAN t", "SCAN meta", "SCAN horizons"} // producers, kinds
	for name, text := range texts {
		args := make([]any, strings.Count(text, "?"))
		for i := range args {
			args[i] = 1
		}
		plan, err := query(t.Context(), s, func(rows *sql.Rows) (line string, err error) {
			var id, parent, unused int
			return line, rows.Scan(&id, &parent, &unused, &line)
		}, "EXPLAIN QUERY PLAN "+text, args...)
		if err != nil || len(plan) == 0 {
			t.Errorf("%s: %v", name, err)
		}
		for i, line := range plan {
			page := strings.HasPrefix(line, "SCAN f") || strings.HasPrefix(line, "SCAN r") // what a subquery with a LIMIT gave
			whole := strings.HasPrefix(line, "SCAN ") && !strings.HasSuffix(line, "VALUES CLAUSE") && !slices.Contains(small, strings.Join(strings.Fields(line)[:2], " ")) && !(page && inner(plan[:i]))
			if whole {
				t.Errorf("%s reads a table whole:\n%s", name, strings.Join(plan, "\n"))
			}
		}
	}
}

// inner says that a plan began with the search of a subquery.
func inner(before []string) bool {
	return len(before) > 1 && strings.HasPrefix(before[0], "CO-ROUTINE") && strings.HasPrefix(before[1], "SEARCH")
}
