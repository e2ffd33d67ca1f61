package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/image/registry"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/policy/cel"
)

// WebhookConfig is the admission door: where it listens, how the API server finds it, and what it judges.
type WebhookConfig struct {
	// Listen is the host:port of /admit, /readyz and /healthz, over TLS. Empty is no door.
	Listen string
	// Service is NAMESPACE/NAME or NAMESPACE/NAME:PORT of the Service in front of it; URL its address where it runs outside of
	// the cluster. One of them.
	Service, URL string
	// Cert, Key and CA are files of a certificate that others issue, as cert-manager does, and of the authority that API servers
	// must trust; they are read anew when they are renewed. Empty: the door issues its own.
	Cert, Key, CA string
	// Controls are the controls that it judges: admission.Needed, admission.All, or ids with commas. Empty is admission.Needed.
	Controls string
	// Mutations is when the door fills in what is absent: MutationsAuto, MutationsAlways or MutationsNever. Empty is MutationsAuto.
	Mutations string
	// Drain is how long requests still come in after the door said that it is not ready; zero is five seconds.
	Drain time.Duration
	// Lifetime and Settle are those of admission.AuthorityConfig.
	Lifetime, Settle time.Duration
}

const (
	// drain is how long a Service may go on sending to a pod that is not ready, drained how long what is under way may take then.
	drain, drained = 5 * time.Second, 10 * time.Second
	// lull is between the last connection that is taken and the end: requests that came on it are under way by then.
	lull = 300 * time.Millisecond
	// admissionProducer is who makes records of the door's decisions.
	admissionProducer = "admission"
)

// checkWebhook finds what cannot be in the settings of the admission door.
func checkWebhook(cfg WebhookConfig) error {
	if cfg.Listen == "" {
		if cfg != (WebhookConfig{Controls: cfg.Controls, Mutations: cfg.Mutations}) {
			return errors.New("admission door: services, addresses and certificates are for an address to listen on; want that too")
		}
		return nil
	}
	_, err := admission.ParseClient(cfg.Service, cfg.URL)
	err = errors.Join(err, checkMutations(cfg.Mutations))
	files := 0
	for _, name := range []string{cfg.Cert, cfg.Key, cfg.CA} {
		if name != "" {
			files++
		}
	}
	if files != 0 && files != 3 {
		err = errors.Join(err, errors.New("admission door: want a certificate, its key and its CA, all three, or none to have it issue its own"))
	}
	return err
}

// webhook is the admission door while it runs.
type webhook struct {
	cfg        WebhookConfig
	now        func() time.Time
	log        *slog.Logger
	at         admission.Client
	catalogue  *control.Catalogue // the whole one
	metrics    *admission.Metrics
	authority  *admission.Authority // nil where files are named
	files      *certificate
	listener   net.Listener
	keep       *evidence // nil for none
	traces     *traces   // nil for none
	handler    atomic.Pointer[admission.Handler]
	fillMeters *admission.Metrics
	tags       *registry.Tags
	filler     atomic.Pointer[admission.Filler]
	pins       atomic.Pointer[admission.Filler] // of tags
	reconciler atomic.Pointer[admission.Reconciler]
	synced     atomic.Bool
	draining   atomic.Bool

	mu              sync.Mutex // guards what follows
	trusted, before []byte     // what the file of the authority holds, and what it held before
}

// openWebhook opens the door's address and has its first certificate; nil where there is none.
func openWebhook(cfg WebhookConfig, registries RegistriesConfig, now func() time.Time, cat *control.Catalogue, spans *traces, log *slog.Logger) (*webhook, error) {
	if cfg.Listen == "" {
		return nil, nil
	}
	w := &webhook{cfg: cfg, now: now, log: log, catalogue: cat, metrics: admission.NewMetrics(), fillMeters: admission.NewFillMetrics(), traces: spans}
	var err error
	if w.at, err = admission.ParseClient(cfg.Service, cfg.URL); err != nil {
		return nil, err
	}
	asks, err := openRegistries(registries, 0)
	if err != nil {
		return nil, err
	}
	w.tags = registry.NewTags(asks, now)
	if _, err := admission.Select(cat, w.which(), true); err != nil {
		return nil, err
	}
	if cfg.Cert != "" {
		if w.files, err = newCertificate(cfg.Cert, cfg.Key); err == nil {
			_, err = w.ca()
		}
	} else {
		w.authority, err = admission.NewAuthority(admission.AuthorityConfig{Names: w.at.ServerNames(), Lifetime: cfg.Lifetime, Settle: cfg.Settle, Now: now})
	}
	if err != nil {
		return nil, err
	}
	if w.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("listen for admission reviews on %s: %w", cfg.Listen, err)
	}
	return w, nil
}

func (w *webhook) which() string {
	if w.cfg.Controls == "" {
		return admission.Needed
	}
	return w.cfg.Controls
}

// ca reads the authority of the files. What the file held before is trusted too: the certificate that is shown may still be of
// that, for up to certTime.
func (w *webhook) ca() ([]byte, error) {
	text, err := readSecret(w.cfg.CA)
	if err != nil {
		return nil, fmt.Errorf("read the CA of the admission door: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read the CA of the admission door: %s holds no certificate in PEM", w.cfg.CA)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !bytes.Equal(text, w.trusted) {
		w.before, w.trusted = w.trusted, text
	}
	return slices.Concat(w.trusted, w.before), nil
}

// certificate is what tls.Config asks.
func (w *webhook) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if w.authority != nil {
		w.metrics.Expires(w.authority.Expires())
		return w.authority.GetCertificate(hello)
	}
	c, err := w.files.get(hello)
	if err == nil && c.Leaf != nil {
		w.metrics.Expires(c.Leaf.NotAfter)
	}
	return c, err
}

// setUp joins the door to a cluster: what it judges, the Guards it reads, and its registration.
func (w *webhook) setUp(mgr ctrl.Manager, accept func(*v1alpha1.Platform) (*v1alpha1.Platform, error), keep *evidence) error {
	native, err := serves(mgr.GetRESTMapper(), control.Kind{APIGroup: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicy"})
	if err != nil {
		return err
	}
	part, err := admission.Select(w.catalogue, w.which(), native)
	if err != nil {
		return err
	}
	if len(part.Controls) == 0 {
		w.log.Info("the admission door has no controls: native policies carry them all; nothing is registered")
	}
	r := &admission.Reconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Catalogue: part, At: w.at, Authority: w.authority,
		Holder: w.holder(), Able: w.able, Metrics: w.metrics, Log: w.log, Now: w.now, Accept: accept,
		Unguarded: func(ctx context.Context, p *v1alpha1.Platform) (string, error) {
			return bundle.Unguarded(ctx, mgr.GetClient(), p)
		}}
	if w.authority == nil {
		r.CA = w.ca
	}
	if w.keep = keep; keep != nil {
		r.OnGap = func(kind, name, cause string, noticed, closed time.Time) {
			keep.gap(bundle.Gap{Object: kind + "/" + name, APIVersion: "admissionregistration.k8s.io/v1", Kind: kind, Name: name,
				Cause: cause, Noticed: noticed, Closed: closed})
		}
	}
	if err := w.setUpFilling(mgr, r); err != nil {
		return err
	}
	w.reconciler.Store(r)
	err = mgr.Add(runnable(func(ctx context.Context) error {
		var group errgroup.Group
		group.Go(func() error { return w.compile(part, mgr) })
		group.Go(func() error {
			// A replica that does not lead has no reconciler that would read them.
			if _, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.Guard{}); err != nil {
				return fmt.Errorf("read the Guards: %w", err)
			}
			w.synced.Store(mgr.GetCache().WaitForCacheSync(ctx))
			return nil
		})
		return group.Wait()
	}))
	return errors.Join(err, r.SetupWithManager(mgr))
}

// runnable is a function that every replica runs.
type runnable func(context.Context) error

// Start implements manager.Runnable.
func (f runnable) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection says that each replica has a door.
func (f runnable) NeedLeaderElection() bool { return false }

// holder tells this process from other replicas: a pod's name, and the port where processes share a host.
func (w *webhook) holder() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "ringfence"
	}
	_, port, _ := net.SplitHostPort(w.listener.Addr().String())
	return strings.ToLower(name) + "-" + port
}

// compile makes the door's engine, which takes a second of a processor, beside the start of everything else.
func (w *webhook) compile(part *control.Catalogue, mgr ctrl.Manager) error {
	var sets []policy.Set
	if len(part.Controls) > 0 {
		var err error
		if sets, err = cel.Compile(part); err != nil {
			return fmt.Errorf("compile the controls of the admission door: %w", err)
		}
	}
	h, err := admission.New(admission.Config{Engine: policy.New(sets...), Groups: part.Groups(), Guards: admission.NewCached(mgr.GetClient()),
		Metrics: w.metrics, Passed: w.passed, Log: w.log, Now: w.now})
	if err == nil {
		w.handler.Store(h)
	}
	return err
}

// able is nil where a review can be decided.
func (w *webhook) able() error {
	switch {
	case w.handler.Load() == nil:
		return errors.New("the catalogue is not compiled yet")
	case !w.synced.Load():
		return errors.New("the Guards are not read yet")
	}
	return nil
}

// ready is nil where the API server should send reviews here.
func (w *webhook) ready() error {
	if w.draining.Load() {
		return errors.New("about to end")
	}
	if err := w.able(); err != nil {
		return err
	}
	if w.files != nil {
		if c, err := w.files.get(nil); err != nil || c.Leaf != nil && w.now().After(c.Leaf.NotAfter) {
			return errors.New("the certificate has expired; fix: see that it is renewed")
		}
	}
	return w.reconciler.Load().Ready() // it is there before the handler
}

// mux are the paths of the door.
func (w *webhook) mux() http.Handler {
	mux := http.NewServeMux()
	decided := func(do func(*admission.Handler, http.ResponseWriter, *http.Request)) http.HandlerFunc {
		return func(out http.ResponseWriter, r *http.Request) {
			h := w.handler.Load()
			if h == nil || !w.synced.Load() {
				http.Error(out, "Ringfence is starting and cannot decide yet; fix: try again in some seconds", http.StatusServiceUnavailable)
				return
			}
			if w.traces != nil {
				r = r.WithContext(w.traces.came(r))
			}
			do(h, out, r)
		}
	}
	mux.Handle(admission.Path, decided((*admission.Handler).ServeHTTP))
	mux.Handle(admission.CanaryPath, decided((*admission.Handler).Canary))
	mux.Handle(admission.FillPath, decided(w.fill))
	mux.Handle(admission.TagsPath, decided(w.pin))
	mux.HandleFunc("GET /readyz", func(out http.ResponseWriter, _ *http.Request) {
		if err := w.ready(); err != nil {
			http.Error(out, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(out, "ok")
	})
	mux.HandleFunc("GET /healthz", func(out http.ResponseWriter, _ *http.Request) { fmt.Fprintln(out, "ok") })
	return mux
}

// run serves until ctx ends. Then it says that it is not ready, answers what still comes for a while, and what is under way.
func (w *webhook) run(ctx context.Context) error {
	srv := &http.Server{
		Handler: w.mux(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 40 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelWarn),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: w.certificate},
		ConnState: newNewcomers(maxNewcomers).changed,
	}
	var group errgroup.Group
	failed := make(chan struct{})
	group.Go(func() error {
		defer close(failed)
		err := srv.ServeTLS(w.listener, "", "")
		if !errors.Is(err, http.ErrServerClosed) && !(w.draining.Load() && errors.Is(err, net.ErrClosed)) {
			return fmt.Errorf("serve admission reviews on %s: %w", w.listener.Addr(), err)
		}
		return nil
	})
	group.Go(func() error {
		select {
		case <-ctx.Done():
		case <-failed:
			return nil
		}
		w.draining.Store(true)
		wait := w.cfg.Drain
		if wait <= 0 {
			wait = drain
		}
		srv.SetKeepAlivesEnabled(false) // API servers are told to go to another replica with their next request
		time.Sleep(wait)
		_ = w.listener.Close()
		time.Sleep(lull) // Shutdown drops what it finds just read
		end, cancel := context.WithTimeout(context.Background(), drained)
		defer cancel()
		if err := srv.Shutdown(end); err != nil {
			return errors.Join(fmt.Errorf("end the admission door: %w", err), srv.Close())
		}
		return nil
	})
	return group.Wait()
}

// WebhookAddress is the host:port of the admission door, with the port that was taken; "" where there is none.
func (s *Server) WebhookAddress() string {
	if s.webhook == nil {
		return ""
	}
	return s.webhook.listener.Addr().String()
}
