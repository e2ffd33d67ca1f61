// Package install installs Ringfence as a bank does and runs it with nothing but what was installed: the flags of the chart's Deployments, and
// the rights of its account, which must be enough and no more. At the end it is removed, and nothing may be left.
//
// What the rules refuse is the business of the other folders.
package install

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/clustertest"
)

const (
	// envServe in the environment makes this program Ringfence, of the version first or next: its arguments are those of the command.
	envServe = "RINGFENCE_TEST_SERVE"
	// envCommand makes it the command line, which nothing ends but itself.
	envCommand  = "RINGFENCE_TEST_COMMAND"
	first, next = "first", "next"
	// envEarlier names the program of an earlier release for TestUpgradeFrom, whose version is earlier.
	envEarlier = "RINGFENCE_TEST_EARLIER"
	earlier    = "earlier"
	// account is who Ringfence is.
	account = "system:serviceaccount:ringfence-system:ringfence"
	// observer is who looks where Ringfence is installed to do no more.
	observer = "system:serviceaccount:ringfence-system:ringfence-observe"
	// auditToken is what opens the door for audit events.
	auditToken = "a-token-of-the-audit-stream"
)

// auditPolicy logs every request of Ringfence's accounts before the policy of the docs, of which the head is left out.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- {level: RequestResponse, users: ["` + account + `"], verbs: [create, update, patch], resources: [{group: ringfence.dev, resources: [platforms, tenants, guards]}], omitStages: [RequestReceived, ResponseStarted]}
- {level: Metadata, users: ["` + account + `"], verbs: [watch], omitStages: [RequestReceived]}
- {level: Metadata, users: ["` + account + `", "` + observer + `"], omitStages: [RequestReceived, ResponseStarted]}
`

var (
	cluster *clustertest.Cluster
	events  = &stream{}
	audited []string // the flags of a cluster that sends them
)

func TestMain(m *testing.M) {
	if os.Getenv(envCommand) != "" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now}))
	}
	if version := os.Getenv(envServe); version != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		go func() { // ends with the test, however that does
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(3)
		}()
		env := cli.Env{Stdin: strings.NewReader(""), Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now}
		if version == next {
			env.Controls = changed()
		}
		os.Exit(cli.Main(ctx, os.Args[1:], env))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	docs, err := os.ReadFile("../../../docs/audit-policy.yaml")
	if err != nil {
		panic(err)
	}
	_, rules, _ := strings.Cut(string(docs), "\nrules:\n")
	policy := filepath.Join(dir, "audit.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy+strings.ReplaceAll(rules, "\n- level: ", "\n- omitStages: [RequestReceived, ResponseStarted]\n  level: ")), 0o600); err != nil {
		panic(err)
	}
	web := httptest.NewServer(events)
	defer web.Close()
	audited = []string{"--audit-webhook", web.URL, "--audit-policy", policy}
	return clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }, audited...)
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// event is what is read of an audit event.
type event struct {
	Stage          string                    `json:"stage"`
	Verb           string                    `json:"verb"`
	RequestURI     string                    `json:"requestURI"`
	User           struct{ Username string } `json:"user"`
	ObjectRef      *objectRef                `json:"objectRef"`
	ResponseStatus struct {
		Code    int
		Message string
	} `json:"responseStatus"`
	Annotations map[string]string `json:"annotations"`
}

type objectRef struct{ APIGroup, Resource, Subresource, Namespace, Name string }

// stream is where the API server sends audit events. It keeps those of Ringfence's accounts, and hands all on to Ringfence's door, as an
// API server would that is told its address.
type stream struct {
	to    atomic.Pointer[string] // the door; nil for none
	token atomic.Pointer[string] // what opens it; nil for auditToken

	mu   sync.Mutex // guards seen
	seen []event
}

func (s *stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	var batch struct{ Items []event }
	if err == nil {
		err = json.Unmarshal(text, &batch)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	for _, e := range batch.Items {
		if e.User.Username == account || e.User.Username == observer {
			s.seen = append(s.seen, e)
		}
	}
	s.mu.Unlock()
	to := s.to.Load()
	if to == nil {
		return
	}
	on, err := http.NewRequestWithContext(r.Context(), http.MethodPost, *to, bytes.NewReader(text))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	token := auditToken
	if other := s.token.Load(); other != nil {
		token = *other
	}
	on.Header.Set("Authorization", "Bearer "+token)
	on.Header.Set("Content-Type", "application/json")
	web := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	answer, err := web.Do(on)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	answer.Body.Close()
	w.WriteHeader(answer.StatusCode)
}

// all are the events of Ringfence's account so far.
func (s *stream) all() []event { return s.of(account) }

// of are the events of an account so far.
func (s *stream) of(who string) (all []event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.seen {
		if e.User.Username == who {
			all = append(all, e)
		}
	}
	return all
}
