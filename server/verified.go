package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cluster/probe"
	"ringfence.dev/ringfence/record"
)

const (
	// verificationProducer is whose records verifications are.
	verificationProducer = "verification"
	// verificationLook is how often the report that verify-cluster leaves is read, and verificationKept how long one look may take.
	verificationLook, verificationKept = 30 * time.Second, 30 * time.Second
)

// addVerifications has a manager read what verify-cluster left in the cluster, and record it where it is another than the last.
func (s *Server) addVerifications(mgr ctrl.Manager) error {
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		last, said := "", ""
		for ctx.Err() == nil {
			err := s.verification(ctx, mgr, &last)
			if err == nil {
				said = ""
			} else if text := err.Error(); ctx.Err() == nil && text != said {
				said = text
				s.log.Warn("what verify-cluster showed could not be read; trying again", "err", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(verificationLook):
			}
		}
		return nil
	}))
}

// verification reads the report once. last is the id of the record of the one before.
func (s *Server) verification(ctx context.Context, mgr ctrl.Manager, last *string) error {
	ctx, cancel := context.WithTimeout(ctx, verificationKept)
	defer cancel()
	var system corev1.Namespace
	var kept corev1.ConfigMap
	if err := mgr.GetClient().Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return fmt.Errorf("ask which cluster this is: %w", err)
	}
	err := mgr.GetAPIReader().Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: probe.ReportName}, &kept)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read ConfigMap %s: %w", probe.ReportName, err)
	}
	report, err := probe.Kept(string(system.UID), kept)
	if err != nil {
		s.verified.Store(nil) // what cannot be read proves nothing
		return err
	}
	s.verified.Store(report)
	if report.Verified.IsZero() || s.evidence == nil {
		return nil
	}
	told := record.Verification{Cluster: report.Cluster, Verified: report.Verified, Namespace: report.Namespace, Other: report.Other}
	for _, row := range report.Rows {
		told.Rows = append(told.Rows, record.VerificationRow{Probe: row.Probe, What: row.What, State: string(row.State), Why: row.Why})
	}
	r, err := record.Verified(told, time.Now())
	if err != nil || r.ID == *last {
		return err
	}
	if err := s.evidence.queue.Put(ctx, verificationProducer, r); err != nil && !errors.Is(err, record.ErrRejected) {
		return err
	}
	*last = r.ID
	return nil
}

// unproven says which rows of verify-cluster count for nothing at a time, "" for none.
func (s *Server) unproven(now time.Time) string {
	report := s.verified.Load()
	if report == nil {
		report = &probe.Report{Rows: probe.Rows()}
	}
	var names, broken []string
	for _, row := range report.At(now).Rows {
		switch row.State {
		case probe.Proven:
		case probe.Broken:
			broken = append(broken, row.Probe)
		default:
			names = append(names, row.Probe)
		}
	}
	var out []string
	if len(broken) > 0 {
		out = append(out, "broken on this cluster, as verify-cluster showed: "+strings.Join(broken, ", "))
	}
	if len(names) > 0 {
		out = append(out, "not proven here, what only nodes and network can show: "+strings.Join(names, ", "))
	}
	if len(out) == 0 {
		return ""
	}
	return strings.Join(out, "; ") + " (ringfence verify-cluster)"
}
