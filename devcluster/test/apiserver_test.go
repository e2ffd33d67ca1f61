package test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// auditEvent is the part of an audit event that these tests look at.
type auditEvent struct {
	Stage, Level, Verb string
	User               struct{ Username string }
	ObjectRef          struct{ Resource, Name, Subresource string }
	RequestObject      json.RawMessage
	Annotations        map[string]string
}

// receiver collects audit events.
type receiver struct {
	mu     sync.Mutex // guards events
	events []auditEvent
}

func (r *receiver) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	var list struct{ Items []auditEvent }
	if json.NewDecoder(req.Body).Decode(&list) == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, list.Items...)
	}
}

// find returns the events of an object.
func (r *receiver) find(resource, name string) []auditEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []auditEvent
	for _, e := range r.events {
		if e.ObjectRef.Resource == resource && e.ObjectRef.Name == name {
			found = append(found, e)
		}
	}
	return found
}

const auditingPolicy = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-data}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  validations: [{expression: "!has(object.data)", message: no data wanted}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-data}
spec: {policyName: no-data, validationActions: [Audit]}
`

func TestAuditWebhook(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close() // the receiver is away at first: the cluster starts without it
	c := up(t, "--audit-webhook", "http://"+address+"/audit")
	c.mustKubectl("create", "configmap", "nobody-listens")
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	r := &receiver{}
	server := &http.Server{Handler: r}
	go server.Serve(l)
	defer server.Close()

	c.apply(auditingPolicy)
	const annotation = "validation.policy.admission.k8s.io/validation_failure"
	tries := 0
	eventually(t, "an event with the annotation of the policy", func() error {
		tries++
		name := fmt.Sprintf("leak-%d", tries) // the policy takes a moment to work
		if _, err := c.kubectl("create", "configmap", name, "--from-literal=a=secret"); err != nil {
			return err
		}
		for i := 1; i <= tries; i++ {
			for _, e := range r.find("configmaps", fmt.Sprintf("leak-%d", i)) {
				if strings.Contains(e.Annotations[annotation], "no data wanted") {
					return nil
				}
			}
		}
		return fmt.Errorf("none after %d config maps", tries)
	})
	c.mustKubectl("run", "door", "--image=registry.bank.example/door")
	c.mustKubectl("get", "configmaps", "-A")
	eventually(t, "an event for an attempt to enter a Pod", func() error {
		out, _ := c.kubectl("exec", "door", "--", "sh") // cannot succeed: there is no kubelet
		for _, e := range r.find("pods", "door") {
			if e.ObjectRef.Subresource == "exec" {
				return nil
			}
		}
		return fmt.Errorf("none; kubectl exec said %s", out)
	})
	server.Close() // away again: requests go on
	c.mustKubectl("create", "configmap", "after")
	c.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.ObjectRef.Subresource == "exec" {
			continue
		}
		noise := strings.Contains(" get list watch ", " "+e.Verb+" ") || strings.Contains(" events leases endpoints endpointslices ", " "+e.ObjectRef.Resource+" ")
		if noise || e.Level != "Metadata" || e.Stage != "ResponseComplete" || e.RequestObject != nil {
			t.Errorf("got event %+v, want only changes, complete, without content", e)
		}
	}
}

const authentication = `
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous: {enabled: true, conditions: [{path: /readyz}]}
`

func TestAuthenticationConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	if err := os.WriteFile(path, []byte(authentication), 0o600); err != nil {
		t.Fatal(err)
	}
	c := up(t, "--authentication-config", path, "--no-scheduler", "--no-controller-manager", "--nodes", "0")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // only the status counts here
	for url, want := range map[string]int{"/readyz": http.StatusOK, "/version": http.StatusUnauthorized} {
		resp, err := client.Get(c.Server + url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("anonymous GET %s = %d, want %d", url, resp.StatusCode, want)
		}
	}
	c.stop()
}

// A component that refuses its flags is shown with its own words, and nothing is left running.
func TestBadComponentFlag(t *testing.T) {
	tmp := t.TempDir()
	c, _ := launch(t, tmp, "--apiserver-arg=--no-such-flag")
	if code := c.end(); code != 1 || !strings.Contains(c.stderr.String(), "no-such-flag") || !strings.Contains(c.stderr.String(), "kube-apiserver ended (exit status 1)") {
		t.Errorf("exit code %d, want 1 and the words of kube-apiserver; standard error:\n%s", code, c.stderr)
	}
	kept, _ := filepath.Glob(filepath.Join(tmp, "devcluster-temp-*", "logs", "kube-apiserver.log"))
	if len(kept) != 1 || !strings.Contains(c.stderr.String(), kept[0]) {
		t.Errorf("logs kept = %v, want the one that standard error names:\n%s", kept, c.stderr)
	}
}
