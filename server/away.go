package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/install"
)

// awayPause is how long an API server that is away is left alone between two tries.
const awayPause = 2 * time.Second

// answered tries until the API server answers, for Ringfence may start before it. Any answer ends it, a refusal too, and so does
// a certificate that cannot be trusted: waiting mends neither.
func (s *Server) answered(ctx context.Context, try func() error) error {
	told := ""
	return wait.PollUntilContextCancel(ctx, awayPause, true, func(context.Context) (bool, error) {
		err := try()
		if err == nil || !away(err) {
			return true, err
		}
		if text := err.Error(); text != told {
			s.log.Warn("the API server does not answer; trying until it does", "every", awayPause, "err", err)
			told = text
		}
		return false, nil
	})
}

// kindsServed waits until the cluster serves Ringfence's kinds: a process that only answers makes none, and may start before the one that does.
func (s *Server) kindsServed(ctx context.Context, mapper meta.RESTMapper) error {
	told := false
	return wait.PollUntilContextCancel(ctx, awayPause, true, func(context.Context) (bool, error) {
		err := install.Served(mapper, v1alpha1.CRDs())
		if err == nil || !meta.IsNoMatchError(err) && !away(err) {
			return true, err
		}
		if !told {
			s.log.Warn("the cluster does not serve Ringfence's kinds; trying until the process that leads has made them", "every", awayPause, "err", err)
		}
		told = true
		return false, nil
	})
}

// away reports an error that says that the API server is not there, or not yet.
func away(err error) bool {
	if apierrors.ReasonForError(err) != metav1.StatusReasonUnknown {
		return apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err)
	}
	_, network := errors.AsType[net.Error](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return network && !untrusted
}
