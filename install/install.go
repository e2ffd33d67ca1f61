// Package install puts Ringfence's own kinds and namespace into a cluster, waits until the kinds are served, and keeps them in
// place: deleted or edited, they come back.
//
// It installs no policy (policy/bundle does), no tenant and no workload. The control plane calls it.
package install

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/manifest"
)

// establishTimeout is how long the API server may take to serve a new kind; it takes well under a second.
const establishTimeout = 30 * time.Second

// leavingTimeout is how long a kind that is being deleted is waited for. One that nothing holds goes within some seconds; a longer
// one waits for objects to be let go, which those who start after CRDs do.
const leavingTimeout = 8 * time.Second

// CRDs makes every CustomResourceDefinition in tree that is missing and waits until each is served. One that is there it leaves
// as it is: whether that is an older release's or somebody's edit is the business of Kinds, of which one writes at a time.
func CRDs(ctx context.Context, c client.Client, tree fs.FS) error {
	all, err := read(tree)
	if err != nil {
		return err
	}
	for _, crd := range all {
		if err := put(ctx, c, crd); err != nil {
			return fmt.Errorf("install kind %s: %w", crd.Spec.Names.Kind, err)
		}
	}
	return nil
}

// read reads the definitions in tree, with the defaults that the API server fills in.
func read(tree fs.FS) (all []*apiextensionsv1.CustomResourceDefinition, err error) {
	files, err := fs.Glob(tree, "*.yaml")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := fs.ReadFile(tree, file)
		if err != nil {
			return nil, err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := manifest.Decode(text, file, &crd); err != nil {
			return nil, err
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(&crd)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
		all = append(all, &crd)
	}
	return all, nil
}

// Namespace makes Ringfence's own namespace, where the Guard for what lies in no namespace is kept, if it is not there. It
// carries the Pod Security labels that every namespace must have. Policies of an earlier run judge it too, and an API
// server that was just started may not be ready to, so that refusal is tried again for establishTimeout.
func Namespace(ctx context.Context, c client.Client) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace, Labels: map[string]string{
		"pod-security.kubernetes.io/audit": "restricted", "pod-security.kubernetes.io/warn": "restricted",
	}}}
	err := c.Get(ctx, client.ObjectKeyFromObject(ns), &corev1.Namespace{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	var refusal error
	_ = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, establishTimeout, true, func(ctx context.Context) (bool, error) {
		refusal = client.IgnoreAlreadyExists(c.Create(ctx, ns.DeepCopy()))
		return !kube.NotReady(refusal), nil
	})
	if refusal != nil {
		return fmt.Errorf("make namespace %s: %w", ns.Name, refusal)
	}
	return ctx.Err()
}

// put makes a definition that is missing and waits until it is served. One that is being deleted is waited for, and made anew; where it does
// not go it is served still, and Kinds makes it anew once it is gone.
func put(ctx context.Context, c client.Client, want *apiextensionsv1.CustomResourceDefinition) error {
	var last error
	begun := time.Now()
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, establishTimeout, true, func(ctx context.Context) (bool, error) {
		var have apiextensionsv1.CustomResourceDefinition
		last = c.Get(ctx, client.ObjectKeyFromObject(want), &have)
		if apierrors.IsNotFound(last) {
			last = client.IgnoreAlreadyExists(c.Create(ctx, want.DeepCopy())) // another replica may have been faster
			return false, last
		}
		return last == nil && (established(&have) || leaving(&have) && time.Since(begun) > leavingTimeout), last
	})
	if wait.Interrupted(err) && last == nil {
		return fmt.Errorf("it is not served after %v", establishTimeout)
	}
	return err
}

// Served is nil where the cluster serves every kind that the definitions in tree define; an error of the mapper otherwise.
func Served(mapper meta.RESTMapper, tree fs.FS) error {
	all, err := read(tree)
	for _, crd := range all {
		if err == nil {
			_, err = mapper.RESTMapping(schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}, crd.Spec.Versions[0].Name)
		}
	}
	return err
}

// leaving reports whether a kind is being deleted: it is served as long as it is there, and takes no new object.
func leaving(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return crd.DeletionTimestamp != nil
}

// established reports whether the API server serves a kind, and goes on doing so.
func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return crd.DeletionTimestamp == nil && slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}
