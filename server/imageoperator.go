package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/image/pull"
)

// operatorSender is whose the reports of the trivy-operator are; no pipeline has such a name.
const operatorSender = "cluster:trivy-operator"

// addOperator has a manager take what the trivy-operator writes, on the replica that leads.
func (s *Server) addOperator(mgr ctrl.Manager) error {
	if !s.cfg.ImageReportsOperator {
		return nil
	}
	if err := os.MkdirAll(s.cfg.ImageReports, 0o700); err != nil {
		return fmt.Errorf("make the folder of image reports: %w", err)
	}
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		reach, err := cluster.Of(mgr.GetConfig(), cluster.Config{UserAgent: "ringfence-images"})
		if err != nil {
			return fmt.Errorf("reach the cluster for the reports of the trivy-operator: %w", err)
		}
		o := operator{Server: s, said: map[string]string{}}
		pull.Follow(ctx, pull.Config{Cluster: reach}, o.take, o.failed)
		return nil
	}))
}

// operator takes the reports.
type operator struct {
	*Server
	mu   sync.Mutex // guards said
	said map[string]string
}

// failed says why nothing is heard of a kind, once for each reason.
func (o *operator) failed(kind string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if text := err.Error(); o.said[kind] != text {
		o.said[kind] = text
		o.log.Warn("reports of the trivy-operator are not taken; trying again", "kind", kind, "err", err)
	}
}

// take keeps a report. One that no scanner wrote, or of which the folder holds the same already, is done with; what the disk or
// the bounds of the folder refuse is asked for again.
func (o *operator) take(ctx context.Context, r pull.Report) error {
	sum := sha256.Sum256(r.Text)
	if _, err := os.Lstat(filepath.Join(o.cfg.ImageReports, operatorSender, hex.EncodeToString(sum[:])+".report")); err == nil {
		return nil
	}
	select {
	case o.reports.turn <- struct{}{}:
		defer func() { <-o.reports.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	_, _, err := o.reports.take(ctx, operatorSender, bytes.NewReader(r.Text))
	path, link := (*fs.PathError)(nil), (*os.LinkError)(nil)
	switch {
	case err == nil:
		o.reports.taken()
	case ctx.Err() != nil || errors.Is(err, errFull) || errors.As(err, &path) || errors.As(err, &link):
		return err
	default:
		o.log.Warn("a report of the trivy-operator is not kept", "report", r.About, "err", err)
	}
	return nil
}
