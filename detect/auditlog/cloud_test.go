package auditlog

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"ringfence.dev/ringfence/finding"
)

type decoder func(io.Reader, func(Event, error)) error

// pack compresses.
func pack(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func base(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// quote is a text as JSON.
func quote(text string) string {
	out, _ := json.Marshal(text)
	return string(out)
}

// payloadOf is what a subscription of CloudWatch Logs sends.
func payloadOf(stream string, messages ...string) string {
	var events []string
	for _, m := range messages {
		events = append(events, `{"id":"3195310660696698337880902507980421114328961542429","timestamp":1432826855000,"message":`+quote(m)+`}`)
	}
	return `{"messageType":"DATA_MESSAGE","owner":"111111111111","logGroup":"/aws/eks/prod/cluster","logStream":"` + stream +
		`","subscriptionFilters":["ringfence"],"logEvents":[` + strings.Join(events, ",") + `]}`
}

const (
	stream  = "kube-apiserver-audit-0123456789abcdef"
	probe   = `{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"","subscriptionFilters":[],"logEvents":[{"id":"","timestamp":1432826855000,"message":"CWL CONTROL MESSAGE: Checking health of destination Kinesis stream."}]}`
	gkeGood = `{"protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","serviceName":"k8s.io","methodName":"io.k8s.core.v1.pods.create","resourceName":"core/v1/namespaces/default/pods/nginx"},` +
		`"insertId":"5a3a3498","timestamp":"2026-11-21T02:00:00.5Z"}`
)

// aks is a record of a diagnostic setting.
func aks(category, event string) string {
	return `{"operationName":"Microsoft.ContainerService/managedClusters/diagnosticLogs/Read","category":"` + category + `","ccpNamespace":"5e8b","resourceId":"/SUBSCRIPTIONS/X",` +
		`"properties":{"log":` + quote(event+"\n") + `,"stream":"stdout","pod":"kube-apiserver-7f9c","containerID":"c0ffee"},"time":"2026-11-21T02:00:00Z"}`
}

// TestDecoders: every documented form, what is passed over, what is malformed, and what is refused.
func TestDecoders(t *testing.T) {
	a, b := plain("a", noon), plain("b", noon)
	two := payloadOf(stream, a, b)
	for name, test := range map[string]struct {
		decode    decoder
		body      string
		good, bad int
		want      error
	}{
		"eks payload":             {DecodeEKS, two, 2, 0, nil},
		"eks packed":              {DecodeEKS, pack(t, two), 2, 0, nil},
		"eks lambda":              {DecodeEKS, `{"awslogs":{"data":"` + base(pack(t, two)) + `"}}`, 2, 0, nil},
		"eks kinesis":             {DecodeEKS, `{"Records":[{"kinesis":{"data":"` + base(pack(t, two)) + `"}},{"kinesis":{"data":"` + base(pack(t, probe)) + `"}}]}`, 2, 0, nil},
		"eks firehose":            {DecodeEKS, `{"requestId":"r","timestamp":1,"records":[{"data":"` + base(pack(t, two)) + `"},{"data":"` + base(two+two) + `"}]}`, 6, 0, nil},
		"eks firehose, extracted": {DecodeEKS, `{"requestId":"r","records":[{"data":"` + base(`{"kind":"Event",`+a[1:]+"\n"+`{"kind":"Event",`+b[1:]) + `"}]}`, 2, 0, nil},
		"eks filter-log-events":   {DecodeEKS, `{"events":[{"logStreamName":"` + stream + `","message":` + quote(a) + `},{"logStreamName":"authenticator-1","message":"x"}],"searchedLogStreams":[]}`, 1, 0, nil},
		"eks other stream":        {DecodeEKS, payloadOf("kube-apiserver-0123", "I1121 not audit"), 0, 0, nil},
		"eks control":             {DecodeEKS, probe, 0, 0, nil},
		"eks malformed":           {DecodeEKS, payloadOf(stream, a, a[:20], "", "null"), 1, 3, nil},
		"eks not this":            {DecodeEKS, listOf(a), 0, 0, ErrNotEnvelope},
		"eks empty":               {DecodeEKS, "", 0, 0, ErrNotEnvelope},
		"eks half packed":         {DecodeEKS, pack(t, two)[:40], 0, 0, ErrNotEnvelope},
		"eks bad base64":          {DecodeEKS, `{"awslogs":{"data":"%"}}`, 0, 0, ErrNotEnvelope},
		"eks bomb":                {DecodeEKS, pack(t, strings.Repeat(" ", MaxBatch+1)), 0, 0, ErrTooLarge},
		"eks bomb of parts":       {DecodeEKS, `{"records":[` + strings.TrimSuffix(strings.Repeat(`{"data":"`+base(pack(t, probe+strings.Repeat(" ", MaxBatch-len(probe))))+`"},`, 5), ",") + `]}`, 0, 0, ErrTooLarge},
		"eks too large":           {DecodeEKS, strings.Repeat(" ", MaxBatch+1), 0, 0, ErrTooLarge},
		"eks deep":                {DecodeEKS, strings.Repeat("[", 100_000), 0, 0, ErrNotEnvelope},
		"aks records":             {DecodeAKS, `{"records":[` + aks("kube-audit", a) + "," + aks("kube-audit-admin", b) + "," + aks("kube-scheduler", "x") + `]}`, 2, 0, nil},
		"aks list":                {DecodeAKS, `[{"records":[` + aks("kube-audit", a) + `]},{"records":[]}]`, 1, 0, nil},
		"aks lines":               {DecodeAKS, aks("kube-audit", a) + "\n" + aks("guard", "x") + "\n", 1, 0, nil},
		"aks malformed":           {DecodeAKS, `{"records":[` + aks("kube-audit", a[:9]) + `,7,` + aks("kube-audit", a) + `]}`, 1, 2, nil},
		"aks not this":            {DecodeAKS, listOf(a), 0, 0, ErrNotEnvelope},
		"aks half":                {DecodeAKS, `{"records":[` + aks("kube-audit", a), 0, 0, ErrNotEnvelope},
		"aks too large":           {DecodeAKS, `{"records":[]}` + strings.Repeat(" ", MaxBatch), 0, 0, ErrTooLarge},
		"gke entry":               {DecodeGKE, gkeGood, 1, 0, nil},
		"gke list":                {DecodeGKE, "[" + gkeGood + "," + gkeGood + "]", 2, 0, nil},
		"gke lines":               {DecodeGKE, gkeGood + "\n" + gkeGood, 2, 0, nil},
		"gke entries":             {DecodeGKE, `{"entries":[` + gkeGood + `,{"insertId":"x","textPayload":"hello"}]}`, 1, 0, nil},
		"gke push":                {DecodeGKE, `{"message":{"attributes":{},"data":"` + base(gkeGood) + `","messageId":"1"},"subscription":"projects/p/subscriptions/s"}`, 1, 0, nil},
		"gke other service":       {DecodeGKE, strings.Replace(gkeGood, "k8s.io", "iam.googleapis.com", 1), 0, 0, nil},
		"gke malformed":           {DecodeGKE, "[" + strings.Replace(gkeGood, "2026-11-21", "yesterday", 1) + "," + strings.Replace(gkeGood, `,"timestamp"`, `,"x"`, 1) + "]", 0, 2, nil},
		"gke not this":            {DecodeGKE, a, 0, 0, ErrNotEnvelope},
		"gke bad base64":          {DecodeGKE, `{"message":{"data":"%"}}`, 0, 0, ErrNotEnvelope},
		"lines":                   {DecodeLines, a + "\n\nx\n" + b, 2, 1, nil},
		"lines of an export":      {DecodeLines, "2026-11-21T02:00:00.000Z " + a + "\n", 1, 0, nil},
		"lines too large":         {DecodeLines, a + "\n" + strings.Repeat(" ", MaxBatch), 1, 0, ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			var good, bad int
			err := test.decode(strings.NewReader(test.body), func(_ Event, err error) {
				if err != nil {
					bad++
				} else {
					good++
				}
			})
			if good != test.good || bad != test.bad || !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("%d events, %d malformed, %v; want %d, %d, %v", good, bad, err, test.good, test.bad, test.want)
			}
		})
	}
}

// TestGKERefusal: a native refusal by way of Cloud Logging, with the annotation in labels and without. The shape of the
// entry is that of a published one of a refused pod.
func TestGKERefusal(t *testing.T) {
	var list struct {
		Items []Event `json:"items"`
	}
	if err := json.Unmarshal(read(t, "refused.json"), &list); err != nil {
		t.Fatal(err)
	}
	var e Event
	for _, e = range list.Items {
		if e.ResponseStatus != nil && e.ResponseStatus.Code >= 400 {
			break
		}
	}
	labels, _ := json.Marshal(e.Annotations)
	entry := `{"insertId":"i","operation":{"id":"` + e.AuditID + `","producer":"k8s.io","first":true,"last":true},"timestamp":"` + e.StageTimestamp.Format(time.RFC3339Nano) + `","labels":` + string(labels) +
		`,"protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","serviceName":"k8s.io","methodName":"io.k8s.core.v1.` + e.ObjectRef.Resource + `.create",` +
		`"resourceName":"core/v1/namespaces/` + e.ObjectRef.Namespace + `/` + e.ObjectRef.Resource + `/` + e.ObjectRef.Name + `","authenticationInfo":{"principalEmail":` + quote(e.User.Username) + `},` +
		`"status":{"code":3,"message":` + quote(e.ResponseStatus.Message) + `},"response":{"@type":"core.k8s.io/v1.Status","kind":"Status","code":422,"message":` + quote(e.ResponseStatus.Message) + `}}}`
	want := Findings(e, Knowledge{Find: catalogue(t), Action: guards})
	if len(want) == 0 {
		t.Fatal("the captured event has no findings")
	}
	var got []finding.Finding
	take := func(e Event, err error) {
		if err != nil {
			t.Error(err)
		}
		got = Findings(e, Knowledge{Find: catalogue(t), Action: guards})
	}
	if err := DecodeGKE(strings.NewReader(entry), take); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		// GKE has no time of receipt and nobody's name but the principal's.
		got[i].Observed.Time, want[i].Observed.Time, want[i].Observed.ImpersonatedUser = time.Time{}, time.Time{}, ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("with labels (-API server +GKE):\n%s", diff)
	}
	if err := DecodeGKE(strings.NewReader(strings.Replace(entry, annotation, "other", 1)), take); err != nil || len(got) != 1 || got[0].Outcome != finding.Fail || got[0].Action != finding.Deny {
		t.Errorf("without labels: %v, %+v, want the control that the refusal names", err, got)
	}
}

// TestObjectOf: resource names as GKE writes them.
func TestObjectOf(t *testing.T) {
	for name, want := range map[string]*ObjectRef{
		"core/v1/namespaces/default/pods/nginx":         {Resource: "pods", Namespace: "default", Name: "nginx", APIVersion: "v1"},
		"core/v1/namespaces/default/pods/nginx/exec":    {Resource: "pods", Namespace: "default", Name: "nginx", Subresource: "exec", APIVersion: "v1"},
		"apps/v1/namespaces/default/deployments":        {Resource: "deployments", Namespace: "default", APIGroup: "apps", APIVersion: "v1"},
		"core/v1/namespaces/default":                    {Resource: "namespaces", Namespace: "default", Name: "default", APIVersion: "v1"},
		"core/v1/nodes/n1":                              {Resource: "nodes", Name: "n1", APIVersion: "v1"},
		"rbac.authorization.k8s.io/v1/clusterroles/adm": {Resource: "clusterroles", Name: "adm", APIGroup: "rbac.authorization.k8s.io", APIVersion: "v1"},
		"core/v1": nil, "": nil,
	} {
		if diff := cmp.Diff(want, objectOf(name)); diff != "" {
			t.Errorf("objectOf(%q) (-want +got):\n%s", name, diff)
		}
	}
}

// TestDoor: through HTTP: compressed bodies, the Firehose's answer, one event by two doors counts once, and refusals.
func TestDoor(t *testing.T) {
	h, _ := handler(t)
	now := "2026-11-21T02:29:00Z"
	send := func(door http.Handler, body string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		return w
	}
	eks, lines := h.Door("eks", DecodeEKS), h.Door("lines", DecodeLines)
	if n := post(h, []byte(listOf(plain("a", now)))); n != 200 {
		t.Fatalf("webhook = %d", n)
	}
	fire := `{"requestId":"guid-1","timestamp":1,"records":[{"data":"` + base(pack(t, payloadOf(stream, plain("a", now), plain("b", now)))) + `"}]}`
	w := send(eks, pack(t, fire), "Content-Encoding", "gzip", "X-Amz-Firehose-Request-Id", "guid-1")
	if w.Code != 200 || w.Body.String() != `{"requestId":"guid-1","timestamp":1795228200000}`+"\n" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("Firehose = %d %s", w.Code, w.Body)
	}
	if s := h.Stats(); s.Events != 2 || s.Duplicates != 1 || s.Lateness != time.Minute {
		t.Errorf("Stats = %+v", s)
	}
	if w := send(eks, "nonsense", "X-Amz-Firehose-Request-Id", "guid-2"); w.Code != 400 || !strings.Contains(w.Body.String(), `"requestId":"guid-2"`) || !strings.Contains(w.Body.String(), `"errorMessage":`) {
		t.Errorf("Firehose = %d %s", w.Code, w.Body)
	}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"415": send(lines, "", "Content-Type", "text/plain"), "415 ": send(lines, "", "Content-Encoding", "br"), "400": send(lines, "x", "Content-Encoding", "gzip"),
		"413": send(lines, pack(t, strings.Repeat(" ", MaxBatch+1)), "Content-Encoding", "gzip"), "200": send(lines, pack(t, plain("c", now)), "Content-Encoding", "gzip"),
	} {
		if got := http.StatusText(w.Code); got == "" || strings.TrimSpace(name) != strings.Fields(w.Result().Status)[0] {
			t.Errorf("status %s, want %s: %s", w.Result().Status, name, w.Body)
		}
	}
}

// TestMetrics: before the first event there is no time of the last: not observed is not 0.
func TestMetrics(t *testing.T) {
	h, _ := handler(t)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewMetrics(h))
	names := func() string {
		all, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, one := range all {
			out = append(out, strings.TrimPrefix(one.GetName(), "ringfence_audit_"))
		}
		return strings.Join(out, " ")
	}
	const always = "broken_batches_total duplicates_total events_total gaps_total"
	if got := names(); got != always+" malformed_total unkept_batches_total" {
		t.Errorf("before the first event: %s", got)
	}
	post(h, []byte(listOf(plain("a", "2026-11-21T02:29:00Z"))))
	if got := names(); got != always+" last_event_timestamp_seconds lateness_seconds malformed_total unkept_batches_total" {
		t.Errorf("after it: %s", got)
	}
}

// FuzzDecoders: no bytes make a decoder panic, and an event that it hands on is whole.
func FuzzDecoders(f *testing.F) {
	a := plain("a", noon)
	for _, seed := range []string{
		payloadOf(stream, a), pack(f, payloadOf(stream, a)), `{"awslogs":{"data":"` + base(pack(f, payloadOf(stream, a))) + `"}}`, `{"records":[` + aks("kube-audit", a) + `]}`,
		gkeGood, `{"message":{"data":"` + base(gkeGood) + `"}}`, a, listOf(a), `{"records":null}`, `[null]`, `{"records":[null],"entries":[null],"message":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, decode := range []decoder{Decode, DecodeEKS, DecodeAKS, DecodeGKE, DecodeLines} {
			err := decode(bytes.NewReader(body), func(e Event, err error) {
				if err == nil && (e.AuditID == "" || e.Stage == "" || e.StageTimestamp.IsZero()) {
					t.Errorf("an event without id, stage or time: %+v", e)
				}
				if err == nil {
					Findings(e, Knowledge{})
				}
			})
			if err != nil && !errors.Is(err, ErrNotEnvelope) && !errors.Is(err, ErrNotEventList) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("error %v", err)
			}
		}
	})
}
