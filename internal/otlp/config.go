package otlp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// defaultTimeout is OTLP's; a batch is tried for so long. maxTimeout bounds what the environment may say.
	defaultTimeout, maxTimeout = 10 * time.Second, time.Minute
	// maxFile bounds a file of certificates or a key.
	maxFile = 1 << 20
)

// Config says where spans go. The zero value sends nothing.
type Config struct {
	// Endpoint is the receiver, https://HOST:PORT or with a path; without one it is /v1/traces. Empty is what the environment
	// says, and nothing is sent where that says nothing.
	Endpoint string
	// Insecure allows http:// to another machine: whoever is on the way reads which controls fail in which namespaces.
	Insecure bool
	// Sample is which part of the traces that begin here is sent, from 0 to 1; what came from a caller who samples goes with the
	// caller. Unset is nothing: it is given.
	Sample float64
	// Version is that of the program.
	Version string
	// Getenv reads the environment: OTEL_SDK_DISABLED and OTEL_EXPORTER_OTLP_*. Nil reads none.
	Getenv func(string) string
}

// settings is a Config with its environment, checked. Without url nothing is sent.
type settings struct {
	url                string
	headers            map[string]string
	timeout, batchTime time.Duration
	sample             float64
	gzip               bool
	tls                *tls.Config
}

// settings reads the environment, in which a variable of traces goes before that of everything.
func (cfg Config) settings() (settings, error) {
	s := settings{sample: cfg.Sample, batchTime: batchTime}
	env := func(name string) string {
		if cfg.Getenv == nil {
			return ""
		}
		if v := strings.TrimSpace(cfg.Getenv("OTEL_EXPORTER_OTLP_TRACES_" + name)); v != "" {
			return v
		}
		return strings.TrimSpace(cfg.Getenv("OTEL_EXPORTER_OTLP_" + name))
	}
	if cfg.Getenv != nil && strings.EqualFold(cfg.Getenv("OTEL_SDK_DISABLED"), "true") {
		return settings{}, nil
	}
	if cfg.Sample < 0 || cfg.Sample > 1 || cfg.Sample != cfg.Sample {
		return s, fmt.Errorf("found the part %v to sample; want a number from 0 to 1", cfg.Sample)
	}
	endpoint, from := cfg.endpoint()
	if endpoint == "" {
		return settings{}, nil
	}
	insecure := cfg.Insecure || strings.EqualFold(env("INSECURE"), "true")
	var errs [4]error
	s.url, errs[0] = address(endpoint, from, insecure)
	s.headers, errs[1] = headers(env("HEADERS"))
	s.tls, errs[2] = security(env("CERTIFICATE"), env("CLIENT_CERTIFICATE"), env("CLIENT_KEY"))
	errs[3] = s.words(env("PROTOCOL"), env("COMPRESSION"), env("TIMEOUT"))
	return s, errors.Join(errs[:]...)
}

// endpoint is the receiver's address, and who said it.
func (cfg Config) endpoint() (address, from string) {
	if cfg.Endpoint != "" || cfg.Getenv == nil {
		return cfg.Endpoint, "the address"
	}
	const traces, all = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
	if v := strings.TrimSpace(cfg.Getenv(traces)); v != "" {
		return v, traces
	}
	if v := strings.TrimSpace(cfg.Getenv(all)); v != "" {
		return strings.TrimSuffix(v, "/") + "/v1/traces", all
	}
	return "", ""
}

// address checks the receiver's. What may be a secret in it is not repeated.
func address(text, from string, insecure bool) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Fragment != "" {
		return "", fmt.Errorf("%s: want https://HOST:PORT, with a path or without, and no user in it", from)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "http" && !insecure && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", fmt.Errorf("%s: found http:// to %s; want https://; fix: give the receiver a certificate, or say --traces-insecure", from, u.Hostname())
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// headers reads key=value,key=value, with values as in URLs. Its error repeats nothing: values are secrets.
func headers(text string) (map[string]string, error) {
	all := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil || strings.ContainsAny(name+value, "\r\n\x00") {
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS: want name=value,name=value, with values as they are in URLs")
		}
		all[name] = value
	}
	return all, nil
}

// security reads the files of TLS; empty names are the machine's authorities and no certificate of ours.
func security(ca, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		info, err := os.Stat(ca)
		if err == nil && info.Size() > maxFile {
			err = fmt.Errorf("found %d bytes; want at most %d", info.Size(), maxFile)
		}
		var text []byte
		if err == nil {
			text, err = os.ReadFile(ca)
		}
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %s holds no certificate in PEM", ca)
		}
	}
	if cert == "" && key == "" {
		return c, nil
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, OTEL_EXPORTER_OTLP_CLIENT_KEY: %w", err)
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // at every handshake: it is renewed
		pair, err := tls.LoadX509KeyPair(cert, key)
		return &pair, err
	}
	return c, nil
}

// words reads what has few values.
func (s *settings) words(protocol, compression, timeout string) error {
	if protocol != "" && protocol != "http/protobuf" {
		return fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: found %.40q; want http/protobuf, which receivers take at port 4318", protocol)
	}
	switch compression {
	case "", "none":
	case "gzip":
		s.gzip = true
	default:
		return fmt.Errorf("OTEL_EXPORTER_OTLP_COMPRESSION: found %.40q; want gzip or none", compression)
	}
	s.timeout = defaultTimeout
	if timeout != "" {
		ms, err := strconv.Atoi(timeout)
		if err != nil || ms <= 0 || time.Duration(ms) > maxTimeout/time.Millisecond {
			return fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT: found %.40q; want milliseconds from 1 to %d", timeout, maxTimeout/time.Millisecond)
		}
		s.timeout = time.Duration(ms) * time.Millisecond
	}
	return nil
}
