// Package kube reaches clusters: it makes clients that know every kind Ringfence reads and writes, and knows which kinds a cluster serves.
//
// It holds no domain: what is read and written is decided by its callers, the control plane, `ringfence up` and the
// end-to-end tests.
package kube

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// Scheme is Kubernetes' own kinds, CustomResourceDefinitions and Ringfence's kinds.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// NewClient is a client with Scheme that asks the cluster at each call.
func NewClient(rest *rest.Config) (client.Client, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	c, err := client.New(rest, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster at %s: %w", rest.Host, err)
	}
	return c, nil
}

// unlimited has requests sent as they come: API servers share themselves out by priority and fairness. Without it client-go lets five a second
// through for each kind, and a change of the Platform would take minutes to reach a thousand Guards.
func unlimited(config *rest.Config, err error) (*rest.Config, error) {
	if err == nil && config.QPS == 0 {
		config.QPS = -1
	}
	return config, err
}

// Config is how to reach a cluster: that of the kubeconfig file at path, else of KUBECONFIG, else of the pod this
// process runs in.
func Config(path string) (*rest.Config, error) {
	return unlimited(from(path))
}

func from(path string) (*rest.Config, error) {
	path = cmp.Or(path, os.Getenv(clientcmd.RecommendedConfigPathEnvVar))
	if path == "" { // of which BuildConfigFromFlags would warn in a form of its own
		config, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("no kubeconfig: none is named and this is no pod; name one with --kubeconfig FILE or KUBECONFIG")
		}
		return config, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %q: %w", path, err)
	}
	return config, nil
}

// User is how to reach a cluster as the user of a kubeconfig: of the file named, else of those of KUBECONFIG, else of the user's own, else
// as the pod this process runs in; context "" is the current one. The server is asked nothing.
func User(kubeconfig, context string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath, rules.MigrationRules, rules.WarnIfAllMissing = kubeconfig, nil, false
	rules.Warner = func(error) {} // the error says it
	config, err := unlimited(clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig())
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, errors.New("no kubeconfig: found none at KUBECONFIG, in the user's .kube folder or in a pod; name one with --kubeconfig FILE")
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("kubeconfig %q: no such file; check --kubeconfig, KUBECONFIG and the files that it names", kubeconfig)
	case err != nil:
		return nil, fmt.Errorf("kubeconfig: %w; check it with: kubectl config view", err)
	}
	return config, nil
}

// NotReady reports whether err is the refusal of an API server that does not know yet the kind of a policy's parameter: for
// up to some twenty seconds after its start it refuses whatever such a policy judges.
func NotReady(err error) bool {
	return err != nil && strings.Contains(err.Error(), "failed to find resource referenced by paramKind")
}
