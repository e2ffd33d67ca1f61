// Package signin shows on a real API server who signs in with what `ringfence access authn` writes, and who does not.
//
// The provider is one of its own, over HTTPS on loopback: it signs what no honest provider would.
package signin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/clustertest"
)

const (
	client    = "kubectl"
	directory = "6f1f2f52-9c5b-4a44-8f3c-0d6b1c3a7e01"
)

// world is what the tests share: one API server, and the provider whose people it knows.
var world struct {
	cluster  *clustertest.Cluster
	provider *provider
	file     string // the configuration, which the API server takes up anew when it changes
	http     *http.Client
	// good of all cases went as expected.
	good, all int
}

// asProgram in the environment makes this test's program Ringfence's, for kubectl's plug-in to run.
const asProgram = "RINGFENCE_SIGNIN_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now}))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv(clustertest.EnvKubeconfig) != "" {
		return m.Run() // that cluster has a configuration of its own; the tests skip
	}
	dir, err := os.MkdirTemp("", "signin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	world.file = filepath.Join(dir, "authentication.yaml")
	if world.provider, err = newProvider(); err == nil {
		defer world.provider.listener.Close()
		err = configure("", "oidc:")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The provider is down while the API server starts.
	return clustertest.Main(m.Run, func(c *clustertest.Cluster) { world.cluster = c },
		"--nodes", "0", "--no-scheduler", "--no-controller-manager", "--apiserver-arg=--authentication-config="+world.file)
}

// configure writes the configuration as the command does.
func configure(userPrefix, groupPrefix string, flags ...string) error {
	identity := fmt.Sprintf("{issuer: %q, clientID: %s, directory: %s, userClaim: preferred_username, mfa: mfa, userPrefix: %q, groupPrefix: %q}",
		world.provider.url, client, directory, userPrefix, groupPrefix)
	return configureFor(identity, []byte(world.provider.ca), flags...)
}

// configureFor does it for any provider, by spec.identity of a Platform and the provider's CA.
func configureFor(identity string, authority []byte, flags ...string) error {
	dir := filepath.Dir(world.file)
	platform, ca := filepath.Join(dir, "platform.yaml"), filepath.Join(dir, "ca.pem")
	text := "apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata: {name: platform}\nspec:\n  identity: " + identity + "\n"
	if err := errors.Join(os.WriteFile(platform, []byte(text), 0o600), os.WriteFile(ca, authority, 0o600)); err != nil {
		return err
	}
	var out, prose bytes.Buffer
	args := append([]string{"access", "authn", "--platform", platform, "--ca", ca, "--server-version", "1.37"}, flags...)
	if code := cli.Main(context.Background(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now}); code != 0 {
		return fmt.Errorf("%v: exit code %d: %s", args, code, prose.String())
	}
	beside := world.file + ".new"
	return errors.Join(os.WriteFile(beside, out.Bytes(), 0o600), os.Rename(beside, world.file))
}

// served skips where there is no cluster.
func served(t *testing.T) {
	t.Helper()
	if world.cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	if world.http == nil {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(world.cluster.Config.CAData)
		world.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	}
}

// reply is what the API server answered.
type reply struct {
	code int
	user authenticationv1.UserInfo // of a review that succeeded
}

// whoami asks who the API server takes the bearer of a token for.
func whoami(t *testing.T, token string, headers ...string) reply {
	t.Helper()
	const review = `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`
	code, body := ask(t, http.MethodPost, "/apis/authentication.k8s.io/v1/selfsubjectreviews", review, token, headers...)
	r := reply{code: code}
	var done authenticationv1.SelfSubjectReview
	if code == http.StatusCreated {
		if err := json.Unmarshal(body, &done); err != nil {
			t.Fatal(err)
		}
		r.user = done.Status.UserInfo
	}
	return r
}

// ask sends one request. Headers are names and values in turn.
func ask(t *testing.T, method, path, body, token string, headers ...string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, world.cluster.Config.Host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Add(pair[0], pair[1])
	}
	resp, err := world.http.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}
