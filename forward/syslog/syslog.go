// Package syslog sends messages as RFC 5424 over TLS (RFC 5425, octet counting), each carrying a line of the Common Event
// Format. Syslog has no acknowledgement, so no sender can promise what the other sinks promise; see Sink for what is done.
package syslog

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"time"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/wire"
)

// Config are the settings of a sink.
type Config struct {
	// Address is HOST:PORT; 6514 is syslog over TLS.
	Address string `yaml:"address"`
	// Hostname is the HOSTNAME field; empty is the record's cluster.
	Hostname string `yaml:"hostname"`
	// Facility is 0 to 23; unset is 13, log audit.
	Facility *int `yaml:"facility"`
	// TLS says whom to trust and with which certificate to come.
	TLS wire.TLS `yaml:"tls"`
}

const (
	// batchBytes is how much may be under way unacknowledged, and is held for a second delivery.
	batchBytes = 256 << 10
	// maxMessage is what RFC 5425 says a receiver should take.
	maxMessage = 8192
	// maxHeader bounds what stands before the line: priority, time, host (255), name and kind.
	maxHeader = 512
	// writeTimeout bounds writing one batch, dialTimeout connecting with the handshake.
	writeTimeout = 30 * time.Second
	dialTimeout  = 10 * time.Second
	// settle is how long a server is given to close the connection on us before a batch counts as taken.
	settle = 50 * time.Millisecond
)

// Sink is a connection to one server.
//
// A batch counts as taken once it was written and the server has not closed the connection for a moment. A server that
// dies with what it had received loses it: that cannot be seen. To make the loss small the newest batch is kept, and
// written once more before the next one when the connection is found broken. After a restart of ours it is not. A receiver
// drops what it gets twice by messageId (cs1). Who must not lose a record uses another sink.
type Sink struct {
	cfg      Config
	facility int
	dial     func(context.Context) (net.Conn, error)
	conn     net.Conn
	broken   chan struct{} // closed when the server closed conn
	last     []byte        // the newest batch that was written
}

var _ forward.Sink = (*Sink)(nil)

// Open makes a Sink.
func Open(s forward.Settings) (forward.Sink, error) {
	var cfg Config
	if err := s.Decode(&cfg); err != nil {
		return nil, err
	}
	cfg.TLS = cfg.TLS.Within(s.Path)
	return New(cfg)
}

// New makes a Sink. It connects at the first batch.
func New(cfg Config) (*Sink, error) {
	host, port, err := net.SplitHostPort(cfg.Address)
	if err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("address: want HOST:PORT, as logs.bank.example:6514")
	}
	sink := &Sink{cfg: cfg, facility: 13}
	if cfg.Facility != nil {
		sink.facility = *cfg.Facility
	}
	if sink.facility < 0 || sink.facility > 23 {
		return nil, fmt.Errorf("facility: found %d; want 0 to 23", sink.facility)
	}
	config, err := cfg.TLS.Config()
	if err != nil {
		return nil, err
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	sink.dial = func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", cfg.Address)
	}
	return sink, nil
}

// Limits implements forward.Sink.
func (s *Sink) Limits() forward.Limits {
	return forward.Limits{Bytes: batchBytes, Overhead: maxHeader, Messages: 200}
}

// Send implements forward.Sink.
func (s *Sink) Send(ctx context.Context, batch []forward.Message) error {
	var text bytes.Buffer
	for i, m := range batch {
		line := s.line(m)
		if len(line) > maxMessage {
			return wire.Refuse(i, "the message has %d bytes; syslog takes %d", len(line), maxMessage)
		}
		text.WriteString(strconv.Itoa(len(line)) + " ")
		text.Write(line)
	}
	if err := s.connect(ctx); err != nil {
		return wire.Retry(0, "syslog: %w", err)
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.conn.Write(text.Bytes()); err != nil {
		s.drop()
		return wire.Retry(0, "syslog: write to %s: %w", s.cfg.Address, err)
	}
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-s.broken:
		s.drop()
		return wire.Retry(0, "syslog: %s closed the connection after a batch", s.cfg.Address)
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	s.last = text.Bytes()
	return nil
}

// connect makes a connection where there is none or the server closed it, and writes the newest batch again in the second
// case: what was under way then may not have arrived.
func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil {
		select {
		case <-s.broken:
			s.drop()
		default:
			return nil
		}
	}
	conn, err := s.dial(ctx)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.cfg.Address, err)
	}
	broken := make(chan struct{})
	go func() { // ends when the connection does; drop and Close end it
		defer close(broken)
		_, _ = io.Copy(io.Discard, conn)
	}()
	s.conn, s.broken = conn, broken
	if len(s.last) == 0 {
		return nil
	}
	_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := conn.Write(s.last); err != nil {
		s.drop()
		return fmt.Errorf("write to %s: %w", s.cfg.Address, err)
	}
	return nil
}

// drop closes the connection and waits for its reader.
func (s *Sink) drop() {
	if s.conn == nil {
		return
	}
	_ = s.conn.Close()
	<-s.broken
	s.conn = nil
}

// Close implements forward.Sink. It tells the server that nothing follows.
func (s *Sink) Close() error {
	if s.conn == nil {
		return nil
	}
	_ = s.conn.SetDeadline(time.Now().Add(time.Second))
	err := s.conn.Close()
	<-s.broken
	s.conn = nil
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// notPrintable is what header fields must not hold: all but the printable ASCII without space.
var notPrintable = regexp.MustCompile(`[^!-~]`)

// field makes a header field, "-" where it is empty.
func field(s string, most int) string {
	s = notPrintable.ReplaceAllString(s, "_")
	if s == "" {
		return "-"
	}
	return s[:min(len(s), most)]
}

// line is one message: version 1, no structured data, and the text without a byte order mark, which readers of CEF do not
// expect; RFC 5424 calls that MSG-ANY.
func (s *Sink) line(m forward.Message) []byte {
	host := s.cfg.Hostname
	if host == "" {
		host = m.Cluster
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<%d>1 %s %s ringfence - %s - ", s.facility*8+min(max(m.Severity, 0), 7),
		m.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), field(host, 255), field(m.Kind, 32))
	b.Write(m.Data)
	return b.Bytes()
}
