// Package pull fetches reports on images from where scanners keep them: a service's interface, or objects in a cluster.
//
// It hands on each report as the scanner gave it, and neither reads what it says nor keeps it: that is the business of its callers, the
// command line, which fetches what there is, and the control plane, which follows what the trivy-operator writes. Everything is bounded: the size of an answer, how many reports and pages there are, how often and how long a source is
// waited for. No redirect is followed, and no error holds a secret, a query or what a source answered.
package pull

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"time"

	"ringfence.dev/ringfence/cluster"
)

// ErrMissing says that a source has no report on an image: it is not scanned. Those that follow are fetched all the same.
var ErrMissing = errors.New("not scanned")

// Report is one report as it came.
type Report struct {
	// About is what it was asked for: a digest, or the object's namespace and name.
	About string
	// Digest must be among those that the report names; empty where what was asked for is no digest.
	Digest string
	// Text is the report, in a form that package image/scanner reads.
	Text []byte
}

// Reports are those of a source, one after the other. ErrMissing comes with a Report that has no Text, and more may follow; any other error
// ends them, and says that the rest was not fetched.
type Reports func(context.Context) iter.Seq2[Report, error]

// Config says where a source is, and what is wanted of it.
type Config struct {
	// URL is where the source is: https, and nothing but the way to it. A source in the cluster has none.
	URL *url.URL
	// TLS says whose certificates are trusted; nil means the machine's.
	TLS *tls.Config
	// User and Password are what the source knows the bank by. Password is read at each use, so that a rotated one is used.
	User     string
	Password func() (string, error)
	// Images are the digests to ask for, where a source cannot list what it knows.
	Images []string
	// Filter narrows what a source lists, in its own words.
	Filter string
	// Cluster holds the objects of a source that keeps them there; Namespace narrows them, empty is all.
	Cluster   *cluster.Cluster
	Namespace string
	// Now is the clock; nil means time.Now. Wait waits; nil means until the time has passed or the context has ended.
	Now  func() time.Time
	Wait func(context.Context, time.Duration) error
	// Limits are the bounds; zero values mean the defaults.
	Limits Limits
}

// Limits bound what is taken of a source.
type Limits struct {
	Answer  int64         // bytes of one answer, unpacked; default 64 MiB: a report on 100,000 vulnerabilities has some 50
	Reports int           // default 100,000, as many as a control plane keeps
	Request time.Duration // for one request with all of its answer; default 2 min
}

// Source is a kind of place from which reports are fetched.
type Source struct {
	// Name is how it is asked for, and About one line on it.
	Name, About string
	// Cluster says that its reports are objects, and that it has no address.
	Cluster bool
	// Open checks a Config. Nothing is asked yet.
	Open func(Config) (Reports, error)
}

// Sources are all there are.
func Sources() []Source {
	return []Source{
		{Name: "qualys", About: "Qualys Container Security: every image that it lists, narrowed by --filter", Open: openQualys},
		{Name: "clair", About: "Clair 4: the images named, or those that run; --user and --password-file are issuer and key of its psk", Open: openClair},
		{Name: "trivy-operator", About: "VulnerabilityReports in the cluster, which are only read", Cluster: true, Open: openOperator},
	}
}

// defaults fills in what a Config leaves out.
func (c Config) defaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Wait == nil {
		c.Wait = wait
	}
	if c.Limits.Answer <= 0 {
		c.Limits.Answer = 64 << 20
	}
	if c.Limits.Reports <= 0 {
		c.Limits.Reports = 100_000
	}
	if c.Limits.Request <= 0 {
		c.Limits.Request = 2 * time.Minute
	}
	return c
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// missing is ErrMissing with its reason.
func missing(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrMissing, fmt.Errorf(format, args...))
}
