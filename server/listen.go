package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"ringfence.dev/ringfence/detect/auditlog"
	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/scan"
)

// maxSocketPath is what the kernel allows (sun_path of unix(7) less its closing byte).
const maxSocketPath = 107

type listener struct {
	net.Listener
	server *http.Server
}

// AuditURL is where the API server is to send audit events, or "". It holds a random path that only the API server is
// told, because its audit backend proves itself in no other way; it must not be logged.
func (s *Server) AuditURL() string { return s.auditURL }

func (s *Server) listenAudit(address string) error {
	if address == "" {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen for audit events on %s: %w", address, err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		l.Close()
		return fmt.Errorf("listen for audit events on %s: want a loopback address", address)
	}
	path := "/audit/" + rand.Text()
	s.auditURL = "http://" + l.Addr().String() + path
	mux := http.NewServeMux()
	mux.Handle(path, s.taken("audit-webhook", s.audit))
	s.serve(l, mux)
	return nil
}

func (s *Server) listenSocket(path string) error {
	if path == "" {
		return nil
	}
	if len(path) > maxSocketPath {
		return fmt.Errorf("the socket path %s is longer than %d bytes, which the kernel does not allow; choose a shorter directory", path, maxSocketPath)
	}
	if err := removeSocket(path); err != nil { // left behind by a process that was killed
		return fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("close the socket to others: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /findings", s.doorMetrics.measured("findings", record.Handler(s.asked(), time.Now)))
	mux.Handle("GET /outcomes", s.doorMetrics.measured("outcomes", http.HandlerFunc(s.outcomes)))
	mux.Handle("GET /metrics", s.doorMetrics.measured("metrics", s.metricsHandler()))
	if s.evidence != nil {
		mux.Handle("GET /evidence/status", s.doorMetrics.measured("status", http.HandlerFunc(s.evidence.status)))
		mux.Handle("GET /ledger/", s.doorMetrics.measured("ledger", http.StripPrefix("/ledger", ledger.Handler(s.evidence.ledger))))
	}
	mux.Handle("POST /elevations/{namespace}/{name}/token", s.doorMetrics.measured("elevation-token", http.HandlerFunc(s.elevationToken)))
	mux.Handle("GET /elevations/{namespace}/{name}/acts", s.doorMetrics.measured("elevation-acts", http.HandlerFunc(s.elevationActs)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	s.serve(l, mux)
	return nil
}

// removeSocket removes a socket where there is one, and never anything else: a path that was mistyped may be that of a file.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is there and is no socket; fix: name another path, or move it away", path)
	}
	return os.Remove(path)
}

// metricsHandler answers with the metrics of all that this process does.
func (s *Server) metricsHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(scan.NewMetrics(s.scan.Load, s.severity), s.metrics, s.kinds, s.canary, objectMetrics{s.known}, auditlog.NewMetrics(s.audit), s.doorMetrics, factMetrics{s}, suspensionMetrics{s}, elevationMetrics{s}, forecastMetrics{s})
	if s.traces != nil {
		registry.MustRegister(s.traces.sender)
	}
	if s.webhook != nil {
		registry.MustRegister(s.webhook.metrics, s.webhook.fillMeters)
	}
	if s.signatures != nil {
		registry.MustRegister(s.signatures)
	}
	if s.verdicts != nil {
		registry.MustRegister(s.verdicts)
	}
	if s.api != nil {
		registry.MustRegister(s.api.portal)
	}
	if s.evidence != nil {
		registry.MustRegister(s.evidence.queue, s.evidence.appends, s.evidence.publisher, storeMetrics{s.evidence}, forward.NewMetrics(s.evidence.sinks.followers...))
	}
	return promhttp.HandlerFor(prometheus.Gatherers{ctrlmetrics.Registry, registry}, promhttp.HandlerOpts{})
}

func (s *Server) serve(l net.Listener, h http.Handler) {
	s.listeners = append(s.listeners, listener{l, &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ConnState: newNewcomers(maxNewcomers).changed,
	}})
}
