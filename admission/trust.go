package admission

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// TrustName is the name of the ConfigMap, in Ringfence's own namespace, in which every replica says which authorities it needs
// API servers to trust: certificates, and never a key. All replicas make the registration of it, so that none undoes what
// another wrote.
const TrustName = "ringfence-webhook-trust"

// maxHolders is how many replicas are listed; beyond it those go first whose authorities expire first.
const maxHolders = 64

// publish lists this process's authorities beside those of the others, and returns all.
func (r *Reconciler) publish(ctx context.Context) ([]byte, error) {
	list := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: TrustName, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}}}
	// Live, and after the registration was read: a replica lists its authority here before it writes it there.
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(list), list)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return nil, fmt.Errorf("read which certificates replicas show: %w", err)
	}
	want := merge(list.Data, r.Holder, r.Authority.Bundle(), r.Now())
	if missing || !maps.Equal(want, list.Data) {
		write := list.DeepCopy()
		write.Data = want
		if missing {
			err = r.Client.Create(ctx, write)
		} else {
			err = r.Client.Update(ctx, write)
		}
		if err != nil {
			return nil, fmt.Errorf("list our certificate for the other replicas: %w", err)
		}
	}
	var all [][]byte
	for _, holder := range slices.Sorted(maps.Keys(want)) {
		all = append(all, []byte(want[holder]))
	}
	return bytes.Join(all, nil), nil
}

// merge is the list with one holder's authorities as they are now, and without what has expired or is no certificate.
func merge(list map[string]string, holder string, authorities []byte, now time.Time) map[string]string {
	out, ends := map[string]string{}, map[string]time.Time{}
	for other, text := range list {
		if live, end := valid([]byte(text), now); len(live) > 0 && other != holder {
			out[other], ends[other] = string(live), end
		}
	}
	others := slices.SortedFunc(maps.Keys(out), func(a, b string) int { return cmp.Or(ends[a].Compare(ends[b]), cmp.Compare(a, b)) })
	for _, first := range others[:max(0, len(others)-maxHolders+1)] {
		delete(out, first)
	}
	out[holder] = string(authorities)
	return out
}

// valid are the authorities among PEM blocks that have not expired, and when the last of them does.
func valid(text []byte, now time.Time) (live []byte, end time.Time) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return live, end
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil || !c.IsCA || now.After(c.NotAfter) {
			continue
		}
		live = append(live, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes})...)
		if c.NotAfter.After(end) {
			end = c.NotAfter
		}
	}
}
