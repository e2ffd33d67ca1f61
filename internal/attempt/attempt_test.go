package attempt

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func tree(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

// TestOutcome: answers as API servers give them.
func TestOutcome(t *testing.T) {
	status := func(message string) string {
		return fmt.Sprintf(`{"kind":"Status","message":%q,"reason":"Forbidden"}`, message)
	}
	for _, tc := range []struct {
		code int
		body string
		want string
	}{
		{200, `{"kind":"PodList"}`, LetIn},
		{201, `{"message":"denied request: RF-WL-01 x"}`, LetIn},
		{401, status("Unauthorized"), Stranger},
		{404, status(`pods "x" not found`), Absent},
		{422, status("Pod is invalid"), Invalid},
		{403, status(`secrets is forbidden: User "oidc:abe" cannot list resource "secrets" in API group "" in the namespace "b"`), Rights},
		{403, status(`roles "x" is forbidden: user "a" (groups=["b"]) is attempting to grant RBAC permissions not currently held`), Rights},
		{403, status(`pods "x" is forbidden: ValidatingAdmissionPolicy 'ringfence-workloads-deny' with binding 'ringfence-workloads-deny' denied request: RF-WL-01 No privileged containers: found`), "RF-WL-01"},
		{403, status(`guards "x" is forbidden: ValidatingAdmissionPolicy 'ringfence-protected' with binding 'ringfence-protected' denied request: Guards are`), "ringfence-protected"},
		{403, status(`pods "x" is forbidden: no PriorityClass with name y was found`), Kubernetes},
		{500, status("it broke"), Kubernetes},
	} {
		if got := (Answer{Status: tc.code, Body: tc.body}).Outcome(); got != tc.want {
			t.Errorf("%d %s: %s, want %s", tc.code, tc.body, got, tc.want)
		}
	}
}

// TestReadFaults: every mistake of a file is named.
func TestReadFaults(t *testing.T) {
	_, err := Read(tree(map[string]string{
		"a.yaml":   "send: GET /\nwant: let in\n",
		"b.yaml":   "# b\nas: nobody\nsend: get /\nwant: rbac\nbecause: x\n---\nsend: GET /\nas: me\n---\nsend: GET /\nwant: rbac\nonto: gone\n",
		"c.yaml":   "# c\nas: me\nsned: GET /\n",
		"notes.md": "hello",
	}), "me")
	for _, want := range []string{"a.yaml, document 1: want a first line", "a.yaml, document 1: as", "a.yaml, document 1: because", "b.yaml, document 1: as", "b.yaml, document 1: send",
		"b.yaml, document 1: because", "b.yaml, document 2: want", "b.yaml, document 3: onto", "c.yaml, document 1: ", "notes.md"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("faults %v; want %q among them", err, want)
		}
	}
	if _, err := Read(tree(nil)); err == nil {
		t.Error("no attempt is no error")
	}
}

// TestMake: steps are sent in order, as whom the file says, with the body laid over its base; what is not as wanted is a fault.
func TestMake(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, fmt.Sprintf("%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Content-Type"), body))
		if r.Method == http.MethodPatch {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, "jewel")
	}))
	defer server.Close()
	all, err := Read(tree(map[string]string{
		"bases/pod.yaml": "kind: Pod\nspec: {a: 1, b: 2, list: [{c: 1, d: 1}]}\n",
		"one.yaml": "# One.\nas: me\nsend: POST /x?y=z\nonto: pod\nbody: {spec: {b: null, list: [{d: 2}, {e: 3}]}}\nwant: let in\nbecause: it is mine\nhides: [gold]\n" +
			"---\nsend: PATCH /a/../b%2Fc\nbody: {}\nwant: rbac\nhides: [jewel]\n",
	}), "me")
	if err != nil {
		t.Fatal(err)
	}
	rows := Make(context.Background(), all, map[string]Sender{"me": {Host: server.URL, Client: server.Client()}}, 4)
	want := []string{`POST /x?y=z application/json {"kind":"Pod","spec":{"a":1,"list":[{"c":1,"d":2},{"e":3}]}}`, `PATCH /a/../b%2Fc application/merge-patch+json {}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if len(rows) != 2 || rows[0].Fault != nil || rows[1].Fault == nil || !strings.Contains(rows[1].Fault.Error(), `it shows "jewel"`) {
		t.Errorf("rows %+v; want the second at fault, in both ways", rows)
	}
	if got, want := Tally(rows), "absent 1, let in 1"; got != want {
		t.Errorf("tally %q, want %q", got, want)
	}
}
