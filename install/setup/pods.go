package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// hinders is what keeps Ringfence's processes from running, as the cluster tells it: a volume that nobody makes, a pod that has no node, an
// image that does not come, a container that ends. It is nil where the cluster tells nothing of the kind.
func (i *Installer) hinders(ctx context.Context) error {
	var claims corev1.PersistentVolumeClaimList
	var pods corev1.PodList
	ours := client.MatchingLabels{labelName: Account}
	if err := errors.Join(i.client.List(ctx, &claims, client.InNamespace(v1alpha1.SystemNamespace), ours), i.client.List(ctx, &pods, client.InNamespace(v1alpha1.SystemNamespace), ours)); err != nil {
		return fmt.Errorf("look at what keeps Ringfence from running: %w", err)
	}
	for _, c := range claims.Items {
		if c.Spec.StorageClassName == nil || *c.Spec.StorageClassName == "" || c.Status.Phase == corev1.ClaimBound {
			continue
		}
		err := i.client.Get(ctx, client.ObjectKey{Name: *c.Spec.StorageClassName}, &storagev1.StorageClass{})
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("PersistentVolumeClaim %s wants the storage class %s, which this cluster does not have; fix: name one of kubectl get storageclass in evidence.storageClass, and delete the claim before you apply again",
				c.Name, *c.Spec.StorageClassName)
		}
	}
	for _, p := range pods.Items {
		if why := waits(p); why != "" {
			return fmt.Errorf("pod %s: %s", p.Name, why)
		}
	}
	return nil
}

// waits is why a pod does not run, "" where it does or does not say.
func waits(p corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		switch was := s.LastTerminationState.Terminated; {
		case s.Ready:
		case was != nil:
			return fmt.Sprintf("it ended with exit code %d; its words: kubectl -n %s logs %s --previous", was.ExitCode, p.Namespace, p.Name)
		case s.State.Waiting != nil && s.State.Waiting.Message != "":
			return s.State.Waiting.Reason + ": " + s.State.Waiting.Message
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return cmp.Or(c.Message, c.Reason)
		}
	}
	return ""
}
