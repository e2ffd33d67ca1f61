package kube_test

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/kube"
)

// TestUnlimited: no request waits in the client for its turn, whether a process or a person asks.
func TestUnlimited(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\nusers: [{name: a, user: {token: t}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, read := range map[string]func() (*rest.Config, error){
		"Config": func() (*rest.Config, error) { return kube.Config(file) },
		"User":   func() (*rest.Config, error) { return kube.User(file, "") },
	} {
		config, err := read()
		if err != nil {
			t.Fatal(err)
		}
		config.GroupVersion, config.NegotiatedSerializer, config.APIPath = &corev1.SchemeGroupVersion, scheme.Codecs.WithoutConversion(), "/api"
		c, err := rest.RESTClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		if limit := c.GetRateLimiter(); limit != nil {
			t.Errorf("%s: %v requests a second for each kind", what, limit.QPS())
		}
	}
}
