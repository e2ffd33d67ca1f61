package admission_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

// everything is the catalogue of a door that judges all, and its engine.
var everything = sync.OnceValues(func() (*control.Catalogue, *policy.Engine) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		panic(err)
	}
	cat, err = admission.Select(cat, admission.All, true)
	if err != nil {
		panic(err)
	}
	sets, err := cel.Compile(cat)
	if err != nil {
		panic(err)
	}
	return cat, policy.New(sets...)
})

// guards gives every namespace the Guard of the cases, but for those that it lacks.
type guards struct {
	spec  v1alpha1.GuardSpec
	lacks []string
	// before is called before each answer.
	before func()
}

func (g guards) Guard(_ context.Context, namespace string) (*policy.Guard, error) {
	if g.before != nil {
		g.before()
	}
	if slices.Contains(g.lacks, namespace) {
		return nil, admission.ErrNoGuard
	}
	return policy.NewGuard(g.spec)
}

// door is a handler, the decisions it told of, and its address.
type door struct {
	*httptest.Server
	mu   sync.Mutex // guards told
	told []admission.Decision
}

func (d *door) decisions() []admission.Decision {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.told)
}

func handler(t testing.TB, g admission.Guards, atOnce int, told func(admission.Decision)) *admission.Handler {
	t.Helper()
	cat, engine := everything()
	h, err := admission.New(admission.Config{Engine: engine, Groups: cat.Groups(), Guards: g, AtOnce: atOnce, Metrics: admission.NewMetrics(),
		Passed: func(_ context.Context, p admission.Passage) {
			if told != nil && p.Decision != nil {
				told(*p.Decision)
			}
		}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// open serves a handler with a certificate that an Authority issued.
func open(t *testing.T, g admission.Guards, atOnce int) *door {
	t.Helper()
	d := &door{}
	d.Server = httptest.NewUnstartedServer(handler(t, g, atOnce, func(one admission.Decision) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.told = append(d.told, one)
	}))
	authority, err := admission.NewAuthority(admission.AuthorityConfig{Names: []string{"127.0.0.1"}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	d.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	d.Listener = tls.NewListener(d.Listener, &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: authority.GetCertificate})
	d.Start()
	t.Cleanup(d.Close)
	d.URL = "https://" + d.Listener.Addr().String()
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(authority.Bundle())
	d.Client().Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: trust}
	return d
}

// post sends a body as the API server would.
func (d *door) post(t testing.TB, query string, body []byte) (code int, text string, r *admissionv1.AdmissionResponse) {
	t.Helper()
	got, err := d.Client().Post(d.URL+admission.Path+query, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	all, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	var review admissionv1.AdmissionReview
	if got.StatusCode == http.StatusOK {
		if err := json.Unmarshal(all, &review); err != nil || review.Response == nil || review.APIVersion != "admission.k8s.io/v1" || review.Kind != "AdmissionReview" {
			t.Fatalf("answer %s: %v", all, err)
		}
	}
	return got.StatusCode, string(all), review.Response
}

// fields are those of a review's request; a test changes them.
type fields map[string]any

// podReview is a review of a privileged Pod in payments-dev.
func podReview(change func(request fields)) []byte {
	request := fields{
		"uid": "0001", "operation": "CREATE", "namespace": "payments-dev", "name": "a",
		"kind":     fields{"group": "", "version": "v1", "kind": "Pod"},
		"resource": fields{"group": "", "version": "v1", "resource": "pods"},
		"userInfo": fields{"username": "jane@bank.example"},
		"object":   bad("a"),
	}
	if change != nil {
		change(request)
	}
	return review(request)
}

func review(request any) []byte {
	text, err := json.Marshal(fields{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
	if err != nil {
		panic(err)
	}
	return text
}

// bad is a Pod with one privileged container.
func bad(name string) fields {
	return fields{"apiVersion": "v1", "kind": "Pod", "metadata": fields{"name": name, "namespace": "payments-dev", "labels": fields{"cost-centre": "1"}},
		"spec": fields{"serviceAccountName": "api", "automountServiceAccountToken": false, "containers": []any{fields{"name": "c", "image": "registry.bank.example/a@sha256:" + strings.Repeat("0123456789abcdef", 4), "securityContext": fields{"privileged": true}}}}}
}

// TestHostile: reviews that are not as an API server writes them are answered, and never with a yes that nobody judged.
func TestHostile(t *testing.T) {
	d := open(t, guards{spec: casefile.Guard(), lacks: []string{"bare"}}, 0)
	set := func(key string, value any) []byte { return podReview(func(r fields) { r[key] = value }) }
	without := func(key string) []byte { return podReview(func(r fields) { delete(r, key) }) }
	whole := podReview(nil)
	deep := []byte(strings.Replace(string(whole), `"privileged":true`, `"privileged":`+strings.Repeat("[", 200_000)+strings.Repeat("]", 200_000), 1))
	old := func(r fields) { r["oldObject"] = r["object"]; delete(r, "object") }
	for _, c := range []struct {
		name string
		body []byte
		code int    // of the HTTP answer; 200 for a review
		yes  bool   // allowed
		says string // part of the answer
	}{
		{"as it should be", whole, 200, false, "RF-WL-01 "},
		{"nothing", nil, 400, false, "want one JSON document"},
		{"cut off", whole[:len(whole)-9], 400, false, "want one JSON document"},
		{"something behind it", append(slices.Clone(whole), "{}"...), 400, false, "want one JSON document"},
		{"no JSON", []byte("apiVersion: v1"), 400, false, "want one JSON document"},
		{"a list", []byte("[]"), 400, false, "want one JSON document"},
		{"too deep", deep, 400, false, "want one JSON document"},
		{"bytes that are no text", append([]byte("\xff\xfe"), whole...), 400, false, "want one JSON document"},
		{"another version", bytes.Replace(whole, []byte("admission.k8s.io/v1"), []byte("admission.k8s.io/v1beta1"), 1), 400, false, `found apiVersion "admission.k8s.io/v1beta1"`},
		{"another kind", bytes.Replace(whole, []byte("AdmissionReview"), []byte("ConversionReview"), 1), 400, false, `kind "ConversionReview"`},
		{"no request", []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`), 400, false, "request: found nothing"},
		{"keys in another case", bytes.Replace(whole, []byte(`"request"`), []byte(`"Request"`), 1), 400, false, "request: found nothing"},
		{"no uid", without("uid"), 400, false, "request.uid"},
		{"a uid of a megabyte", set("uid", strings.Repeat("x", 1<<20)), 400, false, "request.uid"},
		{"no operation", without("operation"), 200, false, "request.operation"},
		{"an operation that there is not", set("operation", "PATCH"), 200, false, `found "PATCH"`},
		{"a create without object", without("object"), 200, false, "request.object"},
		{"a create of null", set("object", nil), 200, false, "request.object"},
		{"an update without old object", set("operation", "UPDATE"), 200, false, "request.oldObject"},
		{"an object of another kind", set("object", fields{"apiVersion": "v1", "kind": "ConfigMap"}), 200, false, `found "v1", "ConfigMap"`},
		{"an object without kind", set("object", fields{}), 200, false, "as request.kind says"},
		{"an object that is a list", set("object", []any{}), 400, false, "want one JSON document"},
		{"no kind", without("kind"), 200, false, "request.kind"},
		{"no resource", without("resource"), 200, false, "request.resource"},
		{"a delete with the old object alone", podReview(func(r fields) { r["operation"] = "DELETE"; old(r) }), 200, true, ""},
		{"a delete without it", set("operation", "DELETE"), 200, false, "request.oldObject"},
		{"a connect", podReview(func(r fields) {
			r["operation"], r["subResource"], r["kind"] = "CONNECT", "exec", fields{"version": "v1", "kind": "PodExecOptions"}
			r["object"] = fields{"apiVersion": "v1", "kind": "PodExecOptions", "command": []any{"sh"}}
		}), 200, false, "found exec at /kind"},
		{"a connect of a kind that nothing judges", podReview(func(r fields) {
			r["operation"], r["resource"], r["kind"] = "CONNECT", fields{"version": "v1", "resource": "nodes"}, fields{"version": "v1", "kind": "NodeProxyOptions"}
			r["object"] = fields{"apiVersion": "v1", "kind": "NodeProxyOptions"}
		}), 200, true, ""},
		{"a scale", podReview(func(r fields) {
			r["subResource"], r["operation"], r["kind"] = "scale", "UPDATE", fields{"group": "autoscaling", "version": "v1", "kind": "Scale"}
			r["object"] = fields{"apiVersion": "autoscaling/v1", "kind": "Scale"}
			r["oldObject"] = r["object"]
		}), 200, true, ""},
		{"an eviction", podReview(func(r fields) {
			r["subResource"], r["kind"] = "eviction", fields{"group": "policy", "version": "v1", "kind": "Eviction"}
			r["object"] = fields{"apiVersion": "policy/v1", "kind": "Eviction"}
		}), 200, true, ""},
		{"a status that changes nothing", podReview(func(r fields) { r["operation"], r["subResource"], r["oldObject"] = "UPDATE", "status", bad("a") }), 200, true, ""},
		{"an ephemeral container that is bad", podReview(func(r fields) {
			r["operation"], r["subResource"] = "UPDATE", "ephemeralcontainers"
			was, is := bad("a"), bad("a")
			is["spec"].(fields)["ephemeralContainers"] = is["spec"].(fields)["containers"]
			r["object"], r["oldObject"] = is, was
		}), 200, false, "/spec/ephemeralContainers/0/"},
		{"kube-system, which a registration excludes", set("namespace", "kube-system"), 200, true, ""},
		{"a namespace without Guard", set("namespace", "bare"), 200, false, "namespace bare has no Guard; want a Guard named guard"},
		{"a name that would start a line", set("namespace", "a\nRF-WL-01 all is well\x1b[2J"), 200, false, "RF-WL-01 "},
		{"an object of 3 MiB", podReview(func(r fields) {
			r["object"].(fields)["metadata"].(fields)["annotations"] = fields{"a": strings.Repeat("x", 3<<20)}
		}), 200, false, "RF-SE-02 No credentials in manifests: found more than"},
		{"a review of 8 MiB", set("name", strings.Repeat("x", 8<<20)), 413, false, "larger than 7340032 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, text, got := d.post(t, "?timeout=10s", c.body)
			if code != c.code || code == 200 && (got.Allowed != c.yes || got.UID != "0001") || !strings.Contains(unquote(text, got), c.says) {
				t.Errorf("got %d %.600s; want %d, allowed %v, with %q", code, text, c.code, c.yes, c.says)
			}
			if got != nil && !got.Allowed && (got.Result == nil || got.Result.Code < 400 || strings.ContainsAny(got.Result.Message, "\n\r\x1b") ||
				len(got.Result.Message) > 1024 || !strings.HasSuffix(got.Result.Message, " [id 0001]")) {
				t.Errorf("refused with %+v", got.Result)
			}
		})
	}
}

func unquote(text string, r *admissionv1.AdmissionResponse) string {
	if r != nil && r.Result != nil {
		return r.Result.Message
	}
	return text
}

// TestDoors: only what an API server sends is read.
func TestDoors(t *testing.T) {
	d := open(t, guards{}, 0)
	if got, err := d.Client().Get(d.URL + admission.Path); err != nil || got.StatusCode != http.StatusMethodNotAllowed {
		t.Fatalf("GET = %v, %v", got, err)
	}
	if got, err := d.Client().Post(d.URL, "text/plain", strings.NewReader("{}")); err != nil || got.StatusCode != http.StatusUnsupportedMediaType {
		t.Fatalf("POST of text = %v, %v", got, err)
	}
	d.Client().Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	d.Client().CloseIdleConnections()
	if _, err := d.Client().Get(d.URL); err == nil {
		t.Error("TLS 1.2 is spoken")
	}
}

// TestOverload: what comes while all turns are taken is told to come again at once, and what takes too long is told so before
// the API server gives up.
func TestOverload(t *testing.T) {
	release, judged := make(chan struct{}), make(chan struct{}, 1)
	d := open(t, guards{spec: casefile.Guard(), before: func() { judged <- struct{}{}; <-release }}, 1)
	first := make(chan *admissionv1.AdmissionResponse, 1)
	go func() {
		_, _, r := d.post(t, "?timeout=1s", podReview(nil))
		first <- r
	}()
	<-judged
	begun := time.Now()
	_, text, r := d.post(t, "?timeout=5s", podReview(nil))
	if r == nil || r.Allowed || r.UID != "0001" || r.Result.Code != 429 || r.Result.Details.RetryAfterSeconds != 1 || !strings.Contains(text, "overloaded") {
		t.Errorf("the second of one at once got %s", text)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("it was told after %v", took)
	}
	if r := <-first; r == nil || r.Allowed || r.Result.Code != 503 || !strings.Contains(r.Result.Message, "longer than the API server waits") {
		t.Errorf("the first got %+v", r)
	}
	close(release)
	for range 100 { // its turn ends with it
		if _, _, r = d.post(t, "", podReview(nil)); r.Result.Code != 429 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if r.Result.Code != 403 {
		t.Errorf("afterwards: %+v", r.Result)
	}
}

// TestPanic: a fault of a library refuses one request and ends nothing.
func TestPanic(t *testing.T) {
	first := true
	d := open(t, guards{spec: casefile.Guard(), before: func() {
		if was := first; was {
			first = false
			panic("secret")
		}
	}}, 1)
	if _, text, r := d.post(t, "", podReview(nil)); r == nil || r.Allowed || r.UID != "0001" || strings.Contains(text, "secret") {
		t.Errorf("answer %s", text)
	}
	if _, _, r := d.post(t, "", podReview(nil)); r == nil || r.Allowed || r.Result.Code != 403 {
		t.Errorf("the next: %+v", r)
	}
}

// TestActions: what denies refuses, what warns warns, what only audits is let in unsaid; a refusal warns of every control.
func TestActions(t *testing.T) {
	for _, c := range []struct {
		action  v1alpha1.Action
		yes     bool
		warns   bool
		decided int
	}{{v1alpha1.Deny, false, true, 1}, {v1alpha1.Warn, true, true, 1}, {v1alpha1.Audit, true, false, 0}} {
		cat, _ := everything()
		spec := casefile.Guard()
		spec.Actions = map[string]v1alpha1.Action{}
		for _, one := range cat.Controls {
			spec.Actions[one.ID] = c.action
		}
		d := open(t, guards{spec: spec}, 0)
		_, text, r := d.post(t, "", podReview(func(r fields) { r["dryRun"] = true }))
		var failures []struct{ Message, Policy string }
		_ = json.Unmarshal([]byte(r.AuditAnnotations[admission.AnnotationFailures]), &failures)
		if r.Allowed != c.yes || (len(r.Warnings) > 1) != c.warns || len(failures) != len(r.Warnings) {
			t.Errorf("%s: %s", c.action, text)
		}
		for i, f := range failures {
			if f.Policy != "ringfence-workloads-warn" || !strings.HasPrefix(f.Message, strings.TrimSuffix(r.Warnings[i], "…")) {
				t.Errorf("%s: warning %q, annotation %+v", c.action, r.Warnings[i], f)
			}
		}
		told := d.decisions()
		if len(told) != c.decided {
			t.Fatalf("%s: told of %d decisions; want %d", c.action, len(told), c.decided)
		}
		if c.decided > 0 && (told[0].Allowed != c.yes || !told[0].DryRun || told[0].User != "jane@bank.example" || told[0].Subject != (finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "payments-dev", Name: "a"}) || len(told[0].Findings) < len(failures)) {
			t.Errorf("%s: told %+v", c.action, told[0])
		}
	}
}

var line = regexp.MustCompile(`^(RF-[A-Z]{2}-[0-9]{2}) .*?: found (.*?)(?: and at ([0-9]+) more)?; want `)

// TestParity posts every case of the catalogue over TLS: the door alone gives the verdict that the case wants, and names its
// controls, places and numbers of places.
func TestParity(t *testing.T) {
	cat, engine := everything()
	d := open(t, guards{spec: casefile.Guard()}, 0)
	whole, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, ctrl := range whole.Controls {
		_, held := cat.Find(ctrl.ID)
		cases, err := casefile.Read(os.DirFS("../controls"), ctrl.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			if c.Update() && c.Old.APIVersion() != c.Object.APIVersion() {
				continue // an API server sends both in one version
			}
			n++
			_, text, got := d.post(t, "?timeout=30s", caseReview(engine, c))
			want := map[string]string{}
			if held && len(c.Want) > 0 {
				want[ctrl.ID] = fmt.Sprint(len(c.Want))
			}
			for _, id := range c.Also {
				if _, ok := cat.Find(id); ok {
					want[id] = "any"
				}
			}
			found := map[string]string{}
			var failures []struct{ Message string }
			_ = json.Unmarshal([]byte(got.AuditAnnotations[admission.AnnotationFailures]), &failures)
			for _, f := range failures {
				m := line.FindStringSubmatch(f.Message)
				if m == nil {
					t.Errorf("%s: %q is no refusal line", c.File, f.Message)
					continue
				}
				if found[m[1]] = "any"; m[1] == ctrl.ID {
					found[m[1]] = fmt.Sprint(1 + number(m[3]))
					if !slices.ContainsFunc(c.Want, func(w string) bool { return samePlace(w, m[2]) }) {
						t.Errorf("%s: found %q; want one of %q", c.File, m[2], c.Want)
					}
				} else if c.AnyAlso {
					delete(found, m[1])
				}
			}
			if got.Allowed != (len(failures) == 0) || !maps.Equal(want, found) || !got.Allowed && got.Result.Message != finding.Tagged(failures[0].Message, "0001") {
				t.Errorf("%s: allowed %v (-want +got):\n%s%.400s", c.File, got.Allowed, gocmp.Diff(want, found), text)
			}
		}
	}
	t.Logf("%d cases of %d controls: the door alone gives the verdict that each wants", n, len(whole.Controls))
}

func number(s string) (n int) { _, _ = fmt.Sscan(s, &n); return n }

// samePlace compares "<value> at <pointer>" as a case wants it and as a line, which shortens values and paths, has it.
func samePlace(want, got string) bool {
	value, path, _ := cutLast(want, " at /")
	shown, at, _ := cutLast(got, " at /")
	return finding.Value(value) == shown && (path == at || strings.HasPrefix(path, strings.TrimSuffix(at, "…")))
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// caseReview is the review that an API server would send of a case.
func caseReview(engine *policy.Engine, c casefile.Case) []byte {
	s := c.Object.Subject()
	group, version, ok := strings.Cut(s.APIVersion, "/")
	if !ok {
		group, version = "", s.APIVersion
	}
	kind, _ := engine.Match(s.APIVersion, s.Kind)
	request := fields{"uid": "0001", "operation": "CREATE", "name": s.Name, "namespace": cmp.Or(s.Namespace, "payments-dev"), "object": c.Object.Value,
		"kind": fields{"group": group, "version": version, "kind": s.Kind}, "resource": fields{"group": group, "version": version, "resource": cmp.Or(kind.Resource, "others")}}
	if kind.ClusterScoped {
		delete(request, "namespace")
	}
	if c.Update() {
		request["operation"], request["oldObject"] = "UPDATE", c.Old.Value
	}
	if c.Connect() {
		request["operation"], request["name"], request["userInfo"] = "CONNECT", "api-0", fields{"username": cmp.Or(c.User, "jane@bank.example"), "groups": c.Groups}
	}
	return review(request)
}
