// Package server wires the control plane: the reconcilers, the audit intake and the answers to questions, and nothing
// else. Every decision is made in the packages it joins.
//
// `ringfence serve` and `ringfence up` run it.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cluster/probe"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/detect/auditlog"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/otlp"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/policy/canary"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/remediate"
	"ringfence.dev/ringfence/scan"
	"ringfence.dev/ringfence/store"
	"ringfence.dev/ringfence/tenant"
)

// Config is what the control plane needs to know beside its cluster.
type Config struct {
	// AuditAddress is the loopback host:port on which the API server's audit events arrive; port 0 takes a free one.
	// Empty receives none, and findings then say that refusals are not observed.
	AuditAddress string
	// Socket is the path of the unix socket that answers /findings, /outcomes, /ledger, /evidence/status, /elevations, /metrics and /healthz. Only its owner may open it.
	// Empty answers nobody.
	Socket string
	// Evidence is the folder of the ledger, in which every refusal is kept, and of its keys; it is made where it is missing.
	// Empty keeps no evidence.
	Evidence string
	// LedgerKey is what signs the ledger: the address of an Ed25519 key in a token (pkcs11:...), or a file. Empty is ledger.key
	// in Evidence.
	LedgerKey string
	// StoreKeep is how long records of a kind are kept in the store beside the ledger; a kind that it does not name is kept for ever.
	StoreKeep store.Retention
	// Sinks are sent what the ledger holds; their cursors lie in Evidence. New takes them over, also where it fails.
	Sinks []forward.Opened
	// Witnesses are places outside to which checkpoints of the ledger are published: folder:PATH, git:PATH, git:PATH#REMOTE,
	// s3:BUCKET/PREFIX, or the address of a witness.
	Witnesses []string
	// WitnessEvery is how often they are published at most; zero is witness.DefaultEvery.
	WitnessEvery time.Duration
	// AuditFile is a file of audit events to follow, as --audit-log-path of the API server names it.
	AuditFile string
	// Listen is the host:port of the doors /audit/webhook, /audit/eks, /audit/aks, /audit/gke, /audit/lines,
	// /records/check-run and /witness/add-checkpoint; TLSCert and TLSKey are files with our certificate and its key, and are read anew when they are renewed.
	Listen, TLSCert, TLSKey string
	// AuditTokens is a file of tokens, one a line, of which whoever sends audit events must show one. AuditClientCA is a file of
	// certificates: a client with one that they signed needs no token.
	AuditTokens, AuditClientCA string
	// AuditSilence is how long the audit stream may be silent before that is recorded; zero is DefaultAuditSilence.
	AuditSilence time.Duration
	// DebugTime is how long a debug container may be in a pod until the pod is evicted; zero is remediate.DefaultDebugTime.
	DebugTime time.Duration
	// PushTokens is a file of lines of a pipeline's name and its token: who shows one may send runs of ringfence check in, and
	// nothing else.
	PushTokens string
	// MetricsTokens is a file of tokens, one a line, of which whoever scrapes /metrics of Listen must show one; empty serves no
	// metrics there.
	MetricsTokens string
	// LedgerTokens is the same for /ledger/ of Listen: entries, tiles and checkpoints, to read alone.
	LedgerTokens string
	// WitnessFor are keyrings of other ledgers whose checkpoints are witnessed here.
	WitnessFor []string
	// API is the signed-in API.
	API APIConfig
	// Webhook is the admission door.
	Webhook WebhookConfig
	// Traces say where spans of what the doors take go; the zero value sends none.
	Traces otlp.Config
	// Controls is the tree of the catalogue; nil is the one that the build embeds.
	Controls fs.FS
	// Now is the clock that ends waivers, egress and debug containers and renews certificates; nil is time.Now. What is recorded
	// carries the machine's time.
	Now func() time.Time
	// Replicas says whether others run beside this process.
	Replicas ReplicasConfig
	// NoScan has no background scan: what stands in the cluster is then not known.
	NoScan bool
	// Registries are how registries are asked what tags mean, and what signatures images bear.
	Registries RegistriesConfig
	// ImageFacts is a folder of files of kind ImageAdmission, by which images are judged; it is looked at twice a second. Empty:
	// nothing is claimed of images.
	ImageFacts string
	// ImageReports is a folder into which reports of scanners go that pipelines send to Listen. Empty: they are not taken.
	ImageReports string
	// ImageReportsOperator has the reports that the trivy-operator writes in the cluster taken into ImageReports too.
	ImageReportsOperator bool
	// ImageVerdicts has the reports in it judged, with the advisories of a file that ImageAdvisories may name, and what follows written to
	// ImageFacts, which must be writable.
	ImageVerdicts   bool
	ImageAdvisories string
	// CanaryEvery is how often objects that must be refused are tried by dry run, and CanaryAfter how long after the start the first
	// time; zero is an hour, and half a minute.
	CanaryEvery, CanaryAfter time.Duration
	// CountEvery is how often the counts of findings in the status of one Tenant are written at most; zero is tenant.DefaultCountEvery.
	CountEvery time.Duration
	// ReportEvery is how often one policy report in the cluster is written at most, where the Platform asks for them; zero is DefaultReportEvery.
	ReportEvery time.Duration
	// Leads is run while this process is the one that writes, until its context ends; nil for nothing.
	Leads func(ctx context.Context)
}

// Server is the control plane before and while it runs.
type Server struct {
	cfg       Config
	log       *slog.Logger
	catalogue *control.Catalogue
	builtIn   bool           // the catalogue is the one in this program
	findings  *record.Memory // nil where the store answers
	audit     *auditlog.Handler
	metrics   *bundle.Metrics
	traces    *traces // nil for none
	kinds     *install.Metrics
	canary    *canary.Metrics
	// verified is what verify-cluster left in the cluster; nil before it was read.
	verified atomic.Pointer[probe.Report]
	// canaryUser is who this process is to the API server, once it tries what must be refused.
	canaryUser atomic.Pointer[string]
	evidence   *evidence     // nil for none
	webhook    *webhook      // nil for none
	signatures *signatures   // nil for none
	verdicts   *verdicts     // nil for none
	reports    *imageReports // nil for none
	api        *api          // nil for none
	running    atomic.Bool
	auditURL   string
	doors      string
	listeners  []listener
	guards     atomic.Pointer[client.Reader] // nil until the cache of the cluster is there
	scan       atomic.Pointer[scan.Scan]     // nil while none runs here

	elevations atomic.Pointer[elevations] // nil until the cluster is reached
	acts       acts                       // where there is no store that could be asked

	doorMetrics *doorMetrics
	facts       facts
	images      atomic.Pointer[images] // nil where none are judged by facts, and until this process may lead
}

// New loads the catalogue and opens the listeners, so that their addresses are known before there is a cluster.
func New(cfg Config, log *slog.Logger) (*Server, error) {
	builtIn := cfg.Controls == nil
	cfg.Controls = cmp.Or[fs.FS](cfg.Controls, controls.FS)
	cat, err := control.Load(cfg.Controls)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load the catalogue: %w", err), closeSinks(cfg.Sinks))
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	places, err := check(cfg)
	if err != nil {
		return nil, errors.Join(err, closeSinks(cfg.Sinks))
	}
	sender, err := otlp.Open(cfg.Traces, log)
	if err != nil {
		return nil, errors.Join(err, closeSinks(cfg.Sinks))
	}
	s := &Server{cfg: cfg, log: log, catalogue: cat, builtIn: builtIn, metrics: bundle.NewMetrics(), traces: openTraces(sender), kinds: install.NewMetrics(), canary: &canary.Metrics{}, doorMetrics: newDoorMetrics()}
	if cfg.Evidence != "" {
		if s.evidence, err = openEvidence(cfg, places, cat.Digest, s.traces, log); err != nil {
			return nil, errors.Join(err, closeSinks(cfg.Sinks))
		}
	}
	if s.evidence == nil || s.evidence.answers.store == nil {
		s.findings = record.NewMemory(record.DefaultCapacity)
	}
	s.audit, err = auditlog.NewHandler(auditlog.Config{
		Knowledge: auditlog.Knowledge{Find: cat.Find, Action: s.action, Groups: cat.Groups()}, Sink: s.take, Now: time.Now,
	})
	if err == nil {
		s.webhook, err = openWebhook(cfg.Webhook, cfg.Registries, cfg.Now, cat, s.traces, log)
	}
	if err == nil {
		err = errors.Join(s.openVerdicts(), s.openSignatures())
		s.openReports()
	}
	if err == nil {
		err = errors.Join(s.listenAudit(cfg.AuditAddress), s.listenAPI(), s.listenSocket(cfg.Socket), s.listenDoors())
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// check finds what cannot be in a configuration, before anything is opened.
func check(cfg Config) ([]place, error) {
	places, err := parsePlaces(cfg.Witnesses)
	if cfg.Evidence == "" && len(cfg.Sinks) > 0 {
		err = errors.Join(err, errors.New("send records to sinks: want a folder for evidence too: sinks follow the ledger in it"))
	}
	if cfg.Evidence == "" && len(cfg.StoreKeep) > 0 {
		err = errors.Join(err, errors.New("keep records in the store for a time: want a folder for evidence too: the store is in it"))
	}
	if cfg.Evidence == "" && cfg.LedgerKey != "" {
		err = errors.Join(err, errors.New("sign a ledger: want a folder for evidence too: the ledger is in it"))
	}
	if cfg.Evidence == "" && len(cfg.Witnesses) > 0 {
		err = errors.Join(err, errors.New("publish checkpoints: want a folder for evidence too: they are of the ledger in it"))
	}
	if cfg.Registries.Signatures && cfg.ImageFacts == "" {
		err = errors.Join(err, errors.New("look signatures up: want a folder for image facts too: what registries show is kept in it"))
	}
	if cfg.ImageVerdicts && (cfg.ImageFacts == "" || cfg.ImageReports == "") {
		err = errors.Join(err, errors.New("judge reports on images: want a folder for image reports, and one for image facts: what follows is kept in it"))
	}
	if cfg.ImageReportsOperator && cfg.ImageReports == "" {
		err = errors.Join(err, errors.New("take the reports of the trivy-operator: want a folder for image reports too: they are kept in it"))
	}
	if cfg.ImageAdvisories != "" && !cfg.ImageVerdicts {
		err = errors.Join(err, errors.New("read advisories: nothing is judged by them; want image verdicts too"))
	}
	return places, errors.Join(err, checkDoors(cfg), checkWebhook(cfg.Webhook), checkReplicas(cfg), checkAPI(cfg))
}

// Run runs the control plane on the cluster that rest reaches until its context ends, which is no error. It installs Ringfence's
// own kinds first.
func (s *Server) Run(until context.Context, rest *rest.Config) error {
	s.running.Store(true)
	defer s.traces.run()() // to the end: what is written last is told too
	group, ctx := errgroup.WithContext(until)
	if s.evidence != nil {
		group.Go(func() error { return s.evidence.run(ctx) })
	}
	for _, l := range s.listeners {
		group.Go(func() error {
			if err := l.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		s.Close()
		return nil
	})
	if s.webhook != nil {
		group.Go(func() error { return s.webhook.run(ctx) })
	}
	group.Go(func() error { return s.reconcile(ctx, rest) })
	group.Go(func() error { return s.followFile(ctx) })
	err := group.Wait()
	if until.Err() == nil {
		return err
	}
	if err != nil {
		s.log.Error("the control plane did not end cleanly", "err", err)
	}
	return nil
}

// Close stops the listeners at once. It is safe to call more than once. The ledger is closed by Run, when what waits is
// written, and here where Run never ran.
func (s *Server) Close() {
	for _, l := range s.listeners {
		_ = l.server.Close()
		_ = l.Listener.Close()
	}
	if s.webhook != nil && !s.running.Load() {
		_ = s.webhook.listener.Close()
	}
	if s.evidence != nil && !s.running.Load() {
		_ = s.evidence.ledger.Close()
		_ = closeSinks(s.cfg.Sinks)
	}
}

// reconcile installs what is missing and runs the reconcilers.
func (s *Server) reconcile(ctx context.Context, rest *rest.Config) error {
	logger := logr.FromSlogHandler(ending{s.log.Handler(), func() bool { return ctx.Err() != nil }})
	klog.SetLogger(logger)
	ctrl.SetLogger(logger)
	c, err := kube.NewClient(rest)
	if err != nil {
		return err
	}
	if s.cfg.Replicas.WebhookOnly {
		err = s.kindsServed(ctx, c.RESTMapper())
	} else {
		err = s.answered(ctx, func() error { return s.install(ctx, c) })
	}
	if err != nil {
		return err
	}
	mgr, err := s.manager(rest, c.Scheme(), logger)
	if err != nil {
		return err
	}
	if err := mgr.Add(runnable(func(ctx context.Context) error { s.watchAudit(ctx, c); return nil })); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("run the reconcilers: %w", err)
	}
	return nil
}

// install puts Ringfence's kinds and namespace into the cluster.
func (s *Server) install(ctx context.Context, c client.Client) error {
	if err := install.CRDs(ctx, c, v1alpha1.CRDs()); err != nil {
		return err
	}
	return install.Namespace(ctx, c)
}

// manager is the reconcilers, ready to start.
func (s *Server) manager(to *rest.Config, scheme *runtime.Scheme, logger logr.Logger) (ctrl.Manager, error) {
	skip := true
	var mapper *kube.Mapper
	mgr, err := ctrl.NewManager(to, s.cfg.Replicas.elect(ctrl.Options{
		MapperProvider: func(on *rest.Config, by *http.Client) (_ meta.RESTMapper, err error) {
			mapper, err = kube.NewMapper(on, by)
			return mapper, err
		},
		Scheme: scheme, Logger: logger, Metrics: metricsserver.Options{BindAddress: "0"},
		Cache:      cache.Options{ByObject: cached()},
		Controller: config.Controller{SkipNameValidation: &skip}, // two servers may run in one test process
	}))
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	if err := mgr.Add(runnable(mapper.Start)); err != nil {
		return nil, err
	}
	reader := client.Reader(mgr.GetClient())
	s.guards.Store(&reader)
	accepted := tenant.NewAccepted(s.catalogue.Controls)
	s.openElevations(mgr, accepted)
	if s.webhook != nil {
		if err := s.webhook.setUp(mgr, accepted.Of, s.evidence); err != nil {
			return nil, fmt.Errorf("set up the admission door: %w", err)
		}
	}
	if s.cfg.Replicas.WebhookOnly {
		return mgr, nil
	}
	return mgr, s.writers(mgr, mapper, accepted)
}

// writers registers what writes to the cluster: where there are replicas, one of them runs it.
func (s *Server) writers(mgr ctrl.Manager, mapper *kube.Mapper, accepted *tenant.Accepted) error {
	facts := s.openImages()
	s.images.Store(facts)
	tenants, err := tenant.New(tenant.Config{Controls: s.catalogue.Controls, Accepted: accepted, Now: s.cfg.Now, Log: s.log, Images: facts.source(), Report: func(n tenant.Notice) {
		s.log.Warn(n.Text, "namespace", n.Namespace)
	}})
	if err == nil {
		err = errors.Join(facts.follow(mgr, tenants.ImagesChanged), s.lookOut(mgr, accepted, facts), s.assess(mgr, accepted, facts))
	}
	if err != nil {
		return err
	}
	protection, err := tenant.Protection()
	if err != nil {
		return err
	}
	bundles := &bundle.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Catalogue: s.catalogue, Compiled: s.builtIn, Beside: protection, Metrics: s.metrics, Log: s.log, Now: s.cfg.Now,
		Serves:   func(k control.Kind) (bool, error) { return serves(mapper, k) },
		NewKinds: newKinds(mapper),
		Fills:    func() (bundle.Door, error) { return fillingDoor(s.webhook, mapper) },
		Accept:   accepted.Of,
	}
	if s.evidence != nil {
		bundles.OnGap = s.evidence.gap
	}
	if err := errors.Join(tenants.SetupWithManager(mgr), bundles.SetupWithManager(mgr), s.remediate(mgr), s.quarantine(mgr), s.elevations.Load().SetupWithManager(mgr), s.keepKinds(mgr), followKinds(mgr, mapper), s.facts.watch(mgr), s.addCanary(mgr, accepted)); err != nil {
		return fmt.Errorf("set up the reconcilers: %w", err)
	}
	if err := errors.Join(s.standBy(mgr, bundles), s.addScan(mgr), s.addCounts(mgr), s.addReports(mgr), s.addVerifications(mgr), s.addOperator(mgr), s.addLeads(mgr)); err != nil {
		return err
	}
	if s.evidence == nil {
		return nil
	}
	return s.addPostures(mgr, bundles)
}

// cached limits the cache to what the reconcilers read.
func cached() map[client.Object]cache.ByObject {
	all := tenant.CacheByObject()
	all[&corev1.Pod{}] = cache.ByObject{Transform: remediate.Strip}
	all[&apiextensionsv1.CustomResourceDefinition{}] = cache.ByObject{Transform: install.Strip(v1alpha1.GroupVersion.Group)}
	return all
}

// serves reports whether the cluster serves a kind: in its version, or in any where it names none.
func serves(mapper meta.RESTMapper, k control.Kind) (bool, error) {
	var versions []string
	if k.Version != "" && k.Version != "*" {
		versions = []string{k.Version}
	}
	_, err := mapper.RESTMapping(schema.GroupKind{Group: k.APIGroup, Kind: k.Kind}, versions...)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask the cluster for %s: %w", k.Kind, err)
	}
	return true, nil
}

// action is a control's action in a namespace, "" for what lies in none, as its Guard says; "" where that is not known.
func (s *Server) action(namespace, id string) finding.Action {
	reader := s.guards.Load()
	if reader == nil {
		return ""
	}
	var guard v1alpha1.Guard
	namespace = cmp.Or(namespace, v1alpha1.SystemNamespace)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := (*reader).Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &guard, client.UnsafeDisableDeepCopy); err != nil {
		return ""
	}
	return finding.Action(guard.Spec.Actions[id])
}
