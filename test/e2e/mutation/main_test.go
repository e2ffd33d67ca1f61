// Package mutation shows on a real API server what Ringfence fills in of its own accord, what it leaves alone, and that
// neither starts a rollout, hides a choice that somebody made, nor fights with those who apply manifests. It runs on the
// cluster of package clustertest.
package mutation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/server"
)

// The tenant's namespaces, and what they carry.
const (
	dev  = "payments-dev"
	cost = "cost-centre"
	snow = "bank.example/service"
)

var cluster *clustertest.Cluster

func TestMain(m *testing.M) {
	os.Exit(clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }))
}

// bed is a cluster with Ringfence, a Platform, a tenant and a custom kind.
type bed struct {
	*testing.T
	admin  client.Client
	config *rest.Config
	stop   func() // ends Ringfence
}

// newBed has the API server's own policies fill in.
func newBed(t *testing.T) *bed {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	return newBedOn(t, cluster.Config, server.Config{})
}

func newBedOn(t *testing.T, on *rest.Config, cfg server.Config) *bed {
	t.Helper()
	admin, err := kube.NewClient(on)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{T: t, admin: admin, config: on}
	_, b.stop = ringfencetest.Start(t, on, cfg, slog.LevelWarn)
	for _, text := range []string{platform, tenantPayments, widgets} {
		o := b.object(text)
		b.eventually("apply "+o.GetKind(), func() error { return client.IgnoreAlreadyExists(admin.Create(t.Context(), o.DeepCopy())) })
	}
	b.eventually("the rules to be in force", func() error { return ringfencetest.InForce(t.Context(), admin, bundle.ConditionMutated) })
	b.eventually("metadata to be copied to objects", func() error {
		o := b.object("{apiVersion: v1, kind: ConfigMap, metadata: {name: try, namespace: payments-dev}}")
		if err := admin.Create(t.Context(), o, client.DryRunAll); err != nil {
			return err
		}
		if o.GetLabels()[cost] == "" {
			return errors.New("the label is absent")
		}
		o = b.object("{apiVersion: bank.example/v1, kind: Widget, metadata: {name: try, namespace: payments-dev}}")
		if err := admin.Create(t.Context(), o, client.DryRunAll); err != nil {
			return err
		}
		return b.differs(admin.Create(t.Context(), b.with(o, cost, "0000"), client.DryRunAll))
	})
	for policy, text := range map[string]string{ // the API server takes up each by itself
		"ringfence-workloads-warn": "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: payments-dev}, spec: {hostPID: true, containers: [{name: a, image: nginx}]}}",
		"ringfence-objects-warn":   "{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: payments-dev}}",
	} {
		b.eventually(policy+" to be taken up", func() error {
			told := &warnings{}
			as := rest.CopyConfig(on)
			as.WarningHandler = told
			server, err := client.New(as, client.Options{})
			if err == nil {
				err = server.Create(t.Context(), b.object(text), client.DryRunAll)
			}
			if said := strings.Join(told.all(), " "); !strings.Contains(said, policy) {
				return fmt.Errorf("got %v with %s", err, said)
			}
			return nil
		})
	}
	return b
}

// object reads a manifest; where it names no namespace it lies in none.
func (b *bed) object(text string) *unstructured.Unstructured {
	b.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		b.Fatalf("%v in:\n%s", err, text)
	}
	return o
}

// with is a new object like o, with another name and a label.
func (b *bed) with(o *unstructured.Unstructured, label, value string) *unstructured.Unstructured {
	o = b.object(fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: %s-2, namespace: %s}}", o.GetAPIVersion(), o.GetKind(), o.GetName(), o.GetNamespace()))
	o.SetLabels(map[string]string{label: value})
	return o
}

// create creates an object of a manifest and removes it at the end of the test; o is what the server made of it.
func (b *bed) create(text string) *unstructured.Unstructured {
	b.Helper()
	o := b.object(text)
	if err := b.admin.Create(b.Context(), o); err != nil {
		b.Fatalf("create: %v\n%s", err, text)
	}
	b.Cleanup(func() {
		_ = b.admin.Delete(context.Background(), o, client.PropagationPolicy(metav1.DeletePropagationBackground))
	})
	return o
}

func (b *bed) get(o *unstructured.Unstructured) *unstructured.Unstructured {
	b.Helper()
	now := &unstructured.Unstructured{}
	now.SetGroupVersionKind(o.GroupVersionKind())
	if err := b.admin.Get(b.Context(), client.ObjectKeyFromObject(o), now); err != nil {
		b.Fatal(err)
	}
	return now
}

// patch is a merge patch.
func (b *bed) patch(o *unstructured.Unstructured, text string) error {
	return b.admin.Patch(b.Context(), o.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(text)))
}

// carries fails the test where an object lacks what it takes from its namespace.
func (b *bed) carries(o *unstructured.Unstructured) {
	b.Helper()
	if got := o.GetLabels()[cost] + " " + o.GetAnnotations()[snow]; got != "4711 SNOW-1" {
		b.Errorf("%s %s carries %q, want 4711 SNOW-1", o.GetKind(), o.GetName(), got)
	}
}

// differs is nil where err is the refusal of metadata that differs from the namespace's.
func (b *bed) differs(err error) error {
	if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "'ringfence-metadata'") && strings.Contains(err.Error(), " Required labels: found ") {
		return nil
	}
	return fmt.Errorf("got %v, want a refusal of metadata that differs", err)
}

func (b *bed) eventually(what string, try func() error) {
	b.Helper()
	ringfencetest.Eventually(b.T, what, try)
}

// list is what a namespace holds of a kind.
func (b *bed) list(apiVersion, kind, namespace string) []unstructured.Unstructured {
	b.Helper()
	l := &unstructured.UnstructuredList{}
	l.SetAPIVersion(apiVersion)
	l.SetKind(kind + "List")
	if err := b.admin.List(b.Context(), l, client.InNamespace(namespace)); err != nil {
		b.Fatal(err)
	}
	return l.Items
}

const platform = `
apiVersion: ringfence.dev/v1alpha1
kind: Platform
metadata: {name: platform}
spec:
  registries: [registry.bank.example]
  metadata: {requiredLabels: [cost-centre], copyAnnotations: [bank.example/service]}
`

const tenantPayments = `
apiVersion: ringfence.dev/v1alpha1
kind: Tenant
metadata: {name: payments}
spec:
  owner: payments-team@bank.example
  groups: {admin: payments-admins, readOnly: payments-readers}
  environments: [{name: dev}]
  labels: {cost-centre: "4711"}
  annotations: {bank.example/service: SNOW-1}
`

const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.bank.example}
spec:
  group: bank.example
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// container is one that states everything that the rules want.
const container = `
name: app
image: registry.bank.example/payments/api:1
securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 20m, memory: 16Mi, ephemeral-storage: 16Mi}}
`

// spec is a pod's that states everything.
const spec = `{automountServiceAccountToken: false, securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, containers: [CONTAINER]}`

// workload writes a manifest; SPEC in it stands for a pod's.
func workload(text, podSpec string) string {
	one, err := yaml.YAMLToJSON([]byte(container))
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, "SPEC", podSpec), "CONTAINER", string(one))
}
