// Package install puts Ringfence's own kinds and namespace into a cluster and waits until the kinds are served.
//
// It installs no policy (policy/bundle does), no tenant and no workload. The control plane calls it at start.
package install

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/manifest"
)

// establishTimeout is how long the API server may take to serve a new kind; it takes well under a second.
const establishTimeout = 30 * time.Second

// CRDs puts every CustomResourceDefinition in tree in place and waits until each is served. One that is as it should be
// is not written.
func CRDs(ctx context.Context, c client.Client, tree fs.FS) error {
	files, err := fs.Glob(tree, "*.yaml")
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := fs.ReadFile(tree, file)
		if err != nil {
			return err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := manifest.Decode(text, file, &crd); err != nil {
			return err
		}
		if err := put(ctx, c, &crd); err != nil {
			return fmt.Errorf("install kind %s: %w", crd.Spec.Names.Kind, err)
		}
	}
	return nil
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

func put(ctx context.Context, c client.Client, want *apiextensionsv1.CustomResourceDefinition) error {
	var have apiextensionsv1.CustomResourceDefinition
	err := c.Get(ctx, client.ObjectKeyFromObject(want), &have)
	switch {
	case apierrors.IsNotFound(err):
		err = c.Create(ctx, want.DeepCopy())
	case err == nil && !equality.Semantic.DeepDerivative(want.Spec, have.Spec):
		update := have.DeepCopy()
		update.Spec = want.Spec
		update.Spec.Conversion = have.Spec.Conversion
		err = c.Update(ctx, update)
	}
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, establishTimeout, true, func(ctx context.Context) (bool, error) {
		if err := c.Get(ctx, client.ObjectKeyFromObject(want), &have); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		for _, cond := range have.Status.Conditions {
			if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
}
