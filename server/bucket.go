package server

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/ledger/witness"
)

// bucketSettings are what AWS's own programs read too: https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html.
type bucketSettings struct {
	getenv func(string) string
	home   string
}

// bucketPlace is a place in a bucket, BUCKET or BUCKET/PREFIX. Region, endpoint and CA are read now, credentials whenever
// they are needed.
func (s bucketSettings) bucketPlace(text string, from ledger.Source) (witness.Place, error) {
	bucket, prefix, _ := strings.Cut(text, "/")
	cfg := witness.BucketConfig{Bucket: bucket, Prefix: strings.Trim(prefix, "/"), Ledger: from, Credentials: s.credentials, Now: time.Now}
	wrong := func(err error) (witness.Place, error) {
		return witness.Place{}, fmt.Errorf("publish checkpoints at s3:%s: %w", text, err)
	}
	if address := cmp.Or(s.getenv("AWS_ENDPOINT_URL_S3"), s.getenv("AWS_ENDPOINT_URL")); address != "" {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
			return wrong(errors.New("AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL: want https://HOST"))
		}
		cfg.Endpoint = u
	}
	cfg.Region = cmp.Or(s.getenv("AWS_REGION"), s.getenv("AWS_DEFAULT_REGION"))
	if cfg.Region == "" {
		section := s.profile()
		if section != "default" {
			section = "profile " + section
		}
		settings, err := readProfile(s.file("AWS_CONFIG_FILE", "config"), section)
		if err != nil {
			return wrong(err)
		}
		cfg.Region = settings["region"]
	}
	if cfg.Region == "" && cfg.Endpoint != nil {
		cfg.Region = "us-east-1" // what services other than AWS expect
	}
	if cfg.Region == "" {
		return wrong(errors.New("want the bucket's region in AWS_REGION"))
	}
	var err error
	if cfg.Client, err = s.client(); err != nil {
		return wrong(err)
	}
	return witness.Bucket(cfg)
}

// client verifies TLS, with the CA of AWS_CA_BUNDLE in place of the machine's where it is set, and follows no redirect.
func (s bucketSettings) client() (*http.Client, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := s.getenv("AWS_CA_BUNDLE"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read AWS_CA_BUNDLE: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read AWS_CA_BUNDLE: found no certificate in %s; want PEM", file)
		}
	}
	return &http.Client{
		Timeout:       witnessTimeout,
		Transport:     &http.Transport{TLSClientConfig: settings, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// credentials are those of the environment, else those of the profile in the file of credentials.
func (s bucketSettings) credentials() (aws.Credentials, error) {
	c := aws.Credentials{AccessKeyID: s.getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: s.getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: s.getenv("AWS_SESSION_TOKEN")}
	if c.HasKeys() {
		return c, nil
	}
	path := s.file("AWS_SHARED_CREDENTIALS_FILE", "credentials")
	keys, err := readProfile(path, s.profile())
	if err != nil {
		return aws.Credentials{}, err
	}
	c = aws.Credentials{AccessKeyID: keys["aws_access_key_id"], SecretAccessKey: keys["aws_secret_access_key"], SessionToken: keys["aws_session_token"]}
	if !c.HasKeys() {
		return aws.Credentials{}, fmt.Errorf("found no credentials; want AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or both in the profile %.64q of %s", s.profile(), path)
	}
	return c, nil
}

func (s bucketSettings) profile() string { return cmp.Or(s.getenv("AWS_PROFILE"), "default") }

// file is where a file of AWS's settings lies.
func (s bucketSettings) file(variable, name string) string {
	return cmp.Or(s.getenv(variable), filepath.Join(s.home, ".aws", name))
}

// readProfile reads "key = value" of one section of a file as AWS's programs write it. A missing file has none. Errors hold
// no line of it.
func readProfile(path, section string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read AWS's settings: %w", err)
	}
	found, in := map[string]string{}, false
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if name, ok := strings.CutPrefix(line, "["); ok {
			in = strings.Join(strings.Fields(strings.TrimSuffix(name, "]")), " ") == section
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if in && ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			found[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return found, nil
}
