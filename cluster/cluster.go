// Package cluster reads what a live cluster holds, for those who judge it: the kinds asked for, a page and an object at a time.
//
// It only ever sends GET, and every request ends: by its answer or by its deadline. It judges nothing and never asks for
// what is in a Secret. The command line and the background scan call it.
package cluster

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"ringfence.dev/ringfence/finding"
)

// ErrUnreachable means that no answer came: no connection, no trust, no end in time. To ask on is in vain.
var ErrUnreachable = errors.New("the API server cannot be reached")

// requestTimeout bounds one request with all of its answer. The API server ends its own requests after 60 s (--request-timeout).
const requestTimeout = 60 * time.Second

// maxAnswer is 32 MiB, the most that is read of an answer which is no list; maxRefusal is 1 MiB, of one that refuses.
const (
	maxAnswer  = 32 << 20
	maxRefusal = 1 << 20
)

// A server that is busy is asked again after the time it names, up to maxBusy times and maxWait each.
const (
	maxBusy = 5
	maxWait = 5 * time.Second
)

// Config says which cluster, as kubectl does.
type Config struct {
	// Kubeconfig is a file; empty means the files of KUBECONFIG, else the user's own, else the pod this process runs in.
	Kubeconfig string
	// Context is the kubeconfig's context; empty means its current one.
	Context string
	// UserAgent is how the program calls itself.
	UserAgent string
	// Timeout bounds each request; 0 means 60 s.
	Timeout time.Duration
	// Note is told what a user should know of how a list came about; nil means nobody wants to.
	Note func(text string)
}

// Cluster is an API server to ask. It is safe for many goroutines.
type Cluster struct {
	name    string
	server  string // the URL as messages show it
	base    *url.URL
	http    *http.Client
	agent   string
	timeout time.Duration
	note    func(string)
}

// Connect reads the kubeconfig; it asks the server nothing yet. A credential plugin that the kubeconfig names is run by the
// first request, as kubectl runs it.
func Connect(config Config) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath, rules.MigrationRules, rules.WarnIfAllMissing = config.Kubeconfig, nil, false
	rules.Warner = func(error) {} // the error says it
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: config.Context})
	from := "kubeconfig"
	if config.Kubeconfig != "" {
		from += " " + finding.Value(config.Kubeconfig)
	}
	how, err := loader.ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, errors.New("no kubeconfig: found none at KUBECONFIG, in the user's .kube folder or in a pod; name one with --kubeconfig FILE")
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%s: no such file; check --kubeconfig, KUBECONFIG and the files that it names", from)
	case err != nil:
		return nil, fmt.Errorf("%s: %s; check it with: kubectl config view", from, short(err.Error()))
	}
	c, err := Of(how, config)
	if err != nil {
		return nil, fmt.Errorf("%s: %s; check it with: kubectl config view", from, short(err.Error()))
	}
	if raw, err := loader.RawConfig(); err == nil {
		if context := config.Context; context != "" || raw.CurrentContext != "" {
			if context == "" {
				context = raw.CurrentContext
			}
			c.name = finding.Value(context)
		}
	}
	return c, nil
}

// Of is the cluster that a configuration of client-go reaches; of config, Kubeconfig and Context do not count.
func Of(how *rest.Config, config Config) (*Cluster, error) {
	c := &Cluster{agent: config.UserAgent, timeout: config.Timeout, note: config.Note}
	if c.timeout == 0 {
		c.timeout = requestTimeout
	}
	if c.note == nil {
		c.note = func(string) {}
	}
	how = rest.CopyConfig(how)
	how.WarningHandlerWithContext, how.Timeout = rest.NoWarnings{}, 0
	var err error
	if c.base, _, err = rest.DefaultServerUrlFor(how); err == nil {
		c.server = (&url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: c.base.Path}).String() // without a password
		c.http, err = rest.HTTPClientFor(how)
	}
	if err != nil {
		return nil, err
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // credentials stay with this server
	c.name = c.server
	return c, nil
}

// Name is the context, or the server's URL where there is none.
func (c *Cluster) Name() string { return c.name }

// refusal is an answer that is none.
type refusal struct {
	code    int
	message string
	// resume is where a list that took too long may go on, "" for nowhere.
	resume string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the API server answers %d %s: %s", r.code, http.StatusText(r.code), r.message)
}

// get asks for a path and hands the answer's body to read, all within the deadline.
func (c *Cluster) get(ctx context.Context, path string, query url.Values, accept string, read func(io.Reader) error) error {
	ask, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for busy := 0; ; busy++ {
		again, err := c.once(ask, path, query, accept, read)
		if again > 0 && busy < maxBusy {
			select {
			case <-ask.Done():
			case <-time.After(again):
				continue
			}
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case ask.Err() != nil:
			return fmt.Errorf("%w: %s gave no whole answer within %s; ask again, or look at the server's health", ErrUnreachable, c.server, c.timeout)
		}
		return err
	}
}

// once asks once. again is how long to wait before it is worth to ask again, 0 for never.
func (c *Cluster) once(ctx context.Context, path string, query url.Values, accept string, read func(io.Reader) error) (again time.Duration, err error) {
	at := c.base.JoinPath(path)
	at.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", c.server, err)
	}
	request.Header.Set("Accept", accept)
	if c.agent != "" {
		request.Header.Set("User-Agent", c.agent)
	}
	answer, err := c.do(request)
	if err != nil {
		return 0, c.unreachable(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return 0, read(answer.Body)
	}
	r := &refusal{code: answer.StatusCode, message: "without a reason"}
	var status metav1.Status
	if text, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal)); err == nil && json.Unmarshal(text, &status) == nil && status.Message != "" {
		r.message, r.resume = short(status.Message), status.Continue
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && (r.code == http.StatusTooManyRequests || r.code >= 500) {
		again = min(max(time.Duration(min(seconds, 60))*time.Second, 100*time.Millisecond), maxWait)
	}
	return again, r
}

// do is the client's Do, which ends with its context even where a credential plugin does not: that is left behind.
func (c *Cluster) do(request *http.Request) (*http.Response, error) {
	type done struct {
		answer *http.Response
		err    error
	}
	came := make(chan done, 1)
	go func() {
		answer, err := c.http.Do(request)
		came <- done{answer, err}
	}()
	select {
	case d := <-came:
		return d.answer, d.err
	case <-request.Context().Done():
		go func() { // what still comes is not left open
			if d := <-came; d.err == nil {
				_ = d.answer.Body.Close()
			}
		}()
		return nil, request.Context().Err()
	}
}

// unreachable says why no answer came and what to do.
func (c *Cluster) unreachable(err error) error {
	why, fix := short(reason(err)), "check --context, the network, and that the cluster runs"
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "connection refused"
	case errors.As(err, &unknown):
		why, fix = "its certificate is signed by nobody that the kubeconfig trusts", "check certificate-authority in the kubeconfig"
	case strings.Contains(why, "exec: ") || strings.Contains(why, "getting credentials"):
		fix = "run the credential plugin that the kubeconfig names, or log in anew"
	}
	return fmt.Errorf("%w: %s (context %s): %s; %s", ErrUnreachable, c.server, c.name, why, fix)
}

// reason is an error without the request it belongs to.
func reason(err error) string {
	if at := (*url.Error)(nil); errors.As(err, &at) {
		err = at.Err
	}
	return err.Error()
}

// short is a text from outside, fit for a line: at most 300 runes of it.
func short(text string) string {
	const most = 300
	runes := []rune(finding.Clean(strings.TrimSpace(text)))
	if len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return string(runes)
}
