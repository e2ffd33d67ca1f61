// Package sentinel sends messages to Microsoft Sentinel through the Logs Ingestion API of Azure Monitor (version
// 2023-01-01): to one stream of one data collection rule, as arrays of at most 1 MB. It gets its tokens of Microsoft Entra
// by client credentials: a secret, a certificate, or the token of a workload identity.
package sentinel

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/wire"
)

// Config are the settings of a sink.
type Config struct {
	// Endpoint is the data collection endpoint, or the rule's own ingestion endpoint.
	Endpoint string `yaml:"endpoint"`
	// RuleID is the rule's immutable id, dcr- and 32 digits.
	RuleID string `yaml:"ruleId"`
	// Stream is the stream in the rule, as Custom-Ringfence_CL.
	Stream string `yaml:"stream"`
	// Gzip compresses requests. The 1 MB count before compression all the same.
	Gzip bool `yaml:"gzip"`
	// TenantID and ClientID are the application's in Microsoft Entra.
	TenantID string `yaml:"tenantId"`
	ClientID string `yaml:"clientId"`
	// Authority is where tokens are given; unset is https://login.microsoftonline.com. Other clouds have others.
	Authority string `yaml:"authority"`
	// Scope is what the token is for; unset is https://monitor.azure.com//.default. Other clouds have others.
	Scope string `yaml:"scope"`
	// One of these is set: the file with the application's secret; certificate and key, PEM, RSA; or the file with the token
	// of a workload identity, which Kubernetes renews.
	ClientSecretFile   string `yaml:"clientSecretFile"`
	CertificateFile    string `yaml:"certificateFile"`
	CertificateKeyFile string `yaml:"certificateKeyFile"`
	FederatedTokenFile string `yaml:"federatedTokenFile"`
	// TLS says whom to trust, for instance at a private endpoint behind a proxy that opens TLS.
	TLS wire.TLS `yaml:"tls"`
}

const (
	apiVersion = "2023-01-01"
	// batchBytes stays below the API's 1 MB, with the array's brackets.
	batchBytes = 1_000_000 - 2
)

var (
	ruleForm   = regexp.MustCompile(`^dcr-[0-9a-f]{32}$`)
	streamForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,99}$`)
	guidForm   = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
)

// Sink is a stream.
type Sink struct {
	cfg    Config
	to     *url.URL
	client *wire.Client
	tokens *tokens
	now    func() time.Time
}

var _ forward.Sink = (*Sink)(nil)

// Open makes a Sink.
func Open(s forward.Settings) (forward.Sink, error) {
	var cfg Config
	if err := s.Decode(&cfg); err != nil {
		return nil, err
	}
	cfg.TLS = cfg.TLS.Within(s.Path)
	for _, file := range []*string{&cfg.ClientSecretFile, &cfg.CertificateFile, &cfg.CertificateKeyFile, &cfg.FederatedTokenFile} {
		*file = s.Path(*file)
	}
	return New(cfg, time.Now)
}

// New makes a Sink; now is the clock.
func New(cfg Config, now func() time.Time) (*Sink, error) {
	base, err := wire.Endpoint("endpoint", cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if cfg.Authority == "" {
		cfg.Authority = "https://login.microsoftonline.com"
	}
	authority, err := wire.Endpoint("authority", cfg.Authority)
	if err != nil {
		return nil, err
	}
	if cfg.Scope == "" {
		cfg.Scope = "https://monitor.azure.com//.default"
	}
	ways := 0
	for _, file := range []string{cfg.ClientSecretFile, cfg.CertificateFile, cfg.FederatedTokenFile} {
		if file != "" {
			ways++
		}
	}
	switch {
	case !ruleForm.MatchString(cfg.RuleID):
		return nil, errors.New("ruleId: want the rule's immutable id, dcr- and 32 digits 0-9 a-f")
	case !streamForm.MatchString(cfg.Stream):
		return nil, errors.New("stream: want the name of a stream in the rule, as Custom-Ringfence_CL")
	case !guidForm.MatchString(cfg.TenantID), !guidForm.MatchString(cfg.ClientID):
		return nil, errors.New("tenantId and clientId: want two GUIDs")
	case ways != 1, (cfg.CertificateFile == "") != (cfg.CertificateKeyFile == ""):
		return nil, errors.New("want one of clientSecretFile, certificateFile with certificateKeyFile, and federatedTokenFile")
	}
	client, err := wire.NewClient(cfg.TLS, 0)
	if err != nil {
		return nil, err
	}
	to := base.JoinPath("dataCollectionRules", cfg.RuleID, "streams", cfg.Stream)
	to.RawQuery = url.Values{"api-version": {apiVersion}}.Encode()
	return &Sink{cfg, to, client, newTokens(cfg, authority, client, now), now}, nil
}

// Limits implements forward.Sink.
func (s *Sink) Limits() forward.Limits {
	return forward.Limits{Bytes: batchBytes, Overhead: 600, Messages: 1000}
}

// Close implements forward.Sink.
func (s *Sink) Close() error { s.client.Close(); return nil }

// row is one row of the stream; the rule declares these columns. Event is of type dynamic.
type row struct {
	TimeGenerated string          `json:"TimeGenerated"`
	RecordID      string          `json:"RecordId"`
	Kind          string          `json:"Kind"`
	Cluster       string          `json:"Cluster"`
	Severity      int             `json:"SyslogSeverity"`
	Event         json.RawMessage `json:"Event"`
}

// Send implements forward.Sink. A token that is refused is thrown away, and the batch sent once more with a new one.
func (s *Sink) Send(ctx context.Context, batch []forward.Message) error {
	body, err := s.body(batch)
	if err != nil {
		return wire.Refuse(-1, "sentinel: write the batch: %w", err)
	}
	for try := 0; ; try++ {
		token, err := s.tokens.get(ctx)
		if err != nil {
			return err
		}
		header := http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
		if s.cfg.Gzip {
			header["Content-Encoding"] = []string{"gzip"}
		}
		a, err := s.client.Post(ctx, s.to, header, body)
		if err != nil {
			return wire.Retry(0, "sentinel: %w", err)
		}
		if a.Status == http.StatusUnauthorized {
			s.tokens.drop()
			if try == 0 {
				continue
			}
		}
		if fault := wire.FaultOf("sentinel", a, a.Header.Get("x-ms-error-code"), s.now()); fault != nil {
			return fault
		}
		return nil
	}
}

// body is the batch as an array.
func (s *Sink) body(batch []forward.Message) ([]byte, error) {
	rows := make([]row, len(batch))
	for i, m := range batch {
		data := json.RawMessage(m.Data)
		if !json.Valid(data) {
			data, _ = json.Marshal(string(m.Data)) // a text always has a form in JSON
		}
		rows[i] = row{m.Time.UTC().Format(time.RFC3339Nano), m.ID, m.Kind, m.Cluster, m.Severity, data}
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(rows); err != nil {
		return nil, err
	}
	plain := bytes.TrimRight(text.Bytes(), "\n")
	if !s.cfg.Gzip {
		return plain, nil
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return packed.Bytes(), nil
}
