package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	// maxAnswer is what is read of an answer: a count and a sentence.
	maxAnswer = 64 << 10
	// maxAfter bounds what a receiver may ask for.
	maxAfter = time.Minute
)

// client posts batches. Its errors hold no header, and of the address host and port at most: the rest may be a secret.
type client struct {
	settings settings
	rejected func(n int)
	once     sync.Once // guards web, which is made when it is first needed
	web      *http.Client
}

var _ otlptrace.Client = (*client)(nil)

// fault is why a batch was not taken; after is what the receiver asks for, below 0 where it is no use to try again.
type fault struct {
	after time.Duration
	err   error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// retry says whether to try again, and after how long.
func retry(err error, wait time.Duration) (time.Duration, bool) {
	if f := (*fault)(nil); errors.As(err, &f) {
		return max(wait, f.after), f.after >= 0
	}
	return wait, true
}

// Start implements otlptrace.Client.
func (c *client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *client) Stop(context.Context) error { return nil }

// UploadTraces implements otlptrace.Client.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	body, err := proto.Marshal(&collector.ExportTraceServiceRequest{ResourceSpans: spans})
	if err == nil && c.settings.gzip {
		body, err = pack(body)
	}
	if err != nil {
		return &fault{-1, fmt.Errorf("write the spans: %w", err)}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.settings.url, bytes.NewReader(body))
	if err != nil {
		return &fault{-1, errors.New("the receiver's address is none")}
	}
	for name, value := range c.settings.headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	if c.settings.gzip {
		request.Header.Set("Content-Encoding", "gzip")
	}
	c.once.Do(func() {
		c.web = &http.Client{
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.settings.tls, MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	})
	answer, err := c.web.Do(request)
	if where := (*url.Error)(nil); errors.As(err, &where) {
		err = where.Err
	}
	if err != nil {
		return fmt.Errorf("reach the receiver: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the receiver's answer: %w", err)
	}
	return c.read(answer, text)
}

// read is what an answer comes to.
func (c *client) read(answer *http.Response, text []byte) error {
	if answer.StatusCode/100 == 2 {
		var said collector.ExportTraceServiceResponse
		if proto.Unmarshal(text, &said) == nil { // one that is none took all
			if n := said.GetPartialSuccess().GetRejectedSpans(); n > 0 {
				c.rejected(int(min(n, maxBatch)))
			}
		}
		return nil
	}
	f := &fault{-1, fmt.Errorf("the receiver answers %d", answer.StatusCode)}
	switch answer.StatusCode { // these alone may be tried again, says OTLP
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		f.after = 0
		if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
			f.after = min(time.Duration(min(seconds, 3600))*time.Second, maxAfter)
		}
	}
	return f
}

func pack(body []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(body)
	err = errors.Join(err, w.Close()) // before what it wrote is looked at
	return out.Bytes(), err
}
