// Package webhook posts messages as JSON to an address of the bank's own, signed with a shared key. A receiver checks the
// signature, and drops what it gets twice by the events' ids.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/wire"
)

// SchemaVersion names the form of the body. Fields are only added.
const SchemaVersion = "ringfence.dev/webhook/v1"

// Config are the settings of a sink.
type Config struct {
	// URL is where to post, https.
	URL string `yaml:"url"`
	// KeyFile holds the key of the signature, at least 16 characters.
	KeyFile string `yaml:"keyFile"`
	// TokenFile holds a bearer token, where the receiver wants one.
	TokenFile string `yaml:"tokenFile"`
	// MaxBytes is the most of events in one request; unset is 1,000,000.
	MaxBytes int `yaml:"maxBytes"`
	// TLS says whom to trust and with which certificate to come.
	TLS wire.TLS `yaml:"tls"`
}

// Sink is a receiver.
type Sink struct {
	cfg    Config
	to     *url.URL
	client *wire.Client
	now    func() time.Time
}

var _ forward.Sink = (*Sink)(nil)

// Open makes a Sink.
func Open(s forward.Settings) (forward.Sink, error) {
	var cfg Config
	if err := s.Decode(&cfg); err != nil {
		return nil, err
	}
	cfg.TLS, cfg.KeyFile, cfg.TokenFile = cfg.TLS.Within(s.Path), s.Path(cfg.KeyFile), s.Path(cfg.TokenFile)
	return New(cfg)
}

// New makes a Sink.
func New(cfg Config) (*Sink, error) {
	to, err := wire.Endpoint("url", cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.KeyFile == "" {
		return nil, errors.New("keyFile: want the name of the file with the signature's key")
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 1_000_000
	}
	if cfg.MaxBytes < 1024 || cfg.MaxBytes > 64<<20 {
		return nil, errors.New("maxBytes: want 1024 to 67108864")
	}
	client, err := wire.NewClient(cfg.TLS, 0)
	if err != nil {
		return nil, err
	}
	return &Sink{cfg, to, client, time.Now}, nil
}

// Limits implements forward.Sink.
func (s *Sink) Limits() forward.Limits {
	return forward.Limits{Bytes: s.cfg.MaxBytes, Overhead: 300, Messages: 1000}
}

// Close implements forward.Sink.
func (s *Sink) Close() error { s.client.Close(); return nil }

// envelope is the body.
type envelope struct {
	SchemaVersion string  `json:"schemaVersion"`
	Events        []event `json:"events"`
}

type event struct {
	ID   string          `json:"id"`
	Kind string          `json:"kind"`
	Time time.Time       `json:"time"`
	Data json.RawMessage `json:"data"`
}

// Send implements forward.Sink.
func (s *Sink) Send(ctx context.Context, batch []forward.Message) error {
	out := envelope{SchemaVersion: SchemaVersion}
	ids := sha256.New()
	for _, m := range batch {
		data := json.RawMessage(m.Data)
		if !json.Valid(data) {
			data, _ = json.Marshal(string(m.Data)) // a text always has a form in JSON
		}
		out.Events = append(out.Events, event{m.ID, m.Kind, m.Time.UTC(), data})
		fmt.Fprintf(ids, "%s\n", m.ID)
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return wire.Refuse(-1, "webhook: write the batch: %w", err)
	}
	header, err := s.header(body.Bytes(), hex.EncodeToString(ids.Sum(nil)))
	if err != nil {
		return wire.Retry(0, "webhook: %w", err)
	}
	a, err := s.client.Post(ctx, s.to, header, body.Bytes())
	if err != nil {
		return wire.Retry(0, "webhook: %w", err)
	}
	if fault := wire.FaultOf("webhook", a, "", s.now()); fault != nil {
		return fault
	}
	return nil
}

// header signs the body. The Idempotency-Key is the same whenever the same events are sent together again.
func (s *Sink) header(body []byte, ids string) (http.Header, error) {
	key, err := wire.Secret(s.cfg.KeyFile).Read()
	if err != nil {
		return nil, err
	}
	if len(key) < 16 {
		return nil, errors.New("keyFile: want a key of at least 16 characters")
	}
	h := http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {ids}, "Ringfence-Signature": {Sign([]byte(key), s.now(), body)}}
	if s.cfg.TokenFile != "" {
		token, err := wire.Secret(s.cfg.TokenFile).Read()
		if err != nil {
			return nil, err
		}
		h["Authorization"] = []string{"Bearer " + token}
	}
	return h, nil
}

// Sign is the header Ringfence-Signature: t=SECONDS,v1=HEX, where HEX is the HMAC-SHA256 of SECONDS, a full stop and the
// body. A receiver refuses a time that is minutes old, so that nobody can send an old request again.
func Sign(key []byte, at time.Time, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(seconds + "."))
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
