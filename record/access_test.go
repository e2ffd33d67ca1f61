package record_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/record"
)

// TestAccess: every act keeps to the schema and names nobody; what is none is refused.
func TestAccess(t *testing.T) {
	at, key := time.Date(2026, 11, 21, 10, 0, 0, 5, time.UTC), []byte("key")
	schema, _ := record.KindSchema("access.v1")
	compiled := compileKind(t, "access.v1", schema)
	ids := map[string]bool{}
	for _, a := range []record.Accessed{
		{What: record.AccessSignedIn, ID: "0123456789abcdef"}, {What: record.AccessSignedOut, ID: "0123456789abcdef"}, {What: record.AccessSessionRevoked, ID: "0123456789abcdef"},
		{What: record.AccessTokenMade, ID: "t", Name: "ci", Scopes: []string{"push:runs"}, Expires: at.Add(time.Hour), MFA: true}, {What: record.AccessTokenRevoked, ID: "t"},
		{What: record.AccessRevoked, Of: "oidc:eve"}, {What: record.AccessElevationToken, Name: "payments-prod/night", Expires: at.Add(time.Hour)},
	} {
		a.By, a.At = "oidc:erin", at
		r, err := record.Access(a, key)
		if err != nil {
			t.Fatal(err)
		}
		var body any
		if err := json.Unmarshal(r.Body, &body); err != nil {
			t.Fatal(err)
		}
		if err := compiled.Validate(body); err != nil || strings.Contains(string(r.Body), "erin") || strings.Contains(string(r.Body), "eve") {
			t.Errorf("%s: %s, %v", a.What, r.Body, err)
		}
		ids[r.ID] = true
	}
	if len(ids) != 7 {
		t.Errorf("%d ids", len(ids))
	}
	for _, a := range []record.Accessed{{What: "guessed", By: "a", At: at}, {What: record.AccessSignedIn, At: at}, {What: record.AccessSignedIn, By: "a"}} {
		if _, err := record.Access(a, key); err == nil {
			t.Errorf("%+v is recorded", a)
		}
	}
}
