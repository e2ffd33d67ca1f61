// Package splunk sends messages to Splunk's HTTP Event Collector as JSON events and waits until Splunk says that they are
// indexed. It knows the collector's error codes and which of them are the fault of an event.
package splunk

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/wire"
)

// Config are the settings of a sink.
type Config struct {
	// URL is the collector's address without a path, https://splunk.bank.example:8088.
	URL string `yaml:"url"`
	// TokenFile holds the collector's token.
	TokenFile string `yaml:"tokenFile"`
	// Index, Source and SourceType are where Splunk files the events; empty is the token's own index, "ringfence" and
	// "ringfence:FORMAT" as ringfence:ocsf.
	Index      string `yaml:"index"`
	Source     string `yaml:"source"`
	SourceType string `yaml:"sourceType"`
	// Acknowledge waits for the indexers; unset is true. False takes "received" for "stored": an indexer that dies then
	// loses events. Splunk Cloud may not offer it to tokens of one's own.
	Acknowledge *bool `yaml:"acknowledge"`
	// Channel is the GUID under which Splunk counts acknowledgements; empty makes one at each start.
	Channel string `yaml:"channel"`
	// AckTimeout is how long to wait for an acknowledgement before the batch is sent again; unset is 2 minutes.
	AckTimeout time.Duration `yaml:"ackTimeout"`
	// AckInterval is how often to ask; unset is 1 s. Splunk's documentation suggests 10 s for slow indexers.
	AckInterval time.Duration `yaml:"ackInterval"`
	// TLS says whom to trust.
	TLS wire.TLS `yaml:"tls"`
}

// batchBytes stays below 1 MB, the smallest limit that a collector is known to come with.
const batchBytes = 900_000

// Sink is a collector.
type Sink struct {
	cfg    Config
	event  *url.URL
	ack    *url.URL
	client *wire.Client
}

var (
	_        forward.Sink = (*Sink)(nil)
	guidForm              = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
)

// Open makes a Sink.
func Open(s forward.Settings) (forward.Sink, error) {
	var cfg Config
	if err := s.Decode(&cfg); err != nil {
		return nil, err
	}
	cfg.TLS, cfg.TokenFile = cfg.TLS.Within(s.Path), s.Path(cfg.TokenFile)
	return New(cfg)
}

// New makes a Sink.
func New(cfg Config) (*Sink, error) {
	base, err := wire.Endpoint("url", cfg.URL)
	if err != nil {
		return nil, err
	}
	if strings.Trim(base.Path, "/") != "" || base.RawQuery != "" {
		return nil, fmt.Errorf("url: want an address without a path: the collector's are known")
	}
	if cfg.TokenFile == "" {
		return nil, fmt.Errorf("tokenFile: want the name of the file with the collector's token")
	}
	if cfg.Channel == "" {
		cfg.Channel = guid()
	}
	if !guidForm.MatchString(cfg.Channel) {
		return nil, fmt.Errorf("channel: want a GUID, or leave it out")
	}
	if cfg.AckTimeout <= 0 {
		cfg.AckTimeout = 2 * time.Minute
	}
	if cfg.AckInterval <= 0 {
		cfg.AckInterval = time.Second
	}
	if cfg.Source == "" {
		cfg.Source = "ringfence"
	}
	if cfg.SourceType == "" {
		cfg.SourceType = "ringfence:ocsf"
	}
	client, err := wire.NewClient(cfg.TLS, 0)
	if err != nil {
		return nil, err
	}
	return &Sink{cfg, base.JoinPath("services/collector/event"), base.JoinPath("services/collector/ack"), client}, nil
}

// guid is a random GUID, version 4.
func guid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Limits implements forward.Sink.
func (s *Sink) Limits() forward.Limits {
	return forward.Limits{Bytes: batchBytes, Overhead: 700, Messages: 1000}
}

// Close implements forward.Sink.
func (s *Sink) Close() error { s.client.Close(); return nil }

// event is one event as the collector takes it.
type event struct {
	Time       json.Number       `json:"time"`
	Host       string            `json:"host"`
	Source     string            `json:"source"`
	SourceType string            `json:"sourcetype"`
	Index      string            `json:"index,omitempty"`
	Event      json.RawMessage   `json:"event"`
	Fields     map[string]string `json:"fields"`
}

// answer is what the collector answers.
type answer struct {
	Text    string `json:"text"`
	Code    int    `json:"code"`
	Invalid *int   `json:"invalid-event-number"`
	AckID   *int64 `json:"ackId"`
}

// Send implements forward.Sink.
func (s *Sink) Send(ctx context.Context, batch []forward.Message) error {
	body, fault := s.body(batch)
	if fault != nil {
		return fault
	}
	header, err := s.header()
	if err != nil {
		return wire.Retry(0, "splunk: %w", err)
	}
	a, err := s.client.Post(ctx, s.event, header, body)
	if err != nil {
		return wire.Retry(0, "splunk: %w", err)
	}
	var got answer
	parsed := a.Whole && json.Unmarshal(a.Body, &got) == nil
	if fault := faultOf(a, got, parsed, time.Now()); fault != nil {
		return fault
	}
	if s.cfg.Acknowledge != nil && !*s.cfg.Acknowledge {
		return nil
	}
	if !parsed {
		return wire.Retry(0, "splunk: the answer broke off, so the acknowledgement's number is not known")
	}
	if got.AckID == nil {
		return wire.Retry(0, "splunk: no ackId in the answer; fix: turn on indexer acknowledgement for the token, or set acknowledge: false")
	}
	return s.wait(ctx, *got.AckID)
}

// body is the batch: events one after another.
func (s *Sink) body(batch []forward.Message) ([]byte, *wire.Fault) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i, m := range batch {
		data := json.RawMessage(m.Data)
		if !json.Valid(data) {
			data, _ = json.Marshal(string(m.Data)) // a text, as a line of CEF, is an event too
		}
		at := strconv.FormatFloat(float64(m.Time.UnixMilli())/1000, 'f', 3, 64)
		err := enc.Encode(event{json.Number(at), m.Cluster, s.cfg.Source, s.cfg.SourceType, s.cfg.Index, data,
			map[string]string{"ringfence_id": m.ID, "ringfence_kind": m.Kind}})
		if err != nil {
			return nil, wire.Refuse(i, "splunk: write the event: %w", err)
		}
	}
	return b.Bytes(), nil
}

// header names the token and the channel.
func (s *Sink) header() (http.Header, error) {
	token, err := wire.Secret(s.cfg.TokenFile).Read()
	if err != nil {
		return nil, err
	}
	return http.Header{
		"Authorization": {"Splunk " + token}, "Content-Type": {"application/json"}, "X-Splunk-Request-Channel": {s.cfg.Channel},
	}, nil
}

// dataCodes are the collector's codes for an event that it will never take: no data, invalid format, event field missing,
// event field blank, indexed fields not handled. Code 7, a wrong index, and the codes of tokens and channels are settings.
var dataCodes = []int{5, 6, 12, 13, 15}

// faultOf is what an answer means. With an error the number of the event at fault comes along; those before it were taken,
// and are sent again: a receiver drops them by ringfence_id.
func faultOf(a wire.Answer, got answer, parsed bool, now time.Time) *wire.Fault {
	code := ""
	if parsed {
		code = fmt.Sprintf("code %d: %s", got.Code, got.Text)
	}
	fault := wire.FaultOf("splunk", a, code, now)
	if fault == nil || a.Status != http.StatusBadRequest {
		return fault
	}
	if !parsed || !slices.Contains(dataCodes, got.Code) {
		return wire.Retry(wire.RetryAfter(a.Header, now), "%w; fix: see the token's settings", fault.Err)
	}
	if got.Invalid != nil {
		fault.At = *got.Invalid
	}
	return fault
}

// wait asks until the batch is indexed. Splunk forgets an acknowledgement once it was told, and a channel that is idle for
// long: then the time runs out and the batch is sent again.
func (s *Sink) wait(ctx context.Context, id int64) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AckTimeout)
	defer cancel()
	ask := []byte(`{"acks":[` + strconv.FormatInt(id, 10) + `]}`)
	tick := time.NewTicker(s.cfg.AckInterval)
	defer tick.Stop()
	last := ""
	for {
		header, err := s.header()
		if err != nil {
			return wire.Retry(0, "splunk: %w", err)
		}
		to := *s.ack
		to.RawQuery = url.Values{"channel": {s.cfg.Channel}}.Encode()
		if a, err := s.client.Post(ctx, &to, header, ask); err != nil {
			last = err.Error()
		} else {
			var got struct {
				Acks map[string]bool `json:"acks"`
				Code int             `json:"code"`
			}
			parsed := a.Whole && json.Unmarshal(a.Body, &got) == nil
			last = fmt.Sprintf("the last answer has status %d, code %d", a.Status, got.Code)
			if parsed && a.Status == http.StatusOK && got.Acks[strconv.FormatInt(id, 10)] {
				return nil
			}
			if a.Status >= 400 && a.Status <= 499 && a.Status != http.StatusTooManyRequests {
				return wire.Retry(0, "splunk: the acknowledgement cannot be asked for: %s", last)
			}
		}
		select {
		case <-ctx.Done():
			return wire.Retry(0, "splunk: not acknowledged within %s; %s", s.cfg.AckTimeout, last)
		case <-tick.C:
		}
	}
}
