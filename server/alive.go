package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/record"
)

const (
	// DefaultAuditSilence is how long the audit stream may be silent before that is recorded.
	DefaultAuditSilence = 5 * time.Minute
	// callEvery is how often at most the control plane makes a request of its own, so that a cluster in which nothing happens
	// is told from an audit stream that has broken off.
	callEvery = time.Minute
)

// auditCursor is where it is kept how far a file of audit events was read.
func auditCursor(evidence string) string { return filepath.Join(evidence, "audit-file.cursor") }

// watchAudit promises that the audit stream will be heard, and calls into it until ctx ends.
func (s *Server) watchAudit(ctx context.Context, c client.Client) {
	if s.evidence == nil || s.cfg.AuditAddress == "" && s.cfg.Listen == "" && s.cfg.AuditFile == "" {
		return
	}
	silence := s.cfg.AuditSilence
	if silence <= 0 {
		silence = DefaultAuditSilence
	}
	s.evidence.queue.Promise(auditProducer, silence)
	tick := time.NewTicker(min(callEvery, silence/5))
	defer tick.Stop()
	for {
		call(ctx, c)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// call makes a request that changes nothing and that the audit policy logs, whatever comes of it.
func call(ctx context.Context, c client.Client) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	o := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "ringfence-heartbeat"}}
	_ = c.Create(ctx, o, client.DryRunAll) // a refusal is an event too
}

// recordCatalogue records that another catalogue is in force than when this ran last. What was recorded is kept in a file.
func (e *evidence) recordCatalogue(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "catalogue")
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read which catalogue was in force: %w", err)
	}
	before := strings.TrimSpace(string(text))
	if before == e.catalogue {
		return nil
	}
	r, err := record.CatalogueChange(before, e.catalogue, time.Now())
	if err != nil {
		return err
	}
	if err := e.queue.Put(ctx, catalogueProducer, r); err != nil {
		return err
	}
	return durable.Replace(path, []byte(e.catalogue+"\n"), 0o640)
}
