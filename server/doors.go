package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"ringfence.dev/ringfence/detect/auditlog"
	"ringfence.dev/ringfence/ledger"
)

const (
	// maxDoors is how many batches are read at once, of at most 16 MiB and what they unpack to; more are told to come back.
	maxDoors = 4
	// maxSecret bounds files of tokens and certificates, minToken is the least a token may have.
	maxSecret, minToken = 1 << 20, 20
	// certTime is how long a certificate is used before its files are read anew.
	certTime = time.Minute
	// expiredTime is the same for one that has expired.
	expiredTime = time.Second
)

// checkDoors finds what cannot be in the settings of the doors.
func checkDoors(cfg Config) error {
	var faults []error
	fault := func(wrong bool, text string) {
		if wrong {
			faults = append(faults, errors.New(text))
		}
	}
	secured := cfg.AuditTokens != "" || cfg.AuditClientCA != ""
	fault(cfg.Listen != "" && (cfg.TLSCert == "" || cfg.TLSKey == ""), "listen for audit events: want a certificate and its key too: what comes in proves itself by a token")
	fault(cfg.Listen != "" && !secured && len(cfg.WitnessFor) == 0 && cfg.PushTokens == "" && cfg.MetricsTokens == "" && cfg.LedgerTokens == "" && cfg.API.Listen == "", "listen for audit events: want a file of tokens or a CA of clients too: whoever may send audit events may invent refusals")
	fault(cfg.Listen == "" && (secured || cfg.PushTokens != "" || cfg.MetricsTokens != "" || cfg.LedgerTokens != "" || cfg.TLSCert != "" || cfg.TLSKey != ""), "tokens, certificates and CAs are for an address to listen on; want that too")
	fault(cfg.Listen == "" && len(cfg.WitnessFor) > 0, "witness another ledger: want an address to listen on too")
	fault(cfg.Evidence == "" && len(cfg.WitnessFor) > 0, "witness another ledger: want a folder for evidence too: what was seen is kept in it")
	fault(cfg.Evidence == "" && cfg.LedgerTokens != "", "serve the ledger: want a folder for evidence too: it is kept there")
	fault(cfg.Evidence == "" && cfg.PushTokens != "", "take check runs: want a folder for evidence too: what is sent in is kept there")
	fault(cfg.ImageReports != "" && !cfg.ImageReportsOperator && (cfg.Listen == "" || cfg.PushTokens == "" && cfg.API.Listen == ""), "take image reports: want an address to listen on, and a file of tokens of pipelines or the signed-in API: whoever may send reports may say that an image was scanned")
	fault(cfg.Evidence == "" && cfg.AuditFile != "", "follow a file of audit events: want a folder for evidence too: it remembers there how far it was read")
	return errors.Join(append(faults, checkPush(cfg))...)
}

// listenDoors opens the address on which others than the API server of this machine send: audit events, check runs, and
// checkpoints to witness. Always TLS.
func (s *Server) listenDoors() error {
	if s.cfg.Listen == "" {
		return nil
	}
	certificate, err := newCertificate(s.cfg.TLSCert, s.cfg.TLSKey)
	if err != nil {
		return err
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.get}
	if s.cfg.AuditClientCA != "" {
		if settings.ClientCAs, err = pool(s.cfg.AuditClientCA); err != nil {
			return err
		}
		settings.ClientAuth = tls.VerifyClientCertIfGiven
	}
	mux := http.NewServeMux()
	for _, file := range []string{s.cfg.AuditTokens, s.cfg.MetricsTokens, s.cfg.LedgerTokens} {
		if file == "" {
			continue
		}
		if _, err := readTokens(file); err != nil {
			return err
		}
	}
	if s.cfg.AuditTokens != "" || s.cfg.AuditClientCA != "" {
		mux.Handle("/audit/", s.auditTaken(authenticated("audit", s.knows, bounded(s.auditDoors()))))
	}
	if s.cfg.MetricsTokens != "" {
		mux.Handle("GET /metrics", s.doorMetrics.measured("metrics", authenticated("metrics", s.showing(s.cfg.MetricsTokens), s.metricsHandler())))
	}
	if s.cfg.LedgerTokens != "" {
		mux.Handle("GET /ledger/", s.doorMetrics.measured("ledger", authenticated("the ledger", s.showing(s.cfg.LedgerTokens), http.StripPrefix("/ledger", ledger.Handler(s.evidence.ledger)))))
	}
	if s.cfg.PushTokens != "" || s.api != nil {
		mux.Handle("POST /records/check-run", s.taken("check-run", bounded(http.HandlerFunc(s.takePush))))
	}
	if reports := s.imageReports(); reports != nil {
		mux.Handle("POST /images/reports", reports)
	}
	if len(s.cfg.WitnessFor) > 0 {
		witness, err := newWitness(s.cfg.WitnessFor, s.cfg.Evidence)
		if err != nil {
			return err
		}
		mux.Handle("/witness/", s.doorMetrics.measured("witness", http.StripPrefix("/witness", bounded(witness))))
	}
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.cfg.Listen, err)
	}
	s.doors = l.Addr().String()
	s.serve(tls.NewListener(l, settings), mux)
	return nil
}

// auditDoors are the forms of audit events, by path.
func (s *Server) auditDoors() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/audit/webhook", s.audit)
	mux.Handle("/audit/eks", s.audit.Door("eks", auditlog.DecodeEKS))
	mux.Handle("/audit/aks", s.audit.Door("aks", auditlog.DecodeAKS))
	mux.Handle("/audit/gke", s.audit.Door("gke", auditlog.DecodeGKE))
	mux.Handle("/audit/lines", s.audit.Door("lines", auditlog.DecodeLines))
	return mux
}

// authenticated lets in whom known knows; the others are told for what they lack a token.
func authenticated(realm string, known func(*http.Request) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if known(r) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="ringfence `+realm+`"`)
		http.Error(w, "want a token for "+realm+", or a certificate where one is asked for", http.StatusUnauthorized)
	})
}

// showing knows who shows a token of a file.
func (s *Server) showing(file string) func(*http.Request) bool {
	return func(r *http.Request) bool { return s.shows(r, file) }
}

// knows reports whether who sends audit events proved it, by a certificate of the CA or a token.
func (s *Server) knows(r *http.Request) bool {
	if s.cfg.AuditClientCA != "" && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	return s.cfg.AuditTokens != "" && s.shows(r, s.cfg.AuditTokens)
}

// shows reports whether a request shows a token of a file, as Authorization: Bearer or as a Firehose does. The file is read at
// every request: a token that is taken out is refused at once.
func (s *Server) shows(r *http.Request, file string) bool {
	shown := r.Header.Get("X-Amz-Firehose-Access-Key")
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		shown = token
	}
	if shown == "" {
		return false
	}
	tokens, err := readTokens(file)
	if err != nil {
		s.log.Error("requests are refused", "path", r.URL.Path, "err", err)
		return false
	}
	got, found := sha256.Sum256([]byte(shown)), 0
	for _, token := range tokens { // each one, always: how long it takes tells nothing
		want := sha256.Sum256([]byte(token))
		found |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return found == 1
}

// readTokens reads one token a line. Its error never holds what is in the file.
func readTokens(file string) ([]string, error) {
	text, err := readSecret(file)
	if err != nil {
		return nil, fmt.Errorf("read the tokens of audit events: %w", err)
	}
	tokens := strings.Fields(string(text))
	for i, token := range tokens {
		if len(token) < minToken {
			return nil, fmt.Errorf("read the tokens of audit events: %s: token %d has %d characters; want at least %d", file, i+1, len(token), minToken)
		}
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("read the tokens of audit events: %s is empty; want one token a line", file)
	}
	return tokens, nil
}

// readSecret reads a file whole or not at all: of a token that was cut off the rest would count.
func readSecret(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(text) > maxSecret {
		return nil, fmt.Errorf("%s has more than %d bytes; want a file of tokens or certificates", file, maxSecret)
	}
	return text, err
}

// pool reads the certificates of a CA.
func pool(file string) (*x509.CertPool, error) {
	text, err := readSecret(file)
	if err != nil {
		return nil, fmt.Errorf("read the CA of clients: %w", err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read the CA of clients: %s holds no certificate in PEM", file)
	}
	return p, nil
}

// certificate is ours, read anew now and then: it is renewed while we run.
type certificate struct {
	cert, key string
	turn      chan struct{} // holds one value while it is free; guards what follows
	have      *tls.Certificate
	read      time.Time
}

func newCertificate(cert, key string) (*certificate, error) {
	c := &certificate{cert: cert, key: key, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	have, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read our certificate %s and its key: %w", cert, err)
	}
	c.have, c.read = &have, time.Now()
	return c, nil
}

// get is what tls.Config asks. Files that cannot be read leave what there was.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	<-c.turn
	defer func() { c.turn <- struct{}{} }()
	again := certTime
	if c.have.Leaf != nil && time.Now().After(c.have.Leaf.NotAfter) { // nobody takes it: its successor may be there any moment
		again = expiredTime
	}
	if time.Since(c.read) > again {
		c.read = time.Now()
		if have, err := tls.LoadX509KeyPair(c.cert, c.key); err == nil {
			c.have = &have
		}
	}
	return c.have, nil
}

// bounded serves some requests at once and tells the others to come back.
func bounded(next http.Handler) http.Handler {
	free := make(chan struct{}, maxDoors)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case free <- struct{}{}:
			defer func() { <-free }()
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many at once", http.StatusTooManyRequests)
		}
	})
}

// DoorsAddress is the host:port of Config.Listen, with the port that was taken; "" where there is none.
func (s *Server) DoorsAddress() string { return s.doors }

// followFile takes audit events from a file until ctx ends.
func (s *Server) followFile(ctx context.Context) error {
	if s.cfg.AuditFile == "" {
		return nil
	}
	return s.audit.Follow(ctx, auditlog.Tail{Path: s.cfg.AuditFile, Cursor: auditCursor(s.cfg.Evidence), Broken: func(err error) {
		s.log.Error("audit events may be lost: a packed file is broken", "err", err)
	}, Failed: func(err error) {
		s.log.Error("audit events cannot be read; trying again", "err", err)
	}})
}
