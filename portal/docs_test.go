package portal

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestRoutesPage holds docs/api.md to the document: every route there is named, with the scopes that open it, and no other.
func TestRoutesPage(t *testing.T) {
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../docs/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct{ Security []map[string][]string }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) == 5 {
			for _, route := range routeSpan.FindAllString(cells[1], -1) {
				rows[route] = cells[3]
			}
		}
	}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			name := "`" + strings.ToUpper(method) + " " + strings.TrimPrefix(path, "/api/v1") + "`"
			opened, named := rows[name]
			if !named {
				t.Errorf("docs/api.md says nothing of %s", name)
				continue
			}
			delete(rows, name)
			want := map[string]bool{"session": false, "token": false}
			scopes := ""
			for _, way := range op.Security {
				for kind, names := range way {
					want[kind] = true
					scopes += strings.Join(names, "")
				}
			}
			if got := strings.Contains(opened, "session"); got != want["session"] || strings.Contains(opened, "`read:") && !strings.Contains(opened, "`"+scopes+"`") ||
				want["token"] != (strings.Contains(opened, "`") || strings.Contains(opened, "any token")) {
				t.Errorf("docs/api.md says that %s is opened by %s; the document says %v", name, strings.TrimSpace(opened), op.Security)
			}
		}
	}
	for name := range rows {
		t.Errorf("docs/api.md names %s, which is no route", name)
	}
}

var routeSpan = regexp.MustCompile("`(?:GET|POST|PUT|PATCH|DELETE) /[^`]*`")
